//! The files of `static/`. A release build has them inside; a debug build reads them from disk.
//!
//! The page is at `/_/`, and everything that it loads is below `/_/assets/`, so that no file can hide a route of the API. Where
//! no app has these paths, the page is also at `/`, and its files below `/assets/`.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Path};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{
    error::ApiError,
    fallback::not_found,
    request::{client::reached, precondition::is_unchanged},
};

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// The page itself.
const PAGE: &str = "index.html";

/// `GET /_/` → the page.
pub async fn home(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    serve(request, PAGE).await
}

/// `GET /_` → 308 to the page, whose links are relative. The place is relative, too, for a proxy that has the server below a path.
pub async fn to_home(request: HttpRequest) -> HttpResponse {
    let query = match request.query_string() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, format!("_/{query}"))).finish()
}

/// `GET /_/assets/{file}` → a file that the page loads.
pub async fn asset(request: HttpRequest, file: Path<String>) -> Result<HttpResponse, ApiError> {
    // The page has relative links, so it has one address only.
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
    // A browser's page is served whatever the header says: one that is not valid counts as missing.
    let is_unchanged = is_unchanged(&request, &entity_tag).unwrap_or(false);
    let mut response = if is_unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, entity_tag))
        // The browser asks each time, so that no old file meets a new one after an update of the server.
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

/// Returns the content type by the ending of the name. `None` for a file that is not meant to be served.
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

/// Allows scripts and styles from this server only and never inline, no markup from text, and connections to this server
/// only.
///
/// Safari before 15.4 does not count WebSockets as `'self'`, so the policy names them, with the host of the request.
fn content_security_policy(request: &HttpRequest) -> String {
    let host = reached(request).host;
    let sockets = if host.is_empty() { String::new() } else { format!(" ws://{host} wss://{host}") };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{sockets}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}
