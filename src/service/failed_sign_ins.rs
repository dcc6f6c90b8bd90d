//! Failed sign-ins, gathered so that a flood of them costs few writes: of each account the first one, and then a sum each minute.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    auth::Principal,
    domain::{
        DocumentId, KeyId, ProjectId, Seen, Timestamp,
        audit::{AuditEntry, AuditEvent},
    },
    writer::{Mutation, Operation, WriterHandle},
};

/// The most accounts of which failures are gathered. Those of others count for the project alone.
const MAX_ACCOUNTS: usize = 1000;
/// How often it is looked for something to write.
const TICK: Duration = Duration::from_secs(1);
/// How often the failures of an account are written, after the first one.
const PERIOD: Duration = Duration::from_secs(60);

/// The failed sign-ins that wait to be written. Cheap to clone.
#[derive(Clone, Default)]
pub struct FailedSignIns(Arc<Mutex<HashMap<Place, Gathered>>>);

/// The account, or `None` for those of nobody.
type Place = (ProjectId, Option<DocumentId>);

struct Gathered {
    count: u64,
    /// The last one.
    at: Timestamp,
    by_key: KeyId,
    seen: Option<Arc<Seen>>,
    written_at: Option<Instant>,
}

impl FailedSignIns {
    /// Notes a failure. `user` is `None` if nobody has the account.
    pub fn note(&self, principal: &Principal, user: Option<DocumentId>) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = (principal.project.clone(), user);
        if gathered.len() >= MAX_ACCOUNTS && !gathered.contains_key(&place) {
            place.1 = None;
        }
        let entry = gathered.entry(place).or_insert_with(|| Gathered {
            count: 0,
            at: Timestamp::now(),
            by_key: principal.key.clone(),
            seen: None,
            written_at: None,
        });
        entry.count += 1;
        entry.at = Timestamp::now();
        entry.by_key = principal.key.clone();
        entry.seen = principal.seen.clone();
    }

    /// Writes what is due, until the server stops.
    pub async fn run(self, writer: WriterHandle, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
            }
            for (project, entries) in self.take_due(Instant::now()) {
                let operations = vec![Operation::Audit(entries)];
                let mutation = Mutation {
                    project,
                    caller: None,
                    session: None,
                    author: None,
                    operations,
                    idempotency: None,
                    seen: None,
                };
                if let Err(err) = writer.submit(mutation).await {
                    tracing::warn!("audit entries of failed sign-ins are lost: {err}");
                }
            }
        }
    }

    /// Takes out the entries that are due, by project.
    fn take_due(&self, now: Instant) -> HashMap<ProjectId, Vec<AuditEntry>> {
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.retain(|(project, user), failures| {
            let is_time = failures.written_at.is_none_or(|at| now - at >= PERIOD);
            if is_time && failures.count > 0 {
                let seen = failures.seen.as_ref();
                let entry = AuditEntry {
                    user: user.clone(),
                    by_key: Some(failures.by_key.clone()),
                    address: seen.and_then(|seen| seen.address_text()),
                    device: seen.and_then(|seen| seen.device.clone()),
                    count: failures.count,
                    ..AuditEntry::new(project.clone(), AuditEvent::SignInFailed, failures.at)
                };
                due.entry(project.clone()).or_default().push(entry);
                (failures.count, failures.written_at) = (0, Some(now));
                return true;
            }
            // One that was written a moment ago stays, so that the next one waits.
            !is_time || failures.count > 0
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_costs_one_entry_a_minute_for_each_account() {
        let failed = FailedSignIns::default();
        let project = ProjectId::from_stored("p");
        let add = |count: u64| {
            let mut gathered = failed.0.lock().unwrap();
            let entry = gathered.entry((project.clone(), None)).or_insert_with(|| Gathered {
                count: 0,
                at: Timestamp(0),
                by_key: KeyId::from_stored("k"),
                seen: None,
                written_at: None,
            });
            entry.count += count;
        };
        let take = || {
            failed
                .take_due(Instant::now())
                .into_values()
                .flatten()
                .map(|entry| entry.count)
                .collect::<Vec<_>>()
        };
        add(3);
        assert_eq!(take(), [3]);
        add(1000);
        assert!(take().is_empty());
        tokio::time::advance(PERIOD).await;
        assert_eq!(take(), [1000]);
        tokio::time::advance(PERIOD).await;
        assert!(take().is_empty());
        assert!(failed.0.lock().unwrap().is_empty());
    }
}
