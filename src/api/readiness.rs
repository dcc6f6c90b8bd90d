//! Why the process can't do its work, if it can't.

use std::{fs::File, time::Duration};

use crate::{
    hub::relay::RelayHandle,
    store::{Db, Trouble},
    supervision::Supervisor,
    writer::health::WriterHealth,
};

/// How long the database may take to answer. With the rest, the check takes less than two seconds.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a batch of writes may take.
const BATCH: Duration = Duration::from_secs(5);
/// How old the last look at the change log may be. The relay looks four times a second.
const POLL: Duration = Duration::from_secs(5);

/// The parts that readiness asks beside the database.
pub struct Health {
    pub supervisor: Supervisor,
    pub writer: WriterHealth,
    pub relay: RelayHandle,
}

/// Returns why the process can't do its work. The most telling cause comes first: one that explains the others.
pub async fn find_cause(health: &Health, db: &Db) -> Option<String> {
    if let Some(failure) = health.supervisor.trouble() {
        return Some(format!("{failure}; the log of the server says more"));
    }
    if has_no_descriptor() {
        return Some(Trouble::NoDescriptors.to_string());
    }
    let failure = health.writer.failure().map(|failure| db.find_trouble(&failure));
    // Whether the whole database is away is asked below.
    if let Some(trouble) = failure.filter(|trouble| *trouble != Trouble::Away) {
        return Some(trouble.to_string());
    }
    if let Err(trouble) = db.check_reachable(TIMEOUT).await {
        return Some(trouble.to_string());
    }
    if failure.is_some() {
        return Some(
            "the last write found the database away; the server looks again every second".to_owned(),
        );
    }
    if let Some(trouble) = health.writer.clock_trouble() {
        return Some(trouble.to_string());
    }
    if let Some(time) = health.writer.batch_time().filter(|time| *time > BATCH) {
        return Some(format!("writes have waited for the database for {} seconds", time.as_secs()));
    }
    match health.relay.since_last_poll() {
        Some(time) if time > POLL => Some(format!(
            "the change log has not been read for {} seconds, so live streams are late",
            time.as_secs()
        )),
        _ => None,
    }
}

/// Whether the process can open no file any more.
fn has_no_descriptor() -> bool {
    // EMFILE and ENFILE.
    File::open("/dev/null").is_err_and(|err| matches!(err.raw_os_error(), Some(23 | 24)))
}
