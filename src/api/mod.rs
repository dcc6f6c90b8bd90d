//! Every door into the server. With `app`, the only place that knows of HTTP: bytes become types here, services decide.
//!
//! Reading order: this file (the route table), [`error`], [`request`], [`response`], [`rest`], [`cocobase`], [`realtime`], [`health`],
//! [`site`].

pub mod cocobase;
pub mod error;
pub mod health;
pub mod realtime;
pub mod request;
pub mod response;
pub mod rest;
pub mod site;
pub mod state;

use actix_web::web::{self, ServiceConfig, delete, get, head, patch, post, put, resource};

use rest::{batches, collections, documents, export, queries, tickets, transactions};

/// Every route of the server.
pub fn routes(config: &mut ServiceConfig) {
    let unknown_method = || web::route().to(error::method_not_allowed);
    config
        .configure(cocobase::routes)
        .service(
            resource("/")
                .route(get().to(site::home))
                .route(head().to(site::home))
                .default_service(unknown_method()),
        )
        .service(
            resource("/assets/{file:.*}")
                .route(get().to(site::asset))
                .route(head().to(site::asset))
                .default_service(unknown_method()),
        )
        .service(resource("/health/live").route(get().to(health::live)).default_service(unknown_method()))
        .service(resource("/health/ready").route(get().to(health::ready)).default_service(unknown_method()))
        .service(resource("/realtime").route(get().to(realtime::ws::open)).default_service(unknown_method()))
        .service(
            resource("/realtime/tickets").route(post().to(tickets::create)).default_service(unknown_method()),
        )
        .service(
            resource("/realtime/sse/{collection}")
                .route(get().to(realtime::sse::open))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections")
                .route(get().to(collections::list))
                .route(post().to(collections::create))
                .default_service(unknown_method()),
        )
        // Before `{id}`: the verb is never a document's id.
        .service(
            resource("/collections/{collection}/settings")
                .route(get().to(collections::get))
                .route(patch().to(collections::change))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/batch")
                .route(post().to(batches::create))
                .route(patch().to(batches::merge))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/batch-delete")
                .route(post().to(batches::delete))
                .default_service(unknown_method()),
        )
        .service(
            resource("/transactions").route(post().to(transactions::run)).default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/query/count")
                .route(get().to(queries::count))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/query/aggregate")
                .route(get().to(queries::aggregate))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/query/group-by")
                .route(get().to(queries::group_by))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/query/explain")
                .route(get().to(queries::explain))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/export")
                .route(get().to(export::export))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}")
                .route(get().to(documents::list))
                .route(post().to(documents::create))
                .default_service(unknown_method()),
        )
        .service(
            resource("/collections/{collection}/{id}")
                .route(get().to(documents::get))
                .route(put().to(documents::put))
                .route(patch().to(documents::merge))
                .route(delete().to(documents::delete))
                .default_service(unknown_method()),
        )
        .default_service(web::route().to(error::not_found));
}
