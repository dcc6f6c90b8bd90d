//! The route table. `{collection}` is the name or the id of a collection.

use actix_web::web::{self, ServiceConfig, delete, get, head, patch, post, put, resource};

use super::{
    cocobase,
    fallback::{method_not_allowed, not_found},
    health, realtime,
    rest::{batches, collections, documents, export, queries, tickets, transactions},
    site,
};

/// Registers every route of the server. The client libraries' door comes first: the patterns of the documented API, such as
/// `{collection}/{id}`, would match its paths too.
pub fn routes(config: &mut ServiceConfig) {
    let unknown_method = || web::route().to(method_not_allowed);
    config
        .configure(cocobase::routes::routes)
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
        // Before `{id}`, because a verb is never the id of a document.
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
        .default_service(web::route().to(not_found));
}
