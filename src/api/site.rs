//! The files of `static/`, which the binary carries.

use actix_web::{HttpResponse, http::header};

/// What runs here, and where to go.
const HOME: &str = include_str!("../../static/index.html");

/// `GET /` → the page.
pub async fn home() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8")).body(HOME)
}
