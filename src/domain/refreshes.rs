//! The refreshes of a session in the last moments, by which the tabs of a browser are told from a thief.
//!
//! Tabs refresh at the same time, each with its own copy of a token, and go on with what they get. So one of them may still hold a
//! token that others have replaced more than once. A thief who copied a token looks the same, but for one thing: while one client
//! alone refreshes, each token is presented once. Its grandparent is then presented by somebody else.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// For how long a token that was replaced may still be good, in milliseconds.
pub(super) const GRACE: i64 = 30_000;
/// How many refreshes are remembered one by one. Of older ones, one in each [`STEP`] is.
const EXACT: usize = 24;
/// In milliseconds.
const STEP: i64 = 1_000;

/// When the refresh tokens of the last 30 seconds were made, and whether several clients had one of them. Has at most
/// some 60 entries, however often a session is refreshed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentRefreshes {
    /// Generations and the times at which they were made, the oldest first.
    made: Vec<(u64, i64)>,
    /// When a token was last seen to be presented more than once, up to half of [`GRACE`] too early.
    shared: Option<i64>,
}

/// The worth of a token that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancestor {
    /// Its holder was too late, or shares the session with others.
    Honest,
    /// Somebody has a copy of it, and nobody knows who.
    Stolen,
}

impl RecentRefreshes {
    /// Judges the token of an earlier generation than the current one. `arrived` is when it came in.
    ///
    /// It is honest within 30 seconds of its replacement, if it is the parent of the current one, if it came in before its
    /// grandchild was made, or if the session is shared.
    pub fn judge(&self, generation: u64, current: u64, arrived: Timestamp, now: Timestamp) -> Ancestor {
        let is_recent = |time: i64| now.0 - time <= GRACE;
        // What is not remembered one by one counts as replaced earlier, at the time of the one before.
        let replaced_at = self.made_at(generation + 1);
        let is_late = !replaced_at.is_some_and(is_recent);
        let was_waiting = || self.made_at(generation + 2).is_some_and(|made| arrived.0 < made);
        let is_honest = generation + 1 == current || was_waiting() || self.shared.is_some_and(is_recent);
        if !is_late && is_honest { Ancestor::Honest } else { Ancestor::Stolen }
    }

    /// Returns the refreshes with one more, which has made a generation.
    pub fn after(&self, generation: u64, now: Timestamp) -> Self {
        let is_recent = |time: i64| now.0 - time <= GRACE;
        let mut made: Vec<_> = self.made.iter().copied().filter(|(_, time)| is_recent(*time)).collect();
        made.push((generation, now.0));
        let old = made.len().saturating_sub(EXACT);
        let mut last = None;
        let mut place = 0;
        made.retain(|(_, time)| {
            place += 1;
            let is_kept = place > old || last.is_none_or(|last| time - last >= STEP);
            if is_kept {
                last = Some(*time);
            }
            is_kept
        });
        Self { made, shared: self.shared.filter(|time| is_recent(*time)) }
    }

    /// Returns them with the note that a token was presented more than once, if that was not noted lately.
    pub fn as_shared(&self, now: Timestamp) -> Option<Self> {
        let is_noted = self.shared.is_some_and(|time| now.0 - time <= GRACE / 2);
        (!is_noted).then(|| Self { shared: Some(now.0), ..self.clone() })
    }

    /// Reads what was stored. What can't be read counts as nothing: older tokens are then good for nothing.
    pub fn from_stored(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Returns the text that is stored, if there is anything to remember.
    pub fn to_stored(&self) -> Option<String> {
        // Numbers can always be written.
        if *self == Self::default() { None } else { serde_json::to_string(self).ok() }
    }

    /// Returns when a generation was made, or the last one before it that is remembered.
    fn made_at(&self, generation: u64) -> Option<i64> {
        let found = self.made.iter().rev().find(|(made, _)| *made <= generation);
        found.map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generation 2 was made at 10 s, 3 at 20 s, 4 at 21 s and 5 at 22 s.
    fn refreshes() -> RecentRefreshes {
        let times = [10_000, 20_000, 21_000, 22_000];
        times.into_iter().zip(2..).fold(RecentRefreshes::default(), |made, (time, generation)| {
            made.after(generation, Timestamp(time))
        })
    }

    #[test]
    fn a_token_that_was_replaced_is_worth_what_was_seen_of_the_others() {
        let alone = refreshes();
        let shared = alone.as_shared(Timestamp(22_000)).unwrap();
        for (why, refreshes, generation, arrived, now, is_honest) in [
            ("the parent", &alone, 4, 23_000, 23_000, true),
            ("the parent, as late as may be", &alone, 4, 52_000, 52_000, true),
            ("the parent, too late", &alone, 4, 52_001, 52_001, false),
            ("its parent", &alone, 3, 23_000, 23_000, false),
            ("its parent, which was waiting", &alone, 3, 21_999, 23_000, true),
            ("the oldest, which was waiting", &alone, 1, 19_999, 23_000, true),
            ("the oldest, which came after its grandchild", &alone, 1, 20_001, 23_000, false),
            ("one of long ago, which was waiting", &alone, 1, 19_999, 40_001, false),
            ("its parent, where several share the session", &shared, 3, 23_000, 23_000, true),
            ("the oldest, where several share the session", &shared, 1, 23_000, 40_000, true),
            ("one of long ago, where several share the session", &shared, 1, 23_000, 40_001, false),
            ("one of before that, where several share the session", &shared, 0, 23_000, 23_000, false),
        ] {
            let worth = refreshes.judge(generation, 5, Timestamp(arrived), Timestamp(now));
            assert_eq!(worth == Ancestor::Honest, is_honest, "{why}");
        }
    }

    #[test]
    fn a_note_that_a_session_is_shared_is_written_rarely_and_lasts_30_seconds() {
        let shared = refreshes().as_shared(Timestamp(22_000)).unwrap();
        assert_eq!(shared.as_shared(Timestamp(37_000)), None);
        assert!(shared.as_shared(Timestamp(37_001)).is_some());
        let next = shared.after(6, Timestamp(52_000)).after(7, Timestamp(52_000)).after(8, Timestamp(52_000));
        assert_eq!(next.judge(6, 8, Timestamp(52_000), Timestamp(52_000)), Ancestor::Honest);
        let next = shared.after(6, Timestamp(52_001)).after(7, Timestamp(52_001)).after(8, Timestamp(52_001));
        assert_eq!(next.judge(6, 8, Timestamp(52_001), Timestamp(52_001)), Ancestor::Stolen);
    }

    #[test]
    fn a_session_that_is_refreshed_all_the_time_remembers_few_of_them() {
        let mut refreshes = RecentRefreshes::default().as_shared(Timestamp(0)).unwrap();
        for n in 0..12_000u64 {
            let now = Timestamp(i64::try_from(n).unwrap() * 5);
            refreshes = refreshes.after(n + 2, now);
            refreshes = refreshes.as_shared(now).unwrap_or(refreshes);
        }
        assert!(refreshes.made.len() <= 60, "{}", refreshes.made.len());
        assert!(refreshes.to_stored().unwrap().len() < 1500);
        assert_eq!(RecentRefreshes::from_stored(refreshes.to_stored().as_deref()), refreshes);
        let (current, now) = (12_001, Timestamp(59_995));
        // 29 s are 5800 generations.
        for (age, worth) in [(10, Ancestor::Honest), (5_700, Ancestor::Honest), (6_100, Ancestor::Stolen)] {
            assert_eq!(refreshes.judge(current - age, current, now, now), worth, "{age}");
        }
        // Beside thousands of others, those that are remembered one by one are judged by the moment.
        let alone = RecentRefreshes { shared: None, ..refreshes };
        assert_eq!(alone.judge(current - 2, current, Timestamp(59_994), now), Ancestor::Honest);
        assert_eq!(alone.judge(current - 2, current, Timestamp(59_995), now), Ancestor::Stolen);
    }
}
