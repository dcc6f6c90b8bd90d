//! `coir import`: writes the documents of a file through the API of a server that runs.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    answer::{describe, path_url},
    arguments::ImportArgs,
    output::{OutputError, note, print},
};
use crate::domain::Timestamp;

/// How often a request is tried again while the server says that it is busy or can't be reached.
const MAX_TRIES: u32 = 8;
/// The most refused documents that are shown. Further ones are only counted.
const SHOWN_REFUSALS: usize = 5;

/// Why an import did not finish.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("an API key is needed: --key sk_…, or COIR_API_KEY in the environment")]
    NoKey,
    #[error("`{0}` is not the URL of a server, such as http://127.0.0.1:8080")]
    BadUrl(String),
    #[error("`{0}` can't be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("`{0}` is not a valid import file: {1}")]
    Content(PathBuf, String),
    #[error("the HTTP client can't be made: {0}")]
    Client(reqwest::Error),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("{failed} of {total} documents were not written")]
    Incomplete { failed: usize, total: usize },
    /// The server refused the first document, and nothing was written.
    #[error("{0}")]
    Refused(String),
}

pub(super) async fn run(args: ImportArgs, key: Option<String>) -> Result<(), ImportError> {
    let key = key.ok_or(ImportError::NoKey)?;
    let target = path_url(&args.url, &["collections", &args.collection])
        .ok_or_else(|| ImportError::BadUrl(args.url.clone()))?;
    let documents = read_documents(&args.file)?;
    let total = documents.len();
    let client = Client::builder().timeout(Duration::from_secs(60)).build().map_err(ImportError::Client)?;

    let bar = ProgressBar::new(total as u64).with_style(bar_style());
    bar.set_message(args.collection.clone());
    let mut failed = 0;
    // Each document has a key of its own, so that one whose answer was lost is not written twice.
    let run = uuid::Uuid::now_v7();
    let requests = documents.into_iter().enumerate().map(|(place, document)| {
        let (client, target, key) = (&client, &target, &key);
        async move { (place, write(client, target.clone(), key, format!("{run}-{place}"), document).await) }
    });
    let mut answers = stream::iter(requests).buffered(usize::from(args.concurrency));
    while let Some((place, answer)) = answers.next().await {
        bar.inc(1);
        let Err(Refusal { message, is_final }) = answer else { continue };
        failed += 1;
        if is_final {
            bar.abandon();
            return Err(ImportError::Refused(message));
        }
        if failed <= SHOWN_REFUSALS {
            bar.suspend(|| note(format_args!("document {}: {message}", place + 1)));
        }
    }
    bar.finish();
    print(format_args!("Wrote {} of {total} documents into `{}`.", total - failed, args.collection))?;
    if failed > 0 { Err(ImportError::Incomplete { failed, total }) } else { Ok(()) }
}

/// Why the server took no document.
struct Refusal {
    message: String,
    /// It will take none of the others either.
    is_final: bool,
}

async fn write(
    client: &Client,
    target: Url,
    key: &str,
    idempotency_key: String,
    document: Box<RawValue>,
) -> Result<(), Refusal> {
    let mut wait = Duration::from_millis(100);
    let exported = Exported::read(&document);
    let mut request_target = target.clone();
    if let Some(exported) = &exported
        && let Ok(mut path) = request_target.path_segments_mut()
    {
        path.push(&exported.id);
    }
    let (method, body) = match &exported {
        Some(exported) => (Method::PUT, exported.data.get()),
        None => (Method::POST, document.get()),
    };
    for attempt in 1.. {
        let sent = client
            .request(method.clone(), request_target.clone())
            .bearer_auth(key)
            .header("Idempotency-Key", &idempotency_key)
            .header("Content-Type", "application/json")
            .body(body.to_owned())
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => {
                let status = answer.status();
                let is_final = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                return Err(Refusal {
                    message: describe(status, &answer.text().await.unwrap_or_default()),
                    is_final,
                });
            }
            Ok(_) if attempt < MAX_TRIES => {}
            Ok(answer) => {
                return Err(Refusal {
                    message: format!("the server stays busy ({})", answer.status()),
                    is_final: true,
                });
            }
            Err(_) if attempt < MAX_TRIES => {}
            Err(err) => {
                let message = format!("the server at {target} can't be reached: {err}. Is it running?");
                return Err(Refusal { message, is_final: true });
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
    Ok(())
}

/// A document as an export, or a list, has it. It is written under its id; times and version begin anew.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Exported {
    id: String,
    #[serde(rename = "collection")]
    _collection: String,
    data: Box<RawValue>,
    created_at: String,
    updated_at: String,
    #[serde(rename = "version")]
    _version: u64,
}

impl Exported {
    /// `None` for any other document, which has not exactly these members or has something else in them.
    fn read(document: &RawValue) -> Option<Self> {
        let exported: Self = serde_json::from_str(document.get()).ok()?;
        let has_times =
            [&exported.created_at, &exported.updated_at].iter().all(|text| Timestamp::parse(text).is_some());
        (has_times && exported.data.get().starts_with('{')).then_some(exported)
    }
}

/// Reads every document of the file as text, so that what is sent is what stands there.
fn read_documents(path: &Path) -> Result<Vec<Box<RawValue>>, ImportError> {
    let file_error = |err| ImportError::File(path.to_owned(), err);
    let mut reader = BufReader::new(File::open(path).map_err(file_error)?);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if matches!(extension, "ndjson" | "jsonl") {
        let mut documents = Vec::new();
        for (place, line) in reader.lines().enumerate() {
            let line = line.map_err(file_error)?;
            if line.trim().is_empty() {
                continue;
            }
            let document = serde_json::from_str(&line)
                .map_err(|err| ImportError::Content(path.to_owned(), format!("line {}: {err}", place + 1)))?;
            documents.push(document);
        }
        return Ok(documents);
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(file_error)?;
    serde_json::from_str(&text).map_err(|err| {
        ImportError::Content(path.to_owned(), format!("a .json file must hold an array of objects: {err}"))
    })
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}  {per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
