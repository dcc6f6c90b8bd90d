//! `coir verify`: follows a collection of a running server, cuts its own connection time and again, and compares the view
//! that the events make with the server's list at the same position of the log.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use coir_client::{Client, Content, Error, Message, Messages, Replica, Subscribe, Update};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;

use super::{
    answer::path_url,
    arguments::VerifyArgs,
    comparison::{Comparison, Outcome, Reference, Source},
    output::{OutputError, note, print},
    target::{self, TargetError},
};
use crate::config::Given;

/// How often a comparison begins, and how often the progress is shown.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
/// How often the progress is printed where standard error is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the server may be away, or the stream behind the list, before that is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection is kept at least and at most, in milliseconds.
const LIFETIME: std::ops::Range<u64> = 200..3000;

/// Why a verification did not end well.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("an API key is needed: --key sk_…, or COIR_KEY in the environment")]
    NoKey,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the HTTP client can't be made: {0}")]
    Client(reqwest::Error),
    #[error("the server at {0} can't be reached: {1}. Is it running?")]
    Unreachable(String, Error),
    #[error(transparent)]
    Refused(Error),
    #[error("the stream did not come as far as the list within {} s of the end", PATIENCE.as_secs())]
    Behind,
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the view was wrong {0} times")]
    Diverged(u64),
}

struct Verification {
    server: String,
    source: Source,
    messages: Messages,
    view: Replica,
    /// When the connection is cut; `None` while there is none.
    cut_at: Option<Instant>,
    heard_at: Instant,
    comparison: Option<Comparison>,
    compared_at: Instant,
    bar: ProgressBar,
    line_at: Instant,
    connections: u64,
    comparisons: u64,
    divergences: u64,
}

pub(super) async fn run(args: VerifyArgs, given: &Given) -> Result<(), VerifyError> {
    let key = args.server.key.clone().ok_or(VerifyError::NoKey)?;
    let target = target::find(args.server.url.as_deref(), given).await?;
    let mut verification = Verification::new(&args, &target.url, key)?;
    verification.follow(Instant::now() + args.duration).await?;
    verification.bar.finish_and_clear();
    let counts = verification.view.counts();
    print(format_args!(
        "Followed `{}` for {} s: {} documents, {} events, {} reconnects, {} times told to start anew, \
         {} comparisons, {} divergences.",
        args.collection,
        args.duration.as_secs(),
        verification.view.documents().len(),
        counts.events,
        verification.reconnects(),
        counts.resyncs,
        verification.comparisons,
        verification.divergences,
    ))?;
    if verification.view.documents().is_empty() && counts.events == 0 {
        note(
            "Nothing was verified: no document matched, and no event came. Write to the collection while it is followed.",
        );
    }
    match verification.divergences {
        0 => Ok(()),
        divergences => Err(VerifyError::Diverged(divergences)),
    }
}

impl Verification {
    fn new(args: &VerifyArgs, server: &str, key: String) -> Result<Self, VerifyError> {
        let bad_url = || TargetError::BadUrl(server.to_owned());
        let mut list_url = path_url(server, &["collections", &args.collection]).ok_or_else(bad_url)?;
        let terms = filter_terms(&list_url, args.filter.as_deref());
        list_url.query_pairs_mut().extend_pairs(&terms).append_pair("limit", "1000");
        let subscribe = Subscribe::to(&args.collection).snapshot();
        let wanted = terms.into_iter().fold(subscribe, |wanted, (name, value)| wanted.term(name, value));
        // Heartbeats come more often than that.
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(PATIENCE);
        let http = http.build().map_err(VerifyError::Client)?;
        let client = Client::new(server, &key).map_err(|_| bad_url())?.with_http(http.clone());
        let style = ProgressStyle::with_template("{spinner} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        Ok(Self {
            server: server.to_owned(),
            messages: client.watch(wanted.clone()).backoff(TICK, TICK).messages(),
            source: Source { http, key, list_url, client, wanted },
            view: Replica::new(),
            cut_at: None,
            heard_at: Instant::now(),
            comparison: None,
            compared_at: Instant::now(),
            bar: ProgressBar::new_spinner().with_style(style),
            line_at: Instant::now(),
            connections: 0,
            comparisons: 0,
            divergences: 0,
        })
    }

    /// Follows until `end`, and then until a last comparison.
    async fn follow(&mut self, end: Instant) -> Result<(), VerifyError> {
        let mut tick = tokio::time::interval(TICK);
        let mut compared_before_end = None;
        loop {
            self.cut(end);
            tokio::select! {
                update = self.messages.next() => self.take(update.map_err(VerifyError::Refused)?)?,
                Some(reference) = Comparison::reading(&mut self.comparison) => self.begin_waiting(reference)?,
                _ = tick.tick() => {
                    self.compare();
                    self.show();
                    if Instant::now() < end {
                        continue;
                    }
                    // The last one must have begun after the end.
                    let before = *compared_before_end.get_or_insert(self.comparisons);
                    if self.comparisons > before + 1 {
                        return Ok(());
                    }
                    if end.elapsed() > 2 * PATIENCE {
                        return Err(VerifyError::Behind);
                    }
                }
            }
        }
    }

    /// Cuts the connection if its time has come. A comparison that waits for the stream is waited for, because an idle stream
    /// says only now and then how far it is.
    fn cut(&mut self, end: Instant) {
        let is_due = self.cut_at.is_some_and(|at| at <= Instant::now());
        let is_settling = Instant::now() >= end || matches!(&self.comparison, Some(Comparison::Waiting(..)));
        if is_due && !is_settling {
            self.messages.disconnect();
            self.cut_at = None;
        }
    }

    fn take(&mut self, update: Update) -> Result<(), VerifyError> {
        match update {
            Update::Connected => {
                self.connections += 1;
                self.cut_at = Some(Instant::now() + lifetime());
                self.view.reconnect();
            }
            // The connection was open, so the server may answer again at once.
            Update::Disconnected { .. } if self.cut_at.take().is_some() => {}
            // A stream must get over a server that is started again.
            Update::Disconnected { .. } if self.connections > 0 && self.heard_at.elapsed() < PATIENCE => {}
            Update::Disconnected { reason, .. } => {
                return Err(VerifyError::Unreachable(self.server.clone(), reason));
            }
            Update::Message(Message { content: Content::Error { code, message }, .. }) => {
                return Err(VerifyError::Refused(Error::Refused { code, message }));
            }
            Update::Message(message) => {
                self.heard_at = Instant::now();
                self.apply(message);
            }
        }
        Ok(())
    }

    fn apply(&mut self, message: Message) {
        if let Some(cursor) = message.cursor.as_ref().filter(|cursor| cursor.sequence().is_none()) {
            self.diverge(&format!("`{cursor}` is not a cursor that this version can read"));
        }
        if let Err(misfit) = self.view.apply(message) {
            self.diverge(&misfit.to_string());
        }
    }

    fn begin_waiting(&mut self, reference: Result<Reference, Error>) -> Result<(), VerifyError> {
        self.comparison = match reference {
            Ok(reference) => Some(Comparison::Waiting(reference, Instant::now())),
            // It is tried again later.
            Err(error) if error.is_transient() => None,
            Err(error) => return Err(VerifyError::Refused(error)),
        };
        self.compare();
        Ok(())
    }

    /// Compares, if the view has come as far as the reference; begins another comparison, if it is time.
    fn compare(&mut self) {
        match self.comparison.take() {
            Some(Comparison::Waiting(reference, since)) => {
                match reference.compare(&self.view, since, PATIENCE) {
                    Outcome::Same => self.count_comparison(),
                    Outcome::Different(how) => {
                        self.count_comparison();
                        self.diverge(&format!("at change {} of the log: {how}", reference.sequence));
                    }
                    Outcome::Missed => {}
                    Outcome::Late => {
                        self.diverge(&format!("the stream did not come to change {}", reference.sequence));
                    }
                    Outcome::Open => {
                        self.comparison = Some(Comparison::Waiting(reference, since));
                        return;
                    }
                }
                self.view.stop_history();
            }
            None if self.view.is_complete() && self.compared_at.elapsed() >= COMPARE_INTERVAL => {
                self.view.start_history();
                self.comparison = Some(Comparison::begin(self.source.clone()));
            }
            other => self.comparison = other,
        }
    }

    fn count_comparison(&mut self) {
        self.comparisons += 1;
        self.compared_at = Instant::now();
    }

    fn diverge(&mut self, how: &str) {
        self.divergences += 1;
        // The same error may be in every comparison from now on.
        if self.divergences <= 20 {
            self.bar.suspend(|| note(format_args!("divergence: {how}")));
        }
    }

    fn reconnects(&self) -> u64 {
        self.connections.saturating_sub(1)
    }

    fn show(&mut self) {
        let line = format!(
            "{} documents, {} events, {} reconnects, {} comparisons, {} divergences",
            self.view.documents().len(),
            self.view.counts().events,
            self.reconnects(),
            self.comparisons,
            self.divergences
        );
        if !std::io::stderr().is_terminal() && self.line_at.elapsed() >= LINE_INTERVAL {
            self.line_at = Instant::now();
            note(&line);
        }
        self.bar.set_message(line);
        self.bar.tick();
    }
}

/// The parameters of a filter that is JSON, or terms as they stand in a URL.
fn filter_terms(url: &Url, filter: Option<&str>) -> Vec<(String, String)> {
    match filter {
        None => Vec::new(),
        Some(json) if json.trim_start().starts_with('{') => vec![("filters".to_owned(), json.to_owned())],
        Some(terms) => {
            let mut url = url.clone();
            url.set_query(Some(terms));
            url.query_pairs().into_owned().collect()
        }
    }
}

/// How long a connection is kept: by chance, so that it is cut anywhere.
fn lifetime() -> Duration {
    let chance = getrandom::u32().map_or(1000, u64::from);
    Duration::from_millis(LIFETIME.start + chance % (LIFETIME.end - LIFETIME.start))
}
