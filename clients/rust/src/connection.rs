//! One connection with one subscription, over either transport.

#[cfg(feature = "sse")]
use crate::EventStream;
#[cfg(feature = "websocket")]
use crate::Socket;
use crate::{Client, Error, Message, Subscribe, Transport};

/// The only subscription of a WebSocket needs an id, because one without has neither snapshot nor cursors.
#[cfg(feature = "websocket")]
const ID: &str = "watch";

#[derive(Debug)]
pub(crate) enum Connection {
    #[cfg(feature = "sse")]
    EventStream(Box<EventStream>),
    #[cfg(feature = "websocket")]
    Socket(Box<Socket>),
}

impl Connection {
    /// Connects and subscribes.
    pub(crate) async fn open(client: Client, transport: Transport, wanted: Subscribe) -> Result<Self, Error> {
        match transport {
            #[cfg(feature = "sse")]
            Transport::Sse => Ok(Self::EventStream(Box::new(EventStream::open(&client, &wanted).await?))),
            #[cfg(feature = "websocket")]
            Transport::WebSocket => {
                let mut socket = Socket::connect(&client).await?;
                socket.subscribe(Some(ID), &wanted).await?;
                Ok(Self::Socket(Box::new(socket)))
            }
        }
    }

    /// Returns the next message. Can be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Message, Error> {
        let message = match self {
            #[cfg(feature = "sse")]
            Self::EventStream(stream) => stream.next().await?,
            #[cfg(feature = "websocket")]
            Self::Socket(socket) => socket.next().await?,
        };
        message.ok_or_else(|| Error::Cut("the server ended it".to_owned()))
    }
}
