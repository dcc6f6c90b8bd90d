//! Sessions: a user's sign-in on one device, from the first token to the last.

use std::sync::Arc;

use super::{DocumentId, KeyId, ProjectId, SessionId, Timestamp};

/// For how long the refresh token before the current one still gives the current one, in milliseconds. Several tabs of a browser
/// refresh at once, and only one of them is the first.
const GRACE: i64 = 30_000;

/// A user's sign-in on one device. Its refresh tokens have generations: each refresh makes the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub project: ProjectId,
    pub user: DocumentId,
    /// How its user signed in, such as `password`.
    pub method: Arc<str>,
    pub created_at: Timestamp,
    /// When its user last proved who they are.
    pub signed_in_at: Timestamp,
    /// The time of the last refresh.
    pub used_at: Timestamp,
    /// The first moment at which it can't be refreshed any more.
    pub expires_at: Timestamp,
    /// The current refresh token's: 1, 2, 3 …
    pub generation: u64,
    /// The SHA-256 hash of the current refresh token, in hexadecimal.
    pub token_hash: String,
    /// The `User-Agent` of its last sign-in or refresh, cut to 200 characters.
    pub device: Option<String>,
    /// The peer's address at its last sign-in or refresh.
    pub address: Option<String>,
    /// The key of its sign-in, or of the last refresh that had one. Its tokens alone can do what this key can.
    pub key: Option<KeyId>,
}

/// A refresh token that was presented, as far as it could be read.
#[derive(Clone, Debug)]
pub struct PresentedToken {
    pub session: SessionId,
    pub generation: u64,
    pub hash: String,
    /// When the request came in.
    pub arrived: Timestamp,
}

/// The worth of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenWorth {
    /// The current one: the session gets the next.
    Current,
    /// It was current a moment ago: the session's current one is the answer.
    JustReplaced,
    /// One that was replaced before. Somebody has a copy, so nobody knows whose the session is.
    Stolen,
    /// One that this session never had.
    Unknown,
}

impl Session {
    /// Judges a refresh token of this session whose signature is good.
    pub fn judge(&self, token: &PresentedToken, now: Timestamp) -> TokenWorth {
        if token.generation == self.generation {
            return if token.hash == self.token_hash { TokenWorth::Current } else { TokenWorth::Unknown };
        }
        if token.generation > self.generation {
            return TokenWorth::Unknown;
        }
        let is_parent = token.generation + 1 == self.generation && now.0 - self.used_at.0 <= GRACE;
        // It waited for its turn while another request was served.
        let was_waiting = token.arrived < self.used_at;
        if is_parent || was_waiting { TokenWorth::JustReplaced } else { TokenWorth::Stolen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            id: SessionId::from_stored("s"),
            project: ProjectId::from_stored("p"),
            user: DocumentId::from_stored("u"),
            method: "password".into(),
            created_at: Timestamp(0),
            signed_in_at: Timestamp(0),
            used_at: Timestamp(100_000),
            expires_at: Timestamp(1_000_000),
            generation: 5,
            token_hash: "five".to_owned(),
            device: None,
            address: None,
            key: None,
        }
    }

    #[test]
    fn a_token_is_worth_what_its_generation_and_its_time_say() {
        for (why, generation, hash, arrived, now, worth) in [
            ("the current one", 5, "five", 100_001, 100_002, TokenWorth::Current),
            ("one that looks like it", 5, "other", 100_001, 100_002, TokenWorth::Unknown),
            ("one to come", 6, "six", 100_001, 100_002, TokenWorth::Unknown),
            ("the parent, soon", 4, "four", 129_999, 130_000, TokenWorth::JustReplaced),
            ("the parent, too late", 4, "four", 130_001, 130_001, TokenWorth::Stolen),
            ("its parent", 3, "three", 100_000, 100_000, TokenWorth::Stolen),
            ("its parent, which was waiting", 3, "three", 99_999, 100_000, TokenWorth::JustReplaced),
        ] {
            let token = PresentedToken {
                session: SessionId::from_stored("s"),
                generation,
                hash: hash.to_owned(),
                arrived: Timestamp(arrived),
            };
            assert_eq!(session().judge(&token, Timestamp(now)), worth, "{why}");
        }
    }
}
