//! The route table of the client libraries.

use actix_web::{
    guard,
    middleware::from_fn,
    web::{self, ServiceConfig, delete, get, patch, post, resource},
};

use super::{batches, collections, documents, error, queries, redirect, rooms, socket, users};
use crate::api::fallback::other_methods;

/// Registers the routes of this door. They come before those of the documented API, whose `{collection}/{id}` would match them.
pub fn routes(config: &mut ServiceConfig) {
    let detail = || from_fn(error::with_detail);
    config
        .service(
            resource("/cocobase-redirect.js")
                .route(get().to(redirect::script))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections/")
                .route(get().to(collections::list))
                .route(post().to(collections::create))
                .default_service(other_methods("GET, HEAD, POST"))
                .wrap(detail()),
        )
        // Only POST: the documented API answers the other methods.
        .service(
            resource("/collections/documents")
                .guard(guard::Post())
                .route(post().to(documents::create_named))
                .wrap(detail()),
        )
        .service(
            resource("/collections/file")
                .guard(guard::Post())
                .route(post().to(error::no_files))
                .wrap(detail()),
        )
        // Only PATCH and DELETE: the documented API answers GET and POST.
        .service(
            resource("/collections/{collection}")
                .guard(guard::Any(guard::Patch()).or(guard::Delete()))
                .route(patch().to(collections::change))
                .route(delete().to(collections::remove))
                .wrap(from_fn(error::with_both)),
        )
        .service(
            resource("/collections/{collection}/documents")
                .route(get().to(documents::list))
                .route(post().to(documents::create))
                .default_service(other_methods("GET, HEAD, POST"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/documents/{id}")
                .route(get().to(documents::get))
                .route(patch().to(documents::merge))
                .route(delete().to(documents::delete))
                .default_service(other_methods("GET, HEAD, PATCH, DELETE"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/batch/documents/create")
                .route(post().to(batches::create))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/batch/documents/update")
                .route(post().to(batches::merge))
                .route(patch().to(batches::merge_listed))
                .default_service(other_methods("POST, PATCH"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/batch/documents/delete")
                .route(post().to(batches::delete))
                .route(delete().to(batches::delete))
                .default_service(other_methods("POST, DELETE"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/documents/count")
                .route(get().to(queries::count))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/documents/aggregate")
                .route(get().to(queries::aggregate))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/documents/group-by")
                .route(get().to(queries::group_by))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/schema")
                .route(get().to(queries::schema))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/realtime/collections/{collection}")
                .route(get().to(socket::watch))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/realtime/broadcast")
                .route(get().to(socket::broadcast))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/realtime/rooms")
                .route(get().to(rooms::list::list))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/realtime/rooms/{room}")
                .route(get().to(socket::room))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .configure(of_users)
        .service(
            resource(["/functions/{rest:.*}", "/ws/{rest:.*}"])
                .default_service(web::route().to(error::no_functions))
                .wrap(detail()),
        );
}

fn of_users(config: &mut ServiceConfig) {
    let detail = || from_fn(error::with_detail);
    config
        .service(
            resource("/auth-collections/signup")
                .route(post().to(users::sign_in::sign_up))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/login")
                .route(post().to(users::sign_in::sign_in))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/user")
                .route(get().to(users::me::get))
                .route(patch().to(users::me::change))
                .default_service(other_methods("GET, HEAD, PATCH"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/users")
                .route(get().to(users::all::list))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/users/{id}")
                .route(get().to(users::all::get))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/change-password")
                .route(post().to(users::me::change_password))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/forgot-password")
                .route(post().to(users::by_mail::forgot_password))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/reset-password")
                .route(post().to(users::by_mail::reset_password))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource(["/auth-collections/verify-email/send", "/auth-collections/verify-email/resend"])
                .route(post().to(users::by_mail::send_verification))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/verify-email/verify")
                .route(post().to(users::by_mail::verify_email))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/2fa/send-code")
                .route(post().to(users::by_mail::send_code))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/2fa/verify")
                .route(post().to(users::by_mail::sign_in))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/2fa/enable")
                .route(post().to(users::by_mail::enable))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/2fa/disable")
                .route(post().to(users::by_mail::disable))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/google-verify")
                .route(post().to(users::sign_in::verify_google))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/github-verify")
                .route(post().to(users::sign_in::verify_github))
                .default_service(other_methods("POST"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/login-google")
                .route(get().to(users::redirect::begin))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource(users::redirect::START)
                .route(get().to(users::redirect::start))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource(users::redirect::CALLBACK)
                .route(get().to(users::redirect::finish))
                .default_service(other_methods("GET, HEAD"))
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/{rest:.*}")
                .default_service(web::route().to(error::no_such_call))
                .wrap(detail()),
        );
}
