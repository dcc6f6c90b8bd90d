//! How open the collections of a project are.

use actix_web::{HttpResponse, http::header};
use serde::Serialize;

use super::{
    collections::{cursor_after, page_of},
    success::Success,
};
use crate::{
    api::{
        error::ApiError,
        request::{Caller, Parameters},
        state::State,
    },
    query::rule::Reach,
    service::exposures::{Exposure, Reaches},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExposuresBody<'a> {
    #[serde(flatten)]
    page: Success<CollectionsBody<'a>>,
    /// Where the next page begins; `null` on the last page.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct CollectionsBody<'a> {
    collections: Vec<ExposureBody<'a>>,
}

#[derive(Serialize)]
struct ExposureBody<'a> {
    name: &'a str,
    /// Whether the collection has rules.
    declared: bool,
    guest: ReachesBody,
    user: ReachesBody,
    key: ReachesBody,
    hidden: Vec<String>,
}

#[derive(Serialize)]
struct ReachesBody {
    read: &'static str,
    create: &'static str,
    update: &'static str,
    delete: &'static str,
}

impl From<Reaches> for ReachesBody {
    fn from(Reaches { read, create, update, delete }: Reaches) -> Self {
        let [read, create, update, delete] = [read, create, update, delete].map(Reach::as_str);
        Self { read, create, update, delete }
    }
}

impl<'a> ExposureBody<'a> {
    fn new(exposure: &'a Exposure) -> Self {
        Self {
            name: exposure.collection.name.as_str(),
            declared: exposure.has_rules,
            guest: exposure.guest.into(),
            user: exposure.user.into(),
            key: exposure.key.into(),
            hidden: exposure.hidden.iter().map(ToString::to_string).collect(),
        }
    }
}

/// `GET /exposure` → 200 with `{"collections":[…]}`, by name: how much guests, users and holders of a publishable key may do in
/// each at most. Takes `limit` and `after` as the list of collections, and a secret key.
pub async fn get(
    state: State,
    Caller(principal): Caller,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let page = state.collections.exposures(&principal, page_of(&state, &parameters)?).await?;
    let last = page.exposures.last().filter(|_| !page.is_last);
    let next_cursor = last.map(|last| cursor_after(&last.collection));
    let collections = page.exposures.iter().map(ExposureBody::new).collect();
    let body = ExposuresBody { page: Success::new(CollectionsBody { collections }), next_cursor };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body))
}
