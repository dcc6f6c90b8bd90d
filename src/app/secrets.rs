//! The secrets that the server signs with: read at the start, and again when the log says that one was replaced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use crate::{
    auth::{AccessKeys, Sessions, Tickets, TokenAlgorithm, Tokens},
    domain::secrets::{SecretName, Secrets},
    hub::HubHandle,
    providers::States,
    service::{keys::SetupError, secrets},
    store::Db,
};

/// For how long the previous secret still signs, so that every node knows the new one before it meets a token of it. Nodes hear of
/// it within a second.
const ANNOUNCED: Duration = Duration::from_secs(2);
/// How long to wait after a try that failed.
const RETRY: Duration = Duration::from_millis(500);

/// Wakes [`Signers::run`]. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct SecretsBell(Arc<Notify>);

impl SecretsBell {
    pub(super) fn ring(&self) {
        self.0.notify_one();
    }
}

/// What signs and reads with the secrets.
pub(super) struct Signers {
    pub(super) tokens: Tokens,
    pub(super) tickets: Tickets,
    pub(super) states: States,
    algorithm: TokenAlgorithm,
    /// In the order of [`SecretName::ALL`].
    secrets: [Secrets; 5],
}

impl Signers {
    /// Reads the secrets, and creates those that the database lacks.
    ///
    /// # Errors
    /// [`SetupError::NoSecret`] if one is damaged.
    pub(super) async fn read(db: &Db, algorithm: TokenAlgorithm) -> Result<Self, SetupError> {
        // Those of both algorithms, so that nodes that start one after the other with another algorithm read each other's tokens.
        let secrets = read_all(db).await?;
        let [hs256, eddsa, refresh, tickets, oauth] = secrets.clone();
        Ok(Self {
            tokens: Tokens::new(access_keys(algorithm, &hs256, &eddsa)?, refresh),
            tickets: Tickets::new(tickets),
            states: States::new(oauth),
            algorithm,
            secrets,
        })
    }

    /// Reads the secrets anew each time that the bell rings, until the server stops. If one was dropped, every stream ends, because
    /// what opened it may be forged.
    pub(super) async fn run(
        mut self,
        db: Db,
        bell: SecretsBell,
        (sessions, hub): (Sessions, HubHandle),
        mut stop: watch::Receiver<bool>,
    ) {
        let work = async {
            loop {
                bell.0.notified().await;
                let mut is_failing = false;
                while let Err(err) = self.replace(&db, &sessions, &hub).await {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(
                            "the secrets can't be read anew, and are as before until they can: {err}"
                        );
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn replace(&mut self, db: &Db, sessions: &Sessions, hub: &HubHandle) -> Result<(), SetupError> {
        let mut news = read_all(db).await?;
        let mut dropped = false;
        for ((name, old), new) in SecretName::ALL.into_iter().zip(&self.secrets).zip(&mut news) {
            if new.current == old.current {
                new.signs_from = old.signs_from;
                dropped |= old.previous.is_some() && new.previous != old.previous;
                continue;
            }
            let name = name.as_str();
            tracing::info!(secret = name, "the secret `{name}` was replaced");
            if new.previous.as_ref() == Some(&old.current) {
                new.signs_from = Some(Instant::now() + ANNOUNCED);
            } else {
                dropped = true;
            }
        }
        let [hs256, eddsa, refresh, tickets, oauth] = news.clone();
        self.tokens.replace(access_keys(self.algorithm, &hs256, &eddsa)?, refresh);
        self.tickets.replace(tickets);
        self.states.replace(oauth);
        self.secrets = news;
        if dropped {
            sessions.doubt_all();
            hub.doubt_all();
        }
        Ok(())
    }
}

async fn read_all(db: &Db) -> Result<[Secrets; 5], SetupError> {
    let [access, eddsa, refresh, tickets, oauth] =
        SecretName::ALL.map(|name| secrets::ensure_secrets(db, name));
    Ok([access.await?, eddsa.await?, refresh.await?, tickets.await?, oauth.await?])
}

fn access_keys(
    algorithm: TokenAlgorithm,
    hs256: &Secrets,
    eddsa: &Secrets,
) -> Result<AccessKeys, SetupError> {
    let damaged = |_| SetupError::NoSecret(SecretName::AccessEddsa.as_str().to_owned());
    AccessKeys::new(algorithm, hs256, eddsa).map_err(damaged)
}
