//! The queues of one shard's connections, and whose they are.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use super::outbox::{Outbox, Owner};
use crate::domain::{KeyId, ProjectId, SessionId};

/// The queues of one shard's connections, by serial.
#[derive(Default)]
pub(super) struct Outboxes {
    all: RefCell<HashMap<u64, Rc<Outbox>>>,
    /// The serials of the connections of each session. Sessions end often, so their ends must not look at every connection.
    sessions: RefCell<HashMap<SessionId, Vec<u64>>>,
    last: Cell<u64>,
}

impl Outboxes {
    /// Adds a queue and returns its serial.
    pub(super) fn add(&self, outbox: &Rc<Outbox>) -> u64 {
        let serial = self.last.get() + 1;
        self.last.set(serial);
        self.all.borrow_mut().insert(serial, outbox.clone());
        serial
    }

    pub(super) fn remove(&self, serial: u64) {
        let removed = self.all.borrow_mut().remove(&serial);
        if let Some(owner) = removed.and_then(|outbox| outbox.owner()) {
            self.forget_session(serial, &owner);
        }
    }

    /// Notes whose connection this is; `None` if nobody has said so.
    pub(super) fn set_owner(&self, serial: u64, owner: Option<Owner>) {
        let Some(outbox) = self.all.borrow().get(&serial).cloned() else { return };
        if let Some(before) = outbox.owner() {
            self.forget_session(serial, &before);
        }
        if let Some(session) = owner.as_ref().and_then(|owner| owner.session.clone()) {
            self.sessions.borrow_mut().entry(session).or_default().push(serial);
        }
        outbox.set_owner(owner);
    }

    pub(super) fn all(&self) -> Vec<Rc<Outbox>> {
        self.all.borrow().values().cloned().collect()
    }

    /// Returns the connections that have a revision of a key before this one.
    pub(super) fn of_key(&self, key: &KeyId, before: u64) -> Vec<Rc<Outbox>> {
        self.filter(|owner| owner.key.id == *key && owner.key.revision < before)
    }

    /// Returns the connections that users of a project have.
    pub(super) fn of_users(&self, project: &ProjectId) -> Vec<Rc<Outbox>> {
        self.filter(|owner| owner.session.is_some() && owner.project == *project)
    }

    pub(super) fn of_session(&self, session: &SessionId) -> Vec<Rc<Outbox>> {
        let (all, sessions) = (self.all.borrow(), self.sessions.borrow());
        let serials = sessions.get(session).into_iter().flatten();
        serials.filter_map(|serial| all.get(serial).cloned()).collect()
    }

    fn filter(&self, is_wanted: impl Fn(&Owner) -> bool) -> Vec<Rc<Outbox>> {
        let all = self.all.borrow();
        all.values().filter(|outbox| outbox.owner().is_some_and(|owner| is_wanted(&owner))).cloned().collect()
    }

    fn forget_session(&self, serial: u64, owner: &Owner) {
        let Some(session) = &owner.session else { return };
        let mut sessions = self.sessions.borrow_mut();
        if let Some(serials) = sessions.get_mut(session) {
            serials.retain(|other| *other != serial);
            if serials.is_empty() {
                sessions.remove(session);
            }
        }
    }
}
