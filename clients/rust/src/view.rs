//! A view that keeps itself up to date.

use crate::{Change, Documents, Error, Messages, Replica, Update};

/// The documents that match a query, kept up to date over as many connections as it takes.
#[derive(Debug)]
pub struct View {
    messages: Messages,
    replica: Replica,
}

impl View {
    pub(crate) fn new(messages: Messages, replica: Replica) -> Self {
        Self { messages, replica }
    }

    /// Waits until the view changes. Can be dropped while it waits without losing anything.
    ///
    /// # Errors
    /// An error that coming back doesn't mend, or [`Error::Misfit`] if an event was missed. A further call begins anew.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            let change = match self.messages.next().await? {
                Update::Connected => self.replica.reconnect(),
                Update::Disconnected { .. } => continue,
                Update::Message(message) => match self.replica.apply(message) {
                    Ok(change) => change,
                    Err(misfit) => {
                        self.replica.restart();
                        self.messages.restart();
                        return Err(misfit.into());
                    }
                },
            };
            if change != Change::None {
                return Ok(change);
            }
        }
    }

    /// The documents by id. Before [`View::is_complete`], some may be missing.
    pub fn documents(&self) -> &Documents {
        self.replica.documents()
    }

    /// Whether the documents are the query's result, as of a moment ago.
    pub fn is_complete(&self) -> bool {
        self.replica.is_complete()
    }

    /// The view itself, with its cursor and its counts.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Ends watching, and returns the view. [`Watch::view_from`](crate::Watch::view_from) goes on from there.
    pub fn into_replica(self) -> Replica {
        self.replica
    }
}
