//! The door for the published Cocobase client libraries: their paths, shapes and errors. It translates and holds no logic
//! of its own: what a request means is the services' business, as it is for the documented API.
//!
//! Reading order: [`error`] (`{"detail":…}`), [`body`] and [`shape`] (what comes in and goes out), [`documents`],
//! [`batches`], [`collections`], [`queries`]; then the sockets: [`socket`] (their paths), [`introduction`] (the
//! first message), `refusal`, [`watch`] (collections), [`rooms`] (rooms and broadcast); and
//! [`redirect`], a script for the JavaScript library.

pub mod batches;
pub mod body;
pub mod collections;
pub mod documents;
pub mod error;
pub mod introduction;
pub mod queries;
pub mod redirect;
mod refusal;
pub mod rooms;
mod schema;
pub mod shape;
pub mod socket;
pub mod watch;

use actix_web::{
    guard,
    middleware::from_fn,
    web::{self, ServiceConfig, delete, get, head, patch, post, resource},
};

use crate::api::error::method_not_allowed;

/// The routes of this door. They come before those of the documented API, whose `{collection}` and `{id}` would take them.
pub fn routes(config: &mut ServiceConfig) {
    let unknown_method = || web::route().to(method_not_allowed);
    let detail = || from_fn(error::with_detail);
    config
        .service(
            resource("/cocobase-redirect.js")
                .route(get().to(redirect::script))
                .route(head().to(redirect::script))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/")
                .route(get().to(collections::list))
                .route(post().to(collections::create))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        // Only POST: the documented API answers the rest.
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
        // GET and POST are the documented API's.
        .service(
            resource("/collections/{collection}")
                .guard(guard::Any(guard::Patch()).or(guard::Delete()))
                .route(patch().to(collections::rename))
                .route(delete().to(collections::remove))
                .wrap(from_fn(error::with_both)),
        )
        .service(
            resource("/collections/{collection}/documents")
                .route(get().to(documents::list))
                .route(post().to(documents::create))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/documents/{id}")
                .route(get().to(documents::get))
                .route(patch().to(documents::merge))
                .route(delete().to(documents::delete))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/batch/documents/create")
                .route(post().to(batches::create))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/batch/documents/update")
                .route(post().to(batches::merge))
                .route(patch().to(batches::merge_listed))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/batch/documents/delete")
                .route(post().to(batches::delete))
                .route(delete().to(batches::delete))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/documents/count")
                .route(get().to(queries::count))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/documents/aggregate")
                .route(get().to(queries::aggregate))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/documents/group-by")
                .route(get().to(queries::group_by))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/collections/{collection}/query/schema")
                .route(get().to(queries::schema))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/realtime/collections/{collection}")
                .route(get().to(socket::watch))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/realtime/broadcast")
                .route(get().to(socket::broadcast))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/realtime/rooms")
                .route(get().to(rooms::list::list))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/realtime/rooms/{room}")
                .route(get().to(socket::room))
                .default_service(unknown_method())
                .wrap(detail()),
        )
        .service(
            resource("/auth-collections/{rest:.*}")
                .default_service(web::route().to(error::no_users))
                .wrap(detail()),
        )
        .service(
            resource(["/functions/{rest:.*}", "/ws/{rest:.*}"])
                .default_service(web::route().to(error::no_functions))
                .wrap(detail()),
        );
}
