//! Passwords, hashed with argon2id on threads of their own. A hash takes 19 MiB and tens of milliseconds, so there are few at a
//! time, and few that wait.

use super::lanes::Lanes;
use crate::{
    domain::PasswordHash,
    shares::{Account, FairPermits, PermitLimits},
};
use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{PasswordHash as ParsedHash, SaltString},
};

/// Bytes of a password. The bound is checked before anything is hashed.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;
/// How many hashes may wait: those of one visitor, those of one line of a project (strangers, those who were there before, and users
/// of a server), and all. Lines take turns, and so do the visitors of a line, so an honest user waits for one hash of each visitor
/// who is in the same line. When a line is full, whoever has most hashes in it gives way to one who has fewer. So strangers are
/// kept out only while 512 networks have a hash each in the line; those who were there before are not even then.
const WAITING: (usize, usize, usize) = (16, 512, 1024);
/// The parameters that OWASP's Password Storage Cheat Sheet recommends: 19 MiB, 2 passes, 1 lane.
const PARAMETERS: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Hashes and compares passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    lanes: Lanes,
    permits: FairPermits,
    /// The hash of a password that nobody knows. It is compared where there is no user, so that the answer takes as long.
    nobodys: PasswordHash,
}

/// Why a password was not hashed or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("`password` must have 8 to 256 bytes")]
    Length,
    #[error("too many people are signing in; try again in a moment")]
    Crowded,
    #[error("the password could not be hashed")]
    Failed,
}

/// How a password compares with a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    Right,
    /// Right, and hashed with other parameters than those of now. Has the new hash.
    Outdated(PasswordHash),
}

impl Passwords {
    /// Makes a pool on threads that do nothing else.
    ///
    /// # Errors
    /// [`PasswordError::Failed`] if the operating system has no random numbers.
    pub fn new(lanes: Lanes) -> Result<Self, PasswordError> {
        let permits = FairPermits::new(PermitLimits {
            permits: lanes.places(),
            for_newcomers: 0,
            waiting_of_a_key: WAITING.0,
            waiting_of_a_project: WAITING.1,
            waiting: WAITING.2,
        });
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| PasswordError::Failed)?;
        let nobodys = hash(&secret)?;
        Ok(Self { lanes, permits, nobodys })
    }

    /// Checks the length of a password that a user chooses.
    ///
    /// # Errors
    /// [`PasswordError::Length`].
    pub fn check(password: &str) -> Result<(), PasswordError> {
        if LENGTH.contains(&password.len()) { Ok(()) } else { Err(PasswordError::Length) }
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`PasswordError`]; [`PasswordError::Crowded`] at once if too many wait.
    pub async fn hash(&self, account: &Account, password: String) -> Result<PasswordHash, PasswordError> {
        Self::check(&password)?;
        self.run(account, move || hash(password.as_bytes())).await
    }

    /// Compares a password with a hash. Without a hash it compares with one that nothing fits, which takes as long.
    ///
    /// # Errors
    /// [`PasswordError::Crowded`] at once if too many wait.
    pub async fn compare(
        &self,
        account: &Account,
        password: String,
        stored: Option<&PasswordHash>,
    ) -> Result<Verdict, PasswordError> {
        // No password is longer, so there is nothing to compare. Everyone knows the bound, so the time may be short.
        if password.len() > *LENGTH.end() {
            return Ok(Verdict::Wrong);
        }
        let is_nobodys = stored.is_none();
        let stored = stored.unwrap_or(&self.nobodys).clone();
        let verdict = self.run(account, move || compare(password.as_bytes(), &stored)).await?;
        Ok(if is_nobodys { Verdict::Wrong } else { verdict })
    }

    async fn run<T: Send + 'static>(
        &self,
        account: &Account,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = self.permits.acquire(account).await.map_err(|_| PasswordError::Crowded)?;
        let work = move || {
            // Held until the work is done, also if the caller has gone.
            let _permit = permit;
            work()
        };
        self.lanes.run(work).await.unwrap_or(Err(PasswordError::Failed))
    }
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let (memory, passes, lanes) = PARAMETERS;
    let parameters = Params::new(memory, passes, lanes, None).map_err(|_| PasswordError::Failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

fn hash(password: &[u8]) -> Result<PasswordHash, PasswordError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::Failed)?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| PasswordError::Failed)?;
    let hash = hasher()?.hash_password(password, &salt).map_err(|_| PasswordError::Failed)?;
    Ok(PasswordHash::from_text(&hash.to_string()))
}

fn compare(password: &[u8], stored: &PasswordHash) -> Result<Verdict, PasswordError> {
    let parsed = ParsedHash::new(stored.as_str()).map_err(|_| PasswordError::Failed)?;
    // With the parameters of the stored hash.
    if Argon2::default().verify_password(password, &parsed).is_err() {
        return Ok(Verdict::Wrong);
    }
    let of_now = hash_parameters(&parsed);
    if of_now == Some(PARAMETERS) { Ok(Verdict::Right) } else { hash(password).map(Verdict::Outdated) }
}

fn hash_parameters(parsed: &ParsedHash<'_>) -> Option<(u32, u32, u32)> {
    let parameters = Params::try_from(parsed).ok()?;
    Some((parameters.m_cost(), parameters.t_cost(), parameters.p_cost()))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_an_outdated_one_is_hashed_anew() {
        let lanes = Lanes::new(Handle::current(), Handle::current());
        let (pool, account) = (Passwords::new(lanes).unwrap(), Account::anonymous());
        let stored = pool.hash(&account, "correct horse".to_owned()).await.unwrap();
        for (password, stored, expected) in [
            ("correct horse", Some(&stored), Verdict::Right),
            ("wrong horse", Some(&stored), Verdict::Wrong),
            ("correct horse", None, Verdict::Wrong),
        ] {
            assert_eq!(pool.compare(&account, password.to_owned(), stored).await, Ok(expected));
        }
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        let weak = PasswordHash::from_text(&weak.hash_password(b"correct horse", &salt).unwrap().to_string());
        let verdict = pool.compare(&account, "correct horse".to_owned(), Some(&weak)).await.unwrap();
        let Verdict::Outdated(new) = verdict else { panic!("{verdict:?}") };
        assert_eq!(pool.compare(&account, "correct horse".to_owned(), Some(&new)).await, Ok(Verdict::Right));
        assert_eq!(pool.hash(&account, "short".to_owned()).await, Err(PasswordError::Length));
    }
}
