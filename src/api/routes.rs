//! The route table. `{collection}` is the name or the id of a collection.

use std::path::Path;

use actix_web::{
    guard,
    web::{self, ServiceConfig, delete, get, patch, post, put, resource},
};

use super::{
    cocobase,
    fallback::{not_found, other_methods},
    health,
    public::files,
    realtime,
    rest::{
        audit, batches, collections, documents, export, exposure, keys, projects, queries, tickets,
        transactions, trials, users,
    },
    site, token_keys,
};

/// Registers every route of the server. The client libraries' door comes first: the patterns of the documented API, such as
/// `{collection}/{id}`, would match its paths too.
///
/// `database` is the SQLite file, which is never served. `public` is the directory of an app. Its files have the paths that no route has, and `/` is the app's then.
pub fn routes(config: &mut ServiceConfig, public: Option<&Path>, database: Option<&Path>) {
    api(config);
    match public {
        Some(directory) => config.service(files(directory.to_owned(), database.map(Path::to_owned))),
        None => page(config, "").default_service(web::route().to(not_found)),
    };
}

/// Registers the live page below a path.
fn page<'a>(config: &'a mut ServiceConfig, base: &str) -> &'a mut ServiceConfig {
    let home = resource(format!("{base}/")).route(get().to(site::home));
    let assets = resource(format!("{base}/assets/{{file:.*}}")).route(get().to(site::asset));
    config
        .service(home.default_service(other_methods("GET, HEAD")))
        .service(assets.default_service(other_methods("GET, HEAD")))
}

/// Registers the routes of users. Those of one's own account come before `{id}`.
fn accounts(config: &mut ServiceConfig) {
    config
        .service(
            resource("/users")
                .route(get().to(users::all::list))
                .route(post().to(users::sign_in::sign_up))
                .default_service(other_methods("GET, HEAD, POST")),
        )
        .service(
            resource("/users/anonymous")
                .route(post().to(users::sign_in::sign_up_anonymously))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/login")
                .route(post().to(users::sign_in::sign_in))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/login/mfa")
                .route(post().to(users::second_factor::sign_in))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/me/totp")
                .route(post().to(users::second_factor::begin))
                .route(delete().to(users::second_factor::remove))
                .default_service(other_methods("POST, DELETE")),
        )
        .service(
            resource("/users/me/totp/confirm")
                .route(post().to(users::second_factor::confirm))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/login/code")
                .route(post().to(users::by_mail::send_sign_in_code))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/login/code/verify")
                .route(post().to(users::by_mail::sign_in))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/password/forgot")
                .route(post().to(users::by_mail::forgot_password))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/password/reset")
                .route(post().to(users::by_mail::reset_password))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/email/verify")
                .route(post().to(users::by_mail::verify_email))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/email/verify/send")
                .route(post().to(users::by_mail::send_verification))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/outbox")
                .route(get().to(users::outbox::list))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/users/me/email")
                .route(post().to(users::by_mail::change_email))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/oauth")
                .route(get().to(users::providers::list))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/users/oauth/{provider}/start")
                .route(get().to(users::providers::start))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/users/oauth/{provider}")
                .route(post().to(users::providers::finish))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/me/identities")
                .route(get().to(users::providers::identities))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/users/me/identities/{provider}")
                .route(delete().to(users::providers::unlink))
                .default_service(other_methods("DELETE")),
        )
        .service(
            resource("/users/refresh")
                .route(post().to(users::sign_in::refresh))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/logout")
                .route(post().to(users::sign_in::sign_out))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/me")
                .route(get().to(users::me::get))
                .route(patch().to(users::me::change))
                .route(delete().to(users::me::delete))
                .default_service(other_methods("GET, HEAD, PATCH, DELETE")),
        )
        .service(
            resource("/users/me/password")
                .route(post().to(users::me::change_password))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/me/upgrade")
                .route(post().to(users::me::upgrade))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/users/me/sessions")
                .route(get().to(users::sessions::list))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/users/me/sessions/{id}")
                .route(delete().to(users::sessions::end))
                .default_service(other_methods("DELETE")),
        )
        .service(
            resource("/users/invitations")
                .route(get().to(users::invitations::list))
                .route(post().to(users::invitations::create))
                .default_service(other_methods("GET, HEAD, POST")),
        )
        .service(
            resource("/users/invitations/{id}")
                .route(delete().to(users::invitations::withdraw))
                .default_service(other_methods("DELETE")),
        )
        .service(
            resource("/users/{id}")
                .route(get().to(users::all::get))
                .route(patch().to(users::all::merge))
                .route(delete().to(users::all::delete))
                .default_service(other_methods("GET, HEAD, PATCH, DELETE")),
        )
        .service(
            resource("/users/{id}/totp")
                .route(delete().to(users::second_factor::remove_of))
                .default_service(other_methods("DELETE")),
        )
        .service(
            resource("/users/{id}/logout")
                .route(post().to(users::sessions::end_all))
                .default_service(other_methods("POST")),
        );
}

fn api(config: &mut ServiceConfig) {
    page(config.configure(cocobase::routes::routes).configure(accounts), "/_")
        .service(resource("/_").route(get().to(site::to_home)).default_service(other_methods("GET, HEAD")))
        .service(
            resource("/health/live")
                .route(get().to(health::live))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/health/ready")
                .route(get().to(health::ready))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/.well-known/jwks.json")
                .route(get().to(token_keys::get))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(resource("/audit").route(get().to(audit::list)).default_service(other_methods("GET, HEAD")))
        .service(
            resource("/exposure").route(get().to(exposure::get)).default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/keys")
                .route(get().to(keys::list))
                .route(post().to(keys::create))
                .default_service(other_methods("GET, HEAD, POST")),
        )
        .service(
            resource("/keys/{id}")
                .route(get().to(keys::get))
                .route(patch().to(keys::change))
                .route(delete().to(keys::revoke))
                .default_service(other_methods("GET, HEAD, PATCH, DELETE")),
        )
        .service(
            resource("/keys/{id}/rotate")
                .route(post().to(keys::rotate))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/settings")
                .route(get().to(projects::get))
                .route(patch().to(projects::change))
                .default_service(other_methods("GET, HEAD, PATCH")),
        )
        .service(
            resource("/realtime")
                .route(get().to(realtime::ws::open))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/realtime/tickets")
                .route(post().to(tickets::create))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/realtime/sse/{collection}")
                .route(get().to(realtime::sse::open))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections")
                .route(get().to(collections::list))
                .route(post().to(collections::create))
                .default_service(other_methods("GET, HEAD, POST")),
        )
        // Before `{id}`, because a verb is never the id of a document.
        .service(
            resource("/collections/{collection}/settings")
                .route(get().to(collections::get))
                .route(patch().to(collections::change))
                .default_service(other_methods("GET, HEAD, PATCH")),
        )
        // Only POST: a document may have this id.
        .service(
            resource("/collections/{collection}/explain")
                .guard(guard::Post())
                .route(post().to(trials::explain)),
        )
        .service(
            resource("/collections/{collection}/batch")
                .route(post().to(batches::create))
                .route(patch().to(batches::merge))
                .default_service(other_methods("POST, PATCH")),
        )
        .service(
            resource("/collections/{collection}/batch-delete")
                .route(post().to(batches::delete))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/transactions")
                .route(post().to(transactions::run))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/collections/{collection}/query")
                .route(post().to(queries::list))
                .default_service(other_methods("POST")),
        )
        .service(
            resource("/collections/{collection}/query/count")
                .route(get().to(queries::count))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections/{collection}/query/aggregate")
                .route(get().to(queries::aggregate))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections/{collection}/query/group-by")
                .route(get().to(queries::group_by))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections/{collection}/query/explain")
                .route(get().to(queries::explain))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections/{collection}/export")
                .route(get().to(export::export))
                .default_service(other_methods("GET, HEAD")),
        )
        .service(
            resource("/collections/{collection}")
                .route(get().to(documents::list))
                .route(post().to(documents::create))
                .default_service(other_methods("GET, HEAD, POST, PATCH, DELETE")),
        )
        .service(
            resource("/collections/{collection}/{id}")
                .route(get().to(documents::get))
                .route(put().to(documents::put))
                .route(patch().to(documents::merge))
                .route(delete().to(documents::delete))
                .default_service(other_methods("GET, HEAD, PUT, PATCH, DELETE")),
        );
}
