//! Sessions: a user's sign-in on one device, from the first token to the last.

use std::sync::Arc;

use super::{
    DocumentId, KeyId, ProjectId, SessionId, Timestamp,
    refreshes::{Ancestor, GRACE, RecentRefreshes},
};

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
    /// The refreshes of the last moments.
    pub recent: RecentRefreshes,
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
    /// It was current a moment ago, and whoever has it was too late, or shares the session with others: the session's current one is
    /// the answer.
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
        // Also if an older version made the current one.
        if token.generation + 1 == self.generation && now.0 - self.used_at.0 <= GRACE {
            return TokenWorth::JustReplaced;
        }
        match self.recent.judge(token.generation, self.generation, token.arrived, now) {
            Ancestor::Honest => TokenWorth::JustReplaced,
            Ancestor::Stolen => TokenWorth::Stolen,
        }
    }

    /// Returns the session after a refresh by its current token. The caller sets the other members.
    pub fn next(&self, token_hash: String, now: Timestamp) -> Self {
        let generation = self.generation + 1;
        let recent = self.recent.after(generation, now);
        Self { generation, token_hash, recent, used_at: now, ..self.clone() }
    }

    /// Returns the session with the note that several clients share it, if that is not noted yet: one of its tokens was presented
    /// more than once.
    pub fn as_shared(&self, now: Timestamp) -> Option<Self> {
        Some(Self { recent: self.recent.as_shared(now)?, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_worth_what_its_generation_and_its_hash_say() {
        let session = Session {
            id: SessionId::from_stored("s"),
            project: ProjectId::from_stored("p"),
            user: DocumentId::from_stored("u"),
            method: "password".into(),
            created_at: Timestamp(0),
            signed_in_at: Timestamp(0),
            used_at: Timestamp(0),
            expires_at: Timestamp(1_000_000),
            generation: 1,
            token_hash: "one".to_owned(),
            recent: RecentRefreshes::default(),
            device: None,
            address: None,
            key: None,
        };
        let (first, now) = (session.next("two".to_owned(), Timestamp(90_000)), Timestamp(100_000));
        let second = first.next("three".to_owned(), now);
        for (why, session, generation, hash, worth) in [
            ("the current one", &second, 3, "three", TokenWorth::Current),
            ("one that looks like it", &second, 3, "other", TokenWorth::Unknown),
            ("one to come", &second, 4, "four", TokenWorth::Unknown),
            ("the parent", &second, 2, "two", TokenWorth::JustReplaced),
            ("its parent", &second, 1, "one", TokenWorth::Stolen),
            (
                "the same in a session that is shared",
                &second.as_shared(now).unwrap(),
                1,
                "one",
                TokenWorth::JustReplaced,
            ),
        ] {
            let id = SessionId::from_stored("s");
            let token = PresentedToken { session: id, generation, hash: hash.to_owned(), arrived: now };
            assert_eq!(session.judge(&token, now), worth, "{why}");
        }
    }
}
