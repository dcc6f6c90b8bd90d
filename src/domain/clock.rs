//! The clocks of the machine: the one that people set, and one that nobody can set.
//!
//! In a debug build the environment variable `TEST_CLOCK_FILE` names a file with a number of milliseconds, by which the first
//! clock is ahead, so that a test can set it. A release has no such door.

use std::time::{Duration, SystemTime};

/// Reads the clock that people set, as the time since 1970. A clock before 1970 counts as 1970.
pub(super) fn read() -> Duration {
    shift(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

#[cfg(debug_assertions)]
fn shift(time: Duration) -> Duration {
    use std::{env, fs, path::PathBuf, sync::LazyLock};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| env::var_os("TEST_CLOCK_FILE").map(PathBuf::from));
    let text = FILE.as_ref().and_then(|file| fs::read_to_string(file).ok());
    let ahead = text.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0);
    let by = Duration::from_millis(ahead.unsigned_abs());
    if ahead < 0 { time.saturating_sub(by) } else { time.saturating_add(by) }
}

#[cfg(not(debug_assertions))]
fn shift(time: Duration) -> Duration {
    time
}

/// A moment of the clock that nobody can set. It goes on while the machine sleeps, if the system has such a clock.
#[derive(Clone, Copy, Debug)]
pub struct Moment(Duration);

impl Moment {
    pub fn now() -> Self {
        Self(steady())
    }

    /// Returns the time since this moment.
    pub fn elapsed(self) -> Duration {
        steady().saturating_sub(self.0)
    }
}

/// `std::time::Instant` stands still on Linux while the machine sleeps, so that each sleep would look like a clock that was set.
fn steady() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_nanos(nanos.unwrap_or(0))
}
