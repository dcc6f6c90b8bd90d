//! The queue of mails.

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Letter, Smtp,
    delivery::{self, Way},
    queued::Queued,
};
use crate::{
    domain::{Email, ProjectId, ProjectSettings},
    shares::{Account, FairPermit, FairPermits, PermitLimits},
    supervision::Supervisor,
    writer::WriterHandle,
};

/// How many mails may wait or be on their way. The last ones are only for visitors that have none there.
const WAITING: PermitLimits = PermitLimits {
    permits: 256,
    for_newcomers: 32,
    waiting_of_a_key: 0,
    waiting_of_a_project: 0,
    waiting: 0,
};

/// The way to the queue. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    places: FairPermits,
    /// Has no bound of its own: each mail in it holds a permit.
    queue: mpsc::UnboundedSender<Queued>,
    public_url: Arc<str>,
}

/// A place in the queue for one mail.
pub struct Place {
    mailer: Mailer,
    /// Those of the project that sends it.
    settings: Arc<ProjectSettings>,
    permit: FairPermit,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many mails wait to be sent; try again in a minute")]
pub struct MailsWait;

/// Starts the task that delivers mails, on the calling runtime. It ends when every [`Mailer`] is dropped. Without SMTP, mails go
/// into the outbox. `public_url` is where the links in mails lead.
pub fn start(
    smtp: Option<Smtp>,
    writer: WriterHandle,
    public_url: &str,
    supervisor: &Supervisor,
) -> (Mailer, JoinHandle<()>) {
    let (queue, receiver) = mpsc::unbounded_channel();
    let way = match smtp {
        Some(smtp) => Way::Smtp(smtp.open()),
        None => Way::Outbox(writer),
    };
    let delivery = delivery::run(way, receiver);
    let task = tokio::spawn(supervisor.watch("mail", delivery));
    let public_url = with_path(public_url).into();
    (Mailer { places: FairPermits::new(WAITING), queue, public_url }, task)
}

/// Returns a URL as browsers write it: with a slash where nothing stands behind the host. A path stays as it is, because it may be
/// that of a file.
fn with_path(url: &str) -> String {
    let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path { url.to_owned() } else { format!("{url}/") }
}

impl Mailer {
    /// Returns the URL to which the links in mails lead, with a path.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Returns the host to which the links in mails lead. Authenticator apps show it.
    pub fn public_host(&self) -> &str {
        let url = self.public_url.split_once("://").map_or(&*self.public_url, |(_, rest)| rest);
        url.split(['/', ':']).next().unwrap_or_default()
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`MailsWait`], at once.
    pub async fn reserve(
        &self,
        account: &Account,
        settings: Arc<ProjectSettings>,
    ) -> Result<Place, MailsWait> {
        let permit = self.places.acquire(account).await.map_err(|_| MailsWait)?;
        Ok(Place { mailer: self.clone(), settings, permit })
    }
}

impl Place {
    /// Writes a mail and puts it into the queue.
    pub fn send(self, project: ProjectId, to: Email, letter: &Letter) {
        let mail = letter.write(
            project,
            to,
            (self.mailer.public_url(), self.mailer.public_host()),
            &self.settings.mails,
        );
        // The task is gone only if the server stops. Whoever misses the mail asks for another one.
        let _ = self.mailer.queue.send(Queued { mail, place: self.permit });
    }
}
