//! The route that was probably meant, where no route has a path: people bring paths from other products.

use crate::domain::{CollectionName, nearest};

/// Words that other products have before a collection.
pub(super) const PREFIXES: [&str; 9] = ["api", "rest", "v1", "v2", "v3", "db", "database", "coir", "parse"];
/// Other words for `collections`.
const COLLECTION_WORDS: [&str; 6] = ["collections", "collection", "tables", "table", "buckets", "classes"];
/// Words that other products have between a collection and the id of a document.
const DOCUMENT_WORDS: [&str; 7] = ["documents", "document", "docs", "records", "items", "rows", "data"];
/// Words that stand for a stream.
const STREAM_WORDS: [&str; 8] =
    ["sse", "stream", "events", "subscribe", "watch", "ws", "websocket", "socket"];
/// The first words of the other routes.
const OTHER_ROUTES: [&str; 4] = ["realtime", "transactions", "health", "settings"];
/// The first words of paths about users.
pub(super) const ABOUT_USERS: [&str; 20] = [
    "users",
    "user",
    "_users",
    "auth",
    "login",
    "logout",
    "signin",
    "signup",
    "sign-in",
    "sign-up",
    "register",
    "sessions",
    "session",
    "accounts",
    "account",
    "password",
    "oauth",
    "me",
    "requestPasswordReset",
    "verificationEmailRequest",
];
/// The words of what is elsewhere or not there yet, and what to say of it.
const ELSEWHERE: [(&[&str], &str); 3] = [
    (&ABOUT_USERS, USERS),
    (
        &["files", "file", "uploads", "upload", "storage"],
        "files are not there yet; a document can hold the URL of a file that is elsewhere",
    ),
    (&["rules", "policies", "permissions", "roles"], RULES),
];

/// The hint where other products have their rules.
pub(super) const RULES: &str = "rules are a setting of their collection: `PATCH /collections/{collection}/settings` `{\"rules\":…}`; docs/reference/rules.md lists what they say";
/// The hint where other products have their users.
const USERS: &str = "users sign up with `POST /users`, sign in with `POST /users/login`, and `GET /users/me` says who they are; docs/reference/users.md lists the routes";

/// Returns what to tell the sender of a request whose path no route has; `None` if nothing is likely.
pub fn hint(path: &str) -> Option<String> {
    let mut all: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    // Each comparison takes time, and nobody means a path like that.
    if all.is_empty() || all.len() > 8 {
        return None;
    }
    let has_slash = path.len() > 1 && path.ends_with('/');
    if has_slash && (all.first() == Some(&"collections") || is_of(&OTHER_ROUTES, all.first()?)) {
        return Some(format!("did you mean `/{}`, without the slash at the end?", all.join("/")));
    }
    while !all.is_empty() && is_of(&PREFIXES, all[0]) {
        all.remove(0);
    }
    let Some((first, rest)) = all.split_first() else {
        return Some(
            "the routes begin with `/collections` and `/realtime`, without anything before".to_owned(),
        );
    };
    let missing = ELSEWHERE.iter().find(|(words, _)| is_of(words, first)).map(|(_, told)| *told);
    let meant = meant(first, rest).filter(|meant| meant != path);
    match (missing, meant) {
        (Some(told), Some(meant)) if rest.is_empty() => {
            Some(format!("{told}; documents of a collection `{first}` are at `{meant}`"))
        }
        (Some(told), _) => Some(told.to_owned()),
        (None, Some(meant)) => Some(format!("did you mean `{meant}`?")),
        (None, None) => None,
    }
}

fn meant(first: &str, rest: &[&str]) -> Option<String> {
    if is_of(&OTHER_ROUTES, first) {
        return meant_of_others(first, rest);
    }
    if is_of(&STREAM_WORDS, first) {
        return Some(stream(rest.last()));
    }
    let is_collections = is_of(&COLLECTION_WORDS, first) || nearest(first, ["collections"]).is_some();
    match (is_collections, rest) {
        (true, []) => Some("/collections".to_owned()),
        (true, [collection, rest @ ..]) => documents(collection, rest),
        (false, rest) => documents(first, rest),
    }
}

fn meant_of_others(first: &str, rest: &[&str]) -> Option<String> {
    match (first.to_ascii_lowercase().as_str(), rest) {
        ("health", _) => Some("/health/live` or `/health/ready".to_owned()),
        ("transactions", _) => Some("/transactions".to_owned()),
        (_, []) => Some("/realtime".to_owned()),
        (_, ["tickets" | "ticket", ..]) => Some("/realtime/tickets".to_owned()),
        (_, rest) => Some(stream(
            rest.iter().find(|word| !is_of(&STREAM_WORDS, word) && !is_of(&COLLECTION_WORDS, word)),
        )),
    }
}

/// Returns the routes of a stream.
fn stream(collection: Option<&&str>) -> String {
    match collection.filter(|name| CollectionName::parse(name).is_ok()) {
        Some(name) => format!("/realtime/sse/{name}` or the WebSocket `/realtime"),
        None => "/realtime/sse/{collection}` or the WebSocket `/realtime".to_owned(),
    }
}

/// Returns the route of what stands behind `collections`.
fn documents(collection: &str, rest: &[&str]) -> Option<String> {
    if CollectionName::parse(collection).is_err() {
        return None;
    }
    let rest = match rest {
        [word, rest @ ..] if is_of(&DOCUMENT_WORDS, word) => rest,
        rest => rest,
    };
    match rest {
        [] => Some(format!("/collections/{collection}")),
        [id] if id.len() <= 64 => Some(format!("/collections/{collection}/{id}")),
        ["query", kind @ ("count" | "aggregate" | "group-by" | "explain"), ..] => {
            Some(format!("/collections/{collection}/query/{kind}"))
        }
        _ => None,
    }
}

pub(super) fn is_of(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_another_product_has_the_route_that_was_meant() {
        for (path, told) in [
            ("/api/collections/books/records", "`/collections/books`"),
            ("/api/collections/books/records/17", "`/collections/books/17`"),
            ("/rest/v1/books", "`/collections/books`"),
            ("/api/books", "`/collections/books`"),
            ("/v1/books/17", "`/collections/books/17`"),
            ("/collections/books/", "`/collections/books`, without the slash"),
            ("/collections/books/a/", "`/collections/books/a`, without the slash"),
            ("/collection/books", "`/collections/books`"),
            ("/colections/books", "`/collections/books`"),
            ("/Collections", "`/collections`"),
            ("/collections/books/documents/17/", "without the slash"),
            ("/books", "`/collections/books`"),
            ("//collections", "`/collections`"),
            ("/api", "begin with `/collections`"),
            ("/v1/", "begin with `/collections`"),
            ("/health", "`/health/live` or `/health/ready`"),
            ("/realtime/", "`/realtime`, without the slash"),
            ("/realtime/books/x", "`/realtime/sse/books`"),
            ("/api/realtime", "`/realtime`"),
            ("/sse/books", "`/realtime/sse/books` or the WebSocket `/realtime`"),
            ("/ws", "`/realtime/sse/{collection}`"),
            ("/api/collections/books/query/count", "`/collections/books/query/count`"),
            (
                "/user",
                "users sign up with `POST /users`, sign in with `POST /users/login`, and `GET /users/me` says who they are; docs/reference/users.md lists the routes; documents of a collection `user` are at `/collections/user`",
            ),
            ("/auth/login", "users sign up with `POST /users`"),
            ("/api/v1/auth/signup", "users sign up with `POST /users`"),
            ("/files/a.png", "files are not there yet"),
            ("/rules", "rules are a setting of their collection"),
        ] {
            let hint = hint(path).unwrap_or_default();
            assert!(hint.contains(told), "{path}: {hint}");
        }
        for path in ["", "/", "/favicon.ico", "/a/b/c/d", "/..%2fetc", "/collections/posts/kept/more", "/1/2"]
        {
            let hint = hint(path);
            assert!(hint.as_ref().is_none_or(|hint| !hint.contains("did you mean")), "{path}: {hint:?}");
        }
    }
}
