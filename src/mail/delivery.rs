//! The task that delivers mails.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use super::{
    queued::Queued,
    smtp::{Mailbox, SendError},
};
use crate::{
    domain::Mail,
    writer::{Mutation, Operation, WriterHandle},
};

/// Mails that are on their way at the same time.
const AT_ONCE: usize = 4;
/// How long a mail is tried to be delivered.
const DEADLINE: Duration = Duration::from_secs(60);
/// The pause before the second try. Each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the mails on their way are waited for when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// How mails leave the server.
pub(super) enum Way {
    Smtp(Mailbox),
    Outbox(WriterHandle),
}

/// Delivers mails until every handle of the queue is dropped, and then those that are left.
pub(super) async fn run(way: Way, mut queue: mpsc::UnboundedReceiver<Queued>) {
    let way = Arc::new(way);
    let mut deliveries = JoinSet::new();
    loop {
        tokio::select! {
            queued = queue.recv(), if deliveries.len() < AT_ONCE => match queued {
                Some(queued) => drop(deliveries.spawn(deliver(way.clone(), queued))),
                None => break,
            },
            Some(ended) = deliveries.join_next(), if !deliveries.is_empty() => note(ended),
        }
    }
    let rest = async {
        while let Some(ended) = deliveries.join_next().await {
            note(ended);
        }
    };
    if timeout(FAREWELL, rest).await.is_err() {
        tracing::warn!("mails were still on their way when the server stopped");
    }
}

/// Passes the panic of a delivery on, which then ends the process like that of any other part.
fn note(ended: Result<(), JoinError>) {
    if let Err(err) = ended
        && err.is_panic()
    {
        std::panic::resume_unwind(err.into_panic());
    }
}

async fn deliver(way: Arc<Way>, Queued { mail, place }: Queued) {
    let Mail { project, kind, .. } = &mail;
    match &*way {
        Way::Smtp(mailbox) => {
            if let Err(err) = send(mailbox, &mail).await {
                tracing::warn!(%project, kind, "a mail ({kind}) could not be sent and is given up: {err}");
            }
        }
        Way::Outbox(writer) => {
            let operations = vec![Operation::KeepMail(Box::new(mail.clone()))];
            let mutation = Mutation {
                project: project.clone(),
                caller: None,
                session: None,
                author: None,
                operations,
                idempotency: None,
                seen: None,
            };
            match writer.submit(mutation).await {
                Ok(_) => tracing::info!(
                    %project, kind,
                    "a mail ({kind}) waits in the outbox: GET /outbox with a secret key shows it; COIR_SMTP_URL has mails sent"
                ),
                Err(err) => {
                    tracing::warn!(%project, kind, "a mail ({kind}) found no way into the outbox: {err}")
                }
            }
        }
    }
    drop(place);
}

/// Sends a mail, and tries again as long as the mail server may yet take it.
async fn send(mailbox: &Mailbox, mail: &Mail) -> Result<(), SendError> {
    let mut last = SendError::NoAnswer;
    let tries = async {
        let mut pause = PAUSE;
        loop {
            match mailbox.send(mail).await {
                Err(err) if err.may_pass() => last = err,
                outcome => return outcome,
            }
            sleep(pause).await;
            pause *= 2;
        }
    };
    let outcome = timeout(DEADLINE, tries).await;
    outcome.unwrap_or(Err(last))
}
