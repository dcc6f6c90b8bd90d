//! The mails that wait, because the server has no SMTP server.

use actix_web::{HttpResponse, http::header};
use serde::Serialize;

use crate::{
    api::{error::ApiError, request::Visitor, rest::success::Success, state::State},
    domain::Mail,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MailBody {
    id: String,
    kind: String,
    to: String,
    subject: String,
    text: String,
    created_at: String,
}

/// `GET /outbox` with a secret key → 200 with the last mails that were not sent, the newest first.
pub async fn list(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let mails = state.users.outbox(&principal).await?;
    let body = |mail: Mail| MailBody {
        id: mail.id,
        kind: mail.kind,
        to: mail.to.as_str().to_owned(),
        subject: mail.subject,
        text: mail.text,
        created_at: mail.created_at.to_string(),
    };
    let bodies: Vec<_> = mails.into_iter().map(body).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(bodies)))
}
