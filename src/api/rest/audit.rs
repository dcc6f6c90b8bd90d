//! The security events of a project.

use actix_web::{HttpResponse, http::header};
use serde::Serialize;
use serde_json::Value;

use super::success::Success;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{Caller, Parameters, parameters::invalid_parameter, unknown::refuse_unknown},
        state::State,
    },
    domain::{
        Timestamp,
        audit::{AuditEntry, AuditEvent},
        nearest,
    },
    store::access::audit::AuditQuery,
};

/// The parameters of the list.
const PARAMETERS: [&str; 7] = ["event", "user", "address", "at__gte", "at__lt", "limit", "after"];
/// The entries of a page, unless `limit` says otherwise.
const PAGE: u64 = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryBody<'a> {
    id: &'a str,
    event: &'a str,
    user: Option<&'a str>,
    by_user: Option<&'a str>,
    by_key: Option<&'a str>,
    address: Option<&'a str>,
    device: Option<&'a str>,
    count: u64,
    details: Option<&'a Value>,
    at: String,
}

impl<'a> EntryBody<'a> {
    fn new(entry: &'a AuditEntry) -> Self {
        Self {
            id: &entry.id,
            event: &entry.event,
            user: entry.user.as_ref().map(|user| user.as_str()),
            by_user: entry.by_user.as_ref().map(|user| user.as_str()),
            by_key: entry.by_key.as_ref().map(|key| key.as_str()),
            address: entry.address.as_deref(),
            device: entry.device.as_deref(),
            count: entry.count,
            details: entry.details.as_ref(),
            at: entry.at.to_string(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageBody<'a> {
    #[serde(flatten)]
    page: Success<Vec<EntryBody<'a>>>,
    next_cursor: Option<&'a str>,
}

/// `GET /audit` with a secret key → 200 with a page of security events, the newest first.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_unknown(&parameters, &PARAMETERS)?;
    let text = |name| Ok::<_, ApiError>(parameters.single(name)?.map(str::to_owned));
    let event = text("event")?;
    if let Some(event) = &event {
        check_event(event)?;
    }
    let limit = parameters.number("limit", PAGE.min(state.limits.page), 1, state.limits.page)?;
    let query = AuditQuery {
        event,
        user: text("user")?,
        address: text("address")?,
        since: time(&parameters, "at__gte")?,
        until: time(&parameters, "at__lt")?,
        after: text("after")?.map(check_cursor).transpose()?,
        limit: limit + 1,
    };
    let mut entries = state.projects.audit(&principal, query).await?;
    let has_more = entries.len() as u64 > limit;
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = entries.last().filter(|_| has_more).map(|entry| entry.id.as_str());
    let page = Success::new(entries.iter().map(EntryBody::new).collect());
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(PageBody { page, next_cursor }))
}

fn check_event(event: &str) -> Result<(), ApiError> {
    if AuditEvent::words().any(|word| word == event) {
        return Ok(());
    }
    let words: Vec<_> = AuditEvent::words().collect();
    let advice = match nearest(event, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the events are {}", words.join(", ")),
    };
    let shown: String = event.chars().take(60).collect();
    Err(invalid_parameter(format!("unknown event `{shown}`; {advice}")))
}

fn check_cursor(text: String) -> Result<String, ApiError> {
    match uuid::Uuid::try_parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(ApiError::new(
            ErrorCode::InvalidCursor,
            "`after` must be the `nextCursor` of a page of audit entries",
        )),
    }
}

fn time(parameters: &Parameters, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let wrong = || invalid_parameter(format!("`{name}` must be a time such as 2026-11-27T00:00:00Z"));
    parameters
        .single(name)?
        .map(|text| Timestamp::parse(text).map(|time| time.floor).ok_or_else(wrong))
        .transpose()
}
