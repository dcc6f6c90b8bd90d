//! The files of `static/`, which a release carries and a debug build reads from disk.
//!
//! The page is at `/`, everything that it loads below `/assets/`, so that no file can stand in the way of an API route.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web::Path,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::{ApiError, not_found};

/// Everything that is served as it is.
#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// What `/` shows.
const PAGE: &str = "index.html";

/// `GET /` → the page.
pub async fn home(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    serve(request, PAGE).await
}

/// `GET /assets/{file}` → a file that the page loads.
pub async fn asset(request: HttpRequest, file: Path<String>) -> Result<HttpResponse, ApiError> {
    // The page has one address: its links would lead elsewhere from another.
    if *file == PAGE {
        return not_found(request).await;
    }
    serve(request, &file).await
}

async fn serve(request: HttpRequest, name: &str) -> Result<HttpResponse, ApiError> {
    let (Some(content_type), Some(file)) = (content_type(name), Files::get(name)) else {
        return not_found(request).await;
    };
    let entity_tag = entity_tag(&file);
    let is_unchanged = names_tag(request.headers(), &entity_tag);
    let mut response = if is_unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, entity_tag))
        // Asked about each time: after an update of the server, no old file meets a new one.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, content_security_policy(&request)))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"));
    if is_unchanged {
        return Ok(response.finish());
    }
    Ok(response.insert_header((header::CONTENT_TYPE, content_type)).body(file.data.into_owned()))
}

/// By the name's ending; `None` for what is not meant to be served.
fn content_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

fn entity_tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let start: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{start}\"")
}

/// RFC 9110 §13.1.2: the comparison is weak, and `*` names every tag.
fn names_tag(headers: &HeaderMap, entity_tag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok()).any(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == entity_tag)
    })
}

/// Scripts and styles from here only and never inline, markup never from text, connections to this server only.
///
/// Safari before 15.4 does not count WebSockets to `'self'`, so they are named, by the host that the browser asked for.
fn content_security_policy(request: &HttpRequest) -> String {
    let connection = request.connection_info();
    let host = connection.host();
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'));
    let sockets = if is_host { format!(" ws://{host} wss://{host}") } else { String::new() };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{sockets}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}
