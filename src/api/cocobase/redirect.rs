//! `GET /cocobase-redirect.js`: a script that redirects the JavaScript library to this server. The library has the vendor's
//! hosts compiled in.

use actix_web::{HttpResponse, http::header};

const SCRIPT: &str = include_str!("cocobase-redirect.js");

/// Answers 200 with the script. Pages of any origin may load it, also cross-origin isolated ones.
pub async fn script() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/javascript; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("Cross-Origin-Resource-Policy", "cross-origin"))
        .body(SCRIPT)
}
