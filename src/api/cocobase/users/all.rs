//! The list of users, and single users by their ids. A user sees only themselves, and a secret key sees everybody.

use actix_web::{HttpResponse, web::Path};
use serde::Serialize;

use super::shape::{UserBody, user};
use crate::{
    api::{
        cocobase::response::{answer_too_large, bounded_json},
        error::{ApiError, ErrorCode},
        request::{
            Caller, Parameters,
            list::{ListParameters, ListStyle, SORTS},
        },
        response::too_many,
        state::State,
    },
    domain::{DocumentId, USERS},
    query::{
        page::Direction,
        parse::{Names, PARAMETERS, rename_fields},
    },
    service::ServiceError,
    store::documents::list::Cut,
};

/// The parameters of the list, which are those of a list of documents as far as they mean something here.
const STYLE: ListStyle = ListStyle {
    served: &["limit", "offset", "sort", "sort_by", "orderBy", "order", "sort_order"],
    default_limit: 100,
    direction: Some(Direction::Descending),
    names: Names::Lenient,
};

#[derive(Serialize)]
struct ListBody<'a> {
    data: Vec<UserBody<'a>>,
    /// How many users match, on all pages together.
    total: u64,
    limit: u64,
    offset: u64,
    has_more: bool,
}

/// `GET /auth-collections/users` → 200 with `{"data","total","limit","offset","has_more"}`. Filters and orders are on `id`,
/// `email`, `roles`, `email_verified`, `created_at`, and fields of the user's `data`.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let ListParameters { filter, page, .. } =
        ListParameters::parse(&in_terms_of_documents(&parameters), &STYLE, state.limits.page)?;
    let (limit, offset) = (page.limit, page.offset);
    let list = state.documents.list(&principal, USERS, filter.clone(), page).await?;
    match list.listed.cut {
        None => {}
        Some(Cut::TooLarge) => return Err(answer_too_large()),
        Some(Cut::NoRoom) => return Err(too_many()),
    }
    let total = state.documents.count(&principal, USERS, filter).await?;
    let found = list.listed.documents;
    let data: Vec<_> = found.iter().map(|user| UserBody::new(user, &principal.project)).collect();
    let has_more = offset.saturating_add(data.len() as u64) < total;
    bounded_json(&ListBody { data, total, limit, offset, has_more }, list.scan)
}

/// `GET /auth-collections/users/{id}` → 200 with the user.
pub async fn get(
    state: State,
    Caller(principal): Caller,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let unknown = || ApiError::new(ErrorCode::DocumentNotFound, "User not found");
    let id = DocumentId::parse(&id).map_err(|_| unknown())?;
    match state.documents.get(&principal, USERS, &id).await {
        Ok((_, found)) => Ok(user(&principal, &found)),
        Err(ServiceError::UnknownDocument) => Err(unknown()),
        Err(err) => Err(err.into()),
    }
}

/// Rewrites parameters on users as parameters on their documents.
fn in_terms_of_documents(parameters: &Parameters) -> Parameters {
    let pair = |(key, value): (&str, &str)| match key {
        key if SORTS.contains(&key) => (key.to_owned(), rename_sort(value)),
        key if PARAMETERS.contains(&key) => (key.to_owned(), value.to_owned()),
        key => rename_term(key, value),
    };
    Parameters::of_pairs(parameters.pairs().map(pair).collect())
}

fn rename_sort(value: &str) -> String {
    let rename = |term: &str| match term.strip_prefix('-') {
        Some(name) => format!("-{}", rename_field(name)),
        None => rename_field(term),
    };
    value.split(',').map(rename).collect::<Vec<_>>().join(",")
}

fn rename_term(key: &str, value: &str) -> (String, String) {
    let key = rename_fields(key, rename_field);
    // A list contains an element, where a text contains a text.
    let key = match key.strip_suffix("contains") {
        Some(rest) if is_of_roles(rest) => format!("{}__array_contains", rest.trim_end_matches('_')),
        _ => key,
    };
    (key, value.to_owned())
}

/// Whether a key without its operator is `roles` in any group.
fn is_of_roles(rest: &str) -> bool {
    rest.trim_end_matches('_').rsplit(']').next() == Some("roles") && rest.ends_with('_')
}

/// Returns where the document of a user has a field of the user.
fn rename_field(name: &str) -> String {
    match name {
        "id" | "email" | "roles" | "created_at" | "createdAt" | "updated_at" | "updatedAt" => name.to_owned(),
        "role" => "roles".to_owned(),
        "email_verified" => "emailVerified".to_owned(),
        name => format!("profile.{}", name.strip_prefix("data.").unwrap_or(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_on_users_become_terms_on_their_documents() {
        for (key, value, expected) in [
            ("email", "Ada@B.c", ("email", "Ada@B.c")),
            ("[or:a]email__in", "A@b.c,D@e.f", ("[or:a]email__in", "A@b.c,D@e.f")),
            ("created_at_gte", "2026-01-01", ("created_at_gte", "2026-01-01")),
            ("data.age_gte", "18", ("profile.age_gte", "18")),
            ("data.email", "Ada", ("profile.email", "Ada")),
            ("username_startswith", "A", ("profile.username_startswith", "A")),
            ("email__or__data.name_contains", "Ada", ("email__or__profile.name_contains", "Ada")),
            ("role", "admin", ("roles", "admin")),
            ("roles_contains", "Admin", ("roles__array_contains", "Admin")),
            ("[or]roles__contains", "Admin", ("[or]roles__array_contains", "Admin")),
            ("data.roles_contains", "Admin", ("profile.roles_contains", "Admin")),
            ("[or]roles__array_contains", "Admin", ("[or]roles__array_contains", "Admin")),
            ("email_verified", "true", ("emailVerified", "true")),
        ] {
            assert_eq!(rename_term(key, value), (expected.0.to_owned(), expected.1.to_owned()));
        }
        assert_eq!(rename_sort("-data.age,email,created_at"), "-profile.age,email,created_at");
    }
}
