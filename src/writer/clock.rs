//! The time of what is written, and whether it can be right.
//!
//! The time is that of the database's clock, which all nodes share, or on SQLite that of the machine. It is compared with the
//! time that it should be, which a clock that nobody can set tells, and with the last entries of the change logs. A time that
//! can't be right would stay in the log for good, and hold up or empty what goes by age. So nothing is written then, until the
//! clock is right or an operator confirms it with `coir accept-clock`, which writes an entry at the clock's time.

use std::time::Duration;

use super::{
    clock_trouble::{ClockTrouble, Whose},
    health::WriterHealth,
};
use crate::{
    domain::{Timestamp, clock::Moment},
    store::{StoreError, WriteTx, log::ends},
};

/// A difference that is logged, and one that stops writes, in milliseconds.
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// How often PostgreSQL's clock is looked at while nothing is written.
const LOOK: Duration = Duration::from_secs(10);
/// How long a clock must go right before ages count, if it may have jumped while nobody looked.
const TRIAL: Duration = Duration::from_secs(3600);

/// What the writer knows of the time.
pub(super) struct Clock {
    /// A time that was right, and when that was. At first it is what the machine says, also where the database has a clock.
    known: (Timestamp, Moment),
    trouble: Option<ClockTrouble>,
    /// When all logs were last looked at; `None` before the first time.
    looked_at: Option<Moment>,
    /// Since when the clock goes right, if it may have jumped before.
    on_trial_since: Option<Moment>,
    /// Whether the log was said to be a little ahead of the clock.
    has_said_ahead: bool,
    health: WriterHealth,
}

impl Clock {
    pub(super) fn new(health: WriterHealth) -> Self {
        Self {
            known: (Timestamp::now(), Moment::now()),
            trouble: None,
            looked_at: None,
            on_trial_since: None,
            has_said_ahead: false,
            health,
        }
    }

    /// Returns the time, if it is right as far as the logs of a batch tell, the last of which ends at `last`. Where this is
    /// `None`, [`Clock::look`] knows more. `database` is what the database's clock says, if it has one.
    pub(super) fn glance(&mut self, database: Option<Timestamp>, last: Timestamp) -> Option<Timestamp> {
        if self.looked_at.is_none() || self.trouble.is_some() || self.judge(database, last).is_err() {
            return None;
        }
        Some(self.accept(database, last))
    }

    /// Compares the time with all logs, and returns it.
    ///
    /// # Errors
    /// A database failure.
    pub(super) async fn look(
        &mut self,
        tx: &mut WriteTx,
    ) -> Result<Result<Timestamp, ClockTrouble>, StoreError> {
        let (last, database) = ends::last_time(tx).await?;
        let is_first = self.looked_at.replace(Moment::now()).is_none();
        if let Err(trouble) = self.judge(database, last) {
            self.set_trouble(Some(trouble));
            return Ok(Err(trouble));
        }
        let was_in_trouble = self.trouble.is_some();
        self.set_trouble(None);
        let now = self.accept(database, last);
        if is_first && last.0 > 0 && now.0 - last.0 > HOUR {
            // The server was off for long, or the clock jumped meanwhile.
            self.on_trial_since = Some(Moment::now());
        } else if was_in_trouble {
            self.on_trial_since = None;
        }
        Ok(Ok(now))
    }

    /// Returns the time by which ages are judged; `None` if nothing should be deleted because of its age.
    ///
    /// # Errors
    /// A database failure.
    pub(super) async fn look_for_ages(&mut self, tx: &mut WriteTx) -> Result<Option<Timestamp>, StoreError> {
        let now = self.look(tx).await?.ok();
        let is_on_trial = self.on_trial_since.is_some_and(|since| since.elapsed() < TRIAL);
        Ok(now.filter(|_| !is_on_trial))
    }

    /// Whether [`Clock::look`] is due although nothing is written.
    pub(super) fn is_look_due(&self, is_postgres: bool) -> bool {
        let Some(looked_at) = self.looked_at else { return true };
        let is_due = if is_postgres {
            looked_at.elapsed() >= LOOK
        } else {
            (Timestamp::now().0 - self.expected().0).abs() > MINUTE
        };
        is_due || self.trouble.is_some()
    }

    /// The time that it should be.
    fn expected(&self) -> Timestamp {
        let (at, moment) = self.known;
        Timestamp(at.0.saturating_add(i64::try_from(moment.elapsed().as_millis()).unwrap_or(i64::MAX)))
    }

    fn judge(&self, database: Option<Timestamp>, last: Timestamp) -> Result<(), ClockTrouble> {
        let (now, whose) = read(database);
        if last.0 - now.0 > HOUR {
            return Err(ClockTrouble::BehindLog { whose, now, last });
        }
        let expected = self.expected();
        // An entry of about this time was confirmed, or another node has written it.
        let is_known_to_log = now.0 - last.0 <= HOUR;
        if (now.0 - expected.0).abs() > HOUR && !is_known_to_log {
            return Err(ClockTrouble::Jumped { whose, now, expected });
        }
        Ok(())
    }

    /// Takes the time for right, and logs what is odd about it.
    fn accept(&mut self, database: Option<Timestamp>, last: Timestamp) -> Timestamp {
        let (now, whose) = read(database);
        let expected = self.expected();
        let jump = now.0 - expected.0;
        if jump.abs() > MINUTE {
            let (seconds, direction) = (jump.abs() / 1000, if jump > 0 { "ahead" } else { "behind" });
            tracing::warn!(
                jump = jump / 1000,
                "the clock of {whose} jumped, and is {seconds} s {direction}: it says {now}, and should say about {expected}"
            );
        }
        let is_ahead = last.0 - now.0 > MINUTE;
        if is_ahead && !self.has_said_ahead {
            tracing::warn!(
                "the change log ends at {last}, but the clock of {whose} says {now}; what is written until then gets that time"
            );
        }
        self.has_said_ahead = is_ahead;
        self.known = (now, Moment::now());
        now
    }

    fn set_trouble(&mut self, trouble: Option<ClockTrouble>) {
        match (&self.trouble, &trouble) {
            (None, Some(trouble)) => tracing::error!("{trouble}"),
            (Some(_), None) => tracing::warn!("the clock is right again, or was confirmed; writes go on"),
            _ => {}
        }
        self.trouble = trouble;
        self.health.note_clock(trouble);
    }
}

/// Reads the clock that counts.
fn read(database: Option<Timestamp>) -> (Timestamp, Whose) {
    match database {
        Some(now) => (now, Whose::Database),
        None => (Timestamp::now(), Whose::Machine),
    }
}
