//! Documents of providers that change seldom: what they offer, and their keys.
//!
//! A document is asked for once, however many wait for it, and again in the background when it is an hour old. A provider that
//! is away costs nobody more than one request a few seconds apart, and its last document is good for a day.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{Fetcher, ProviderError};
use crate::domain::ProjectId;

/// How old a document gets before it is asked for again.
const FRESH_FOR: Duration = Duration::from_secs(3600);
/// How old a document may be that the provider doesn't give any more.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long after a request the next one for the same document may follow, if somebody asks for newer keys.
const BETWEEN_REFRESHES: Duration = Duration::from_secs(30);
/// The same, if there is no document yet.
const BETWEEN_TRIES: Duration = Duration::from_secs(3);
/// The most documents that are kept. The one that was not used for the longest time gives way.
const MAX_KEPT: usize = 256;

/// A cache of documents. Cheap to clone.
#[derive(Clone)]
pub struct Documents {
    fetcher: Fetcher,
    entries: Arc<Mutex<HashMap<(ProjectId, String), Kept>>>,
}

struct Kept {
    entry: Arc<Entry>,
    used_at: Instant,
}

#[derive(Default)]
struct Entry {
    current: RwLock<Option<Fetched>>,
    /// Held during a request. Has the time of the last one.
    gate: tokio::sync::Mutex<Option<(Instant, Result<(), ProviderError>)>>,
}

#[derive(Clone)]
struct Fetched {
    document: Arc<Value>,
    at: Instant,
}

impl Documents {
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, entries: Arc::default() }
    }

    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Returns the document at a URL that the settings of a project name, or a document there. Waits for a request only if there
    /// is no document yet.
    ///
    /// # Errors
    /// [`ProviderError`], at once if a request failed a moment ago.
    pub async fn get(&self, project: &ProjectId, url: &str) -> Result<Arc<Value>, ProviderError> {
        let entry = self.entry(project, url);
        match entry.read() {
            Some(found) if found.at.elapsed() < FRESH_FOR => Ok(found.document),
            Some(found) if found.at.elapsed() < GOOD_FOR => {
                let (documents, project, url) = (self.clone(), project.clone(), url.to_owned());
                tokio::spawn(async move {
                    let _ = documents.ask(&entry, &project, &url, found.at, BETWEEN_REFRESHES).await;
                });
                Ok(found.document)
            }
            // One that is too old is as good as none.
            found => {
                let older_than = found.map_or_else(Instant::now, |found| found.at);
                self.ask(&entry, project, url, older_than, BETWEEN_TRIES).await
            }
        }
    }

    /// Returns the document as it is now, because the one that [`Documents::get`] returned lacks something. If it was asked for
    /// within the last 30 seconds, it is the same.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn refresh(&self, project: &ProjectId, url: &str) -> Result<Arc<Value>, ProviderError> {
        let entry = self.entry(project, url);
        let Some(found) = entry.read() else { return self.get(project, url).await };
        match self.ask(&entry, project, url, found.at, BETWEEN_REFRESHES).await {
            Ok(document) => Ok(document),
            Err(_) => Ok(found.document),
        }
    }

    /// Asks for the document, unless somebody got one meanwhile that is newer than `seen`, or asked a moment ago.
    async fn ask(
        &self,
        entry: &Entry,
        project: &ProjectId,
        url: &str,
        seen: Instant,
        between: Duration,
    ) -> Result<Arc<Value>, ProviderError> {
        let mut last = entry.gate.lock().await;
        let found = entry.read();
        if let Some(found) = &found
            && found.at > seen
        {
            return Ok(found.document.clone());
        }
        if let Some((at, outcome)) = &*last
            && at.elapsed() < between
        {
            let failure = || outcome.clone().err().unwrap_or(ProviderError::Away);
            return found.map(|found| found.document).ok_or_else(failure);
        }
        // Whoever gives up while waiting leaves this.
        *last = Some((Instant::now(), Err(ProviderError::Away)));
        let answer = self.fetcher.get(project, url, None).await;
        let answer = answer.and_then(|answer| match answer.status.is_success() && answer.body.is_object() {
            true => Ok(answer),
            false => Err(ProviderError::BadAnswer("a document that it must have is not there")),
        });
        if let Some((_, outcome)) = &mut *last {
            *outcome = answer.as_ref().map(drop).map_err(Clone::clone);
        }
        let answer = answer?;
        let fetched = Fetched { document: Arc::new(answer.body), at: Instant::now() };
        let document = fetched.document.clone();
        *entry.current.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
        Ok(document)
    }

    /// Projects don't share entries, so that none can find out, or hold up, what another one asks for.
    fn entry(&self, project: &ProjectId, url: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (project.clone(), url.to_owned());
        let now = Instant::now();
        if let Some(kept) = entries.get_mut(&key) {
            kept.used_at = now;
            return kept.entry.clone();
        }
        if entries.len() >= MAX_KEPT {
            let oldest = entries.iter().min_by_key(|(_, kept)| kept.used_at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| entries.remove(&oldest));
        }
        let entry = Arc::<Entry>::default();
        entries.insert(key, Kept { entry: entry.clone(), used_at: now });
        entry
    }
}

impl Entry {
    fn read(&self) -> Option<Fetched> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
