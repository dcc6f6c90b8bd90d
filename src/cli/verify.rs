//! `coir verify`: follows a collection of a server that runs, cuts itself off time and again, and compares what its events
//! have told it with the list at the same place in the log.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, Url};
use serde_json::Value;

use super::{
    VerifyArgs,
    answer::path_url,
    event_stream::{EventStream, StreamError},
    view::{Documents, View, difference, shown},
};
use crate::domain::cursor::Cursor;

/// How often comparing is begun, and how often there is something to see.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
/// The same where nobody looks at a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a server may be away, or a stream behind the list, before that is an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A connection is kept at least and at most so long, in milliseconds.
const LIFETIME: std::ops::Range<u64> = 200..3000;

/// Why a verification did not end well.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No key.
    #[error("an API key is needed: --key sk_…, or COIR_API_KEY in the environment")]
    NoKey,
    /// The URL.
    #[error("`{0}` is not the URL of a server, such as http://127.0.0.1:8080")]
    BadUrl(String),
    /// The HTTP client.
    #[error("the HTTP client can't be made: {0}")]
    Client(reqwest::Error),
    /// The server is not there.
    #[error("the server at {0} can't be reached: {1}. Is it running?")]
    Unreachable(String, String),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// Nothing could be compared.
    #[error("the stream did not come as far as the list within {} s of the end", PATIENCE.as_secs())]
    Behind,
    /// The view was not what the list was.
    #[error("the view was wrong {0} times")]
    Diverged(u64),
}

/// What a list, or another snapshot, says.
struct Reference {
    sequence: u64,
    documents: Documents,
}

/// A reference that is being read, or waits for the view to come as far.
enum Comparison {
    Reading(BoxFuture<'static, Result<Reference, StreamError>>),
    Waiting(Reference, Instant),
}

struct Verification {
    client: Client,
    key: String,
    server: String,
    stream_url: Url,
    list_url: Url,
    view: View,
    comparison: Option<Comparison>,
    compared_at: Instant,
    bar: ProgressBar,
    line_at: Instant,
    reconnects: u64,
    comparisons: u64,
    divergences: u64,
}

pub(super) async fn run(args: VerifyArgs, key: Option<String>) -> Result<(), VerifyError> {
    let mut verification = Verification::new(&args, key.ok_or(VerifyError::NoKey)?)?;
    verification.follow(Instant::now() + args.duration).await?;
    let Verification { view, bar, reconnects, comparisons, divergences, .. } = verification;
    bar.finish_and_clear();
    println!(
        "Followed `{}` for {} s: {} documents, {} events, {reconnects} reconnects, {} times told to start anew, \
         {comparisons} comparisons, {divergences} divergences.",
        args.collection,
        args.duration.as_secs(),
        view.len(),
        view.events,
        view.resyncs,
    );
    if divergences > 0 { Err(VerifyError::Diverged(divergences)) } else { Ok(()) }
}

impl Verification {
    fn new(args: &VerifyArgs, key: String) -> Result<Self, VerifyError> {
        let url = |path: &[&str]| {
            let mut url = path_url(&args.url, path).ok_or_else(|| VerifyError::BadUrl(args.url.clone()))?;
            add_filter(&mut url, args.filter.as_deref());
            Ok(url)
        };
        let mut stream_url = url(&["realtime", "sse", &args.collection])?;
        stream_url.query_pairs_mut().append_pair("snapshot", "true");
        let mut list_url = url(&["collections", &args.collection])?;
        list_url.query_pairs_mut().append_pair("limit", "1000");
        // Heartbeats come more often than that.
        let client = Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(PATIENCE);
        let style = ProgressStyle::with_template("{spinner} {msg}");
        Ok(Self {
            client: client.build().map_err(VerifyError::Client)?,
            key,
            server: args.url.clone(),
            stream_url,
            list_url,
            view: View::default(),
            comparison: None,
            compared_at: Instant::now(),
            bar: ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())),
            line_at: Instant::now(),
            reconnects: 0,
            comparisons: 0,
            divergences: 0,
        })
    }

    /// Follows until `end`, and then until a last comparison.
    async fn follow(&mut self, end: Instant) -> Result<(), VerifyError> {
        let mut is_first = true;
        let mut reached_at = Instant::now();
        let mut last_compared = None;
        loop {
            let opened = EventStream::open(
                &self.client,
                &self.stream_url,
                &self.key,
                self.view.last_event_id.as_deref(),
            );
            let mut stream = match opened.await {
                Ok(stream) => stream,
                Err(StreamError::Refused(message)) => return Err(VerifyError::Refused(message)),
                // A server that is started again is what a stream must get over.
                Err(StreamError::Cut(_)) if !is_first && reached_at.elapsed() < PATIENCE => {
                    self.show();
                    tokio::time::sleep(TICK).await;
                    continue;
                }
                Err(StreamError::Cut(message)) => {
                    return Err(VerifyError::Unreachable(self.server.clone(), message));
                }
            };
            self.reconnects += u64::from(!std::mem::replace(&mut is_first, false));
            self.view.connect();
            let cut_at = Instant::now() + lifetime();
            let mut tick = tokio::time::interval(TICK);
            loop {
                // Not while it is waited for: an idle stream says only now and then how far it is.
                let is_settling =
                    Instant::now() >= end || matches!(&self.comparison, Some(Comparison::Waiting(..)));
                if Instant::now() >= cut_at && !is_settling {
                    break;
                }
                let reading = match &mut self.comparison {
                    Some(Comparison::Reading(reading)) => OptionFuture::from(Some(reading)),
                    _ => OptionFuture::from(None),
                };
                tokio::select! {
                    block = stream.next() => match block {
                        Ok(Some(block)) if block.event.as_deref() == Some("error") => {
                            return Err(VerifyError::Refused(said(&block.data)));
                        }
                        Ok(Some(block)) => {
                            reached_at = Instant::now();
                            if let Err(misfit) = self.view.take(&block) {
                                self.diverge(&misfit.to_string());
                            }
                        }
                        Ok(None) | Err(StreamError::Cut(_)) => break,
                        Err(StreamError::Refused(message)) => return Err(VerifyError::Refused(message)),
                    },
                    Some(reference) = reading => self.begin_waiting(reference)?,
                    _ = tick.tick() => {
                        self.compare();
                        self.show();
                        if Instant::now() < end {
                            continue;
                        }
                        // One more that was begun after the end.
                        let after_end = *last_compared.get_or_insert(self.comparisons);
                        if self.comparisons > after_end + 1 {
                            return Ok(());
                        }
                        if end.elapsed() > 2 * PATIENCE {
                            return Err(VerifyError::Behind);
                        }
                    }
                }
            }
        }
    }

    fn begin_waiting(&mut self, reference: Result<Reference, StreamError>) -> Result<(), VerifyError> {
        self.comparison = match reference {
            Ok(reference) => Some(Comparison::Waiting(reference, Instant::now())),
            // Later again.
            Err(StreamError::Cut(_)) => None,
            Err(StreamError::Refused(message)) => return Err(VerifyError::Refused(message)),
        };
        self.compare();
        Ok(())
    }

    /// Compares, if the view has come as far as what it is compared with; begins another comparison, if it is time.
    fn compare(&mut self) {
        match self.comparison.take() {
            Some(Comparison::Waiting(reference, since)) => {
                let then = self.view.at(reference.sequence);
                if self.view.is(&reference.documents) || then.as_ref() == Some(&reference.documents) {
                    self.comparisons += 1;
                    self.compared_at = Instant::now();
                } else if let Some(then) = then {
                    self.comparisons += 1;
                    self.compared_at = Instant::now();
                    let how = difference(&then, &reference.documents);
                    self.diverge(&format!("at change {} of the log: {how}", reference.sequence));
                } else if !self.view.can_reach(reference.sequence) {
                    // It has begun anew meanwhile.
                } else if since.elapsed() > PATIENCE {
                    self.diverge(&format!("the stream did not come to change {}", reference.sequence));
                } else {
                    self.comparison = Some(Comparison::Waiting(reference, since));
                }
                if self.comparison.is_none() {
                    self.view.forget();
                }
            }
            None if self.view.sequence().is_some() && self.compared_at.elapsed() >= COMPARE_INTERVAL => {
                self.view.remember();
                let (client, key) = (self.client.clone(), self.key.clone());
                let (list_url, stream_url) = (self.list_url.clone(), self.stream_url.clone());
                let read = async move { read_reference(&client, &key, list_url, &stream_url).await };
                self.comparison = Some(Comparison::Reading(read.boxed()));
            }
            other => self.comparison = other,
        }
    }

    fn diverge(&mut self, how: &str) {
        self.divergences += 1;
        // The same slip may be in every comparison from now on.
        if self.divergences <= 20 {
            self.bar.suspend(|| eprintln!("divergence: {how}"));
        }
    }

    fn show(&mut self) {
        let line = format!(
            "{} documents, {} events, {} reconnects, {} comparisons, {} divergences",
            self.view.len(),
            self.view.events,
            self.reconnects,
            self.comparisons,
            self.divergences
        );
        if !std::io::stderr().is_terminal() && self.line_at.elapsed() >= LINE_INTERVAL {
            self.line_at = Instant::now();
            eprintln!("{line}");
        }
        self.bar.set_message(line);
        self.bar.tick();
    }
}

/// The list, if it is one page; else another snapshot, which is as of one place in the log, too.
async fn read_reference(
    client: &Client,
    key: &str,
    list_url: Url,
    stream_url: &Url,
) -> Result<Reference, StreamError> {
    let answer = client.get(list_url).bearer_auth(key).send().await?;
    if answer.status().is_success() {
        let page: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        let sequence = page["cursor"].as_str().and_then(Cursor::peek);
        if let (Some(sequence), true) = (sequence, page["nextCursor"].is_null()) {
            let documents = page["data"].as_array().into_iter().flatten().map(shown).collect();
            return Ok(Reference { sequence, documents });
        }
    }
    let mut stream = EventStream::open(client, stream_url, key, None).await?;
    let mut view = View::default();
    view.connect();
    while let Some(block) = stream.next().await? {
        if block.event.as_deref() == Some("error") {
            return Err(StreamError::Refused(said(&block.data)));
        }
        view.take(&block).map_err(|misfit| StreamError::Refused(misfit.to_string()))?;
        if let Some(sequence) = view.sequence() {
            return Ok(Reference { sequence, documents: view.into_documents() });
        }
    }
    Err(StreamError::Cut("the stream has ended".to_owned()))
}

fn said(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("code"), text("message"))
}

/// JSON, or terms as they stand in a URL.
fn add_filter(url: &mut Url, filter: Option<&str>) {
    match filter {
        None => {}
        Some(json) if json.trim_start().starts_with('{') => {
            url.query_pairs_mut().append_pair("filters", json);
        }
        Some(terms) => {
            let mut parsed = url.clone();
            parsed.set_query(Some(terms));
            url.query_pairs_mut().extend_pairs(parsed.query_pairs());
        }
    }
}

/// How long a connection is kept; by chance, so that it is cut anywhere.
fn lifetime() -> Duration {
    let chance = getrandom::u32().map_or(1000, u64::from);
    Duration::from_millis(LIFETIME.start + chance % (LIFETIME.end - LIFETIME.start))
}

/// Reads `60s`, `5m`, `2h`, or seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 && factor > 0 => Ok(Duration::from_secs(u64::from(number) * factor)),
        _ => Err("write a time such as 60s, 5m or 2h".to_owned()),
    }
}
