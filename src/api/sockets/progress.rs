//! Tells each socket when a request on it begins, and when its answer has been handed over.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::{ConnectionType, Request, Response, Version};
use actix_service::{ServiceFactory, apply_fn_factory};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::handle::{RequestInProgress, SocketHandle};

/// The body of an answer, whose request is in progress until the body is dropped.
pub struct TrackedBody {
    body: BoxBody,
    _request: Option<RequestInProgress>,
}

/// Wraps a service, so that the socket of each request knows of it. It is the outermost layer: the pages and refusals of
/// every other one are answers to requests, too.
pub fn track<S, B>(
    service: S,
) -> impl ServiceFactory<
    Request,
    Config = S::Config,
    Response = Response<TrackedBody>,
    Error = S::Error,
    InitError = S::InitError,
>
where
    S: ServiceFactory<Request>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    apply_fn_factory(service, |request: Request, service: &S::Service| {
        let is_of_http_1_1 = request.version() >= Version::HTTP_11;
        let in_progress = request.conn_data::<SocketHandle>().map(SocketHandle::begin_request);
        let answer = actix_service::Service::call(service, request);
        async move {
            let mut answer: Response<B> = answer.await?.into();
            if !is_of_http_1_1 && answer.body().size() == BodySize::Stream {
                // RFC 9112 §6.1: chunks are for HTTP/1.1. The end of the connection is the end of the body.
                answer.head_mut().no_chunking(true);
                answer.head_mut().set_connection_type(ConnectionType::Close);
            }
            if let (BodySize::Sized(_), Some(in_progress)) = (answer.body().size(), &in_progress) {
                in_progress.set_measured();
            }
            Ok(answer.map_body(|_, body| TrackedBody { body: body.boxed(), _request: in_progress }))
        }
    })
}

impl MessageBody for TrackedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
