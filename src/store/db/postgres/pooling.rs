//! Finds out whether a pooler shares the server's sessions between its clients, as PgBouncer does in transaction mode. What
//! Coir sets on a session would then hold for others, and not for itself.

use sqlx::Row;

use super::{
    error::{OpenError, Unfit},
    session::{Opener, Session},
    settings::ask,
};

/// How often the question is asked. A pooler gives out the session that it got back last, unless it goes round.
const ROUNDS: usize = 8;

/// Looks for what one session sets in another one.
///
/// # Errors
/// [`OpenError`] if it is there, or a failure.
pub(super) async fn check(opener: &Opener, one: &mut Session, other: &mut Session) -> Result<(), OpenError> {
    match is_shared(one, other).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(opener.error(Unfit::Pooled)),
        Err(err) => Err(opener.error(Unfit::Failed(err))),
    }
}

async fn is_shared(one: &mut Session, other: &mut Session) -> Result<bool, sqlx::Error> {
    let token = uuid::Uuid::now_v7().to_string();
    let set = [format!("set_config('coir.session', '{token}', false)")];
    let get = ["coalesce(current_setting('coir.session', true), '')".to_owned()];
    ask(&mut one.connection, &set).await?;
    for _ in 0..ROUNDS {
        let of_other: String = ask(&mut other.connection, &get).await?.try_get(0)?;
        let of_one: String = ask(&mut one.connection, &get).await?.try_get(0)?;
        if of_other == token || of_one != token {
            return Ok(true);
        }
    }
    Ok(false)
}
