//! `--public`: the files of an app beside the API, so that one program serves both.
//!
//! The routes of the API come first, so a file that has the path of one is never served. Hidden files (`.env`, `.git`) are not
//! served, nor is the server's own database, nor what a symbolic link reaches outside of the directory. Directories are not
//! listed.

use std::path::{Component, Path, PathBuf};

use actix_files::{Files, PathBufWrap};
use actix_web::{
    Error, Scope,
    body::BoxBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    guard::{GuardContext, fn_guard},
    http::{Method, header, header::HeaderValue},
    middleware::{DefaultHeaders, Next, from_fn},
    web,
};

use super::fallback::not_found;

/// The file that stands for its directory.
const INDEX: &str = "index.html";

/// Returns the route of everything that no other route has: the files below `directory`, and `NOT_FOUND`.
pub fn files(
    directory: PathBuf,
    database: Option<PathBuf>,
) -> Scope<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = Error, InitError = ()>,
> {
    let place = Place::new(&directory, database.as_deref());
    let files = Files::new("/", directory)
        .index_file(INDEX)
        .redirect_to_slash_directory()
        .prefer_utf8(true)
        .disable_content_disposition()
        // The filter refuses them, so that they are answered like a file that does not exist.
        .use_hidden_files()
        .path_filter(move |path, _| place.has(path))
        .guard(fn_guard(is_path))
        .default_handler(web::to(not_found));
    let headers = DefaultHeaders::new()
        // The browser asks each time, and is answered 304 if the file is the same.
        .add((header::CACHE_CONTROL, "no-cache"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    web::scope("").wrap(headers).wrap(from_fn(keep_query)).service(files).default_service(web::to(not_found))
}

/// Middleware: keeps the query of a request that is redirected to the directory that it names.
async fn keep_query(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?.map_into_boxed_body();
    let query = response.request().query_string().to_owned();
    if let Some(place) = response.headers().get(header::LOCATION)
        && response.status().is_redirection()
        && !query.is_empty()
        && let Ok(place) = HeaderValue::from_bytes(&[place.as_bytes(), b"?", query.as_bytes()].concat())
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Whether a request can be about a file. `//host/` is none: a redirect to it would lead to another host.
fn is_path(request: &GuardContext<'_>) -> bool {
    let head = request.head();
    let path = head.uri.path();
    matches!(head.method, Method::GET | Method::HEAD)
        && !path.starts_with("//")
        && PathBufWrap::parse_path(path, true).is_ok()
}

/// The files that may be served.
struct Place {
    /// The directory, without symbolic links.
    directory: PathBuf,
    /// The SQLite file. The files beside it that belong to it begin with its name.
    database: Option<PathBuf>,
}

impl Place {
    fn new(directory: &Path, database: Option<&Path>) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self { directory: real(directory), database: database.map(real) }
    }

    /// Whether a path below the directory may be served.
    fn has(&self, path: &Path) -> bool {
        let found = self.directory.join(path);
        // The file that stands for a directory is opened without another question.
        let index = found.join(INDEX);
        self.may_open(&found)
            && (!found.is_dir() || index.symlink_metadata().is_err() || self.may_open(&index))
    }

    /// Whether this is a visible file or directory of the app. Anything else, such as a pipe, could block its reader for ever.
    fn may_open(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else { return false };
        let Ok(inside) = real.strip_prefix(&self.directory) else { return false };
        let is_visible = |part: Component<'_>| !part.as_os_str().as_encoded_bytes().starts_with(b".");
        let is_database = self.database.as_ref().is_some_and(|database| {
            real.as_os_str().as_encoded_bytes().starts_with(database.as_os_str().as_encoded_bytes())
        });
        inside.components().all(is_visible)
            && !is_database
            && real.metadata().is_ok_and(|found| found.is_file() || found.is_dir())
    }
}
