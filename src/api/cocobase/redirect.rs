//! `GET /cocobase-redirect.js`: the script that points the hosts which are compiled into the JavaScript library at this
//! server.

use actix_web::{HttpResponse, http::header};

const SCRIPT: &str = include_str!("cocobase-redirect.js");

/// 200 with the script. Pages of any origin load it, also those that are isolated.
pub async fn script() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/javascript; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("Cross-Origin-Resource-Policy", "cross-origin"))
        .body(SCRIPT)
}
