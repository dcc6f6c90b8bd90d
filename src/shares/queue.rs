//! Those who wait for a permit, in turns: project by project, in a project key by key, and of one key in the order of coming.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::Account;
use crate::domain::{KeyId, ProjectId};

/// The waiters for a permit.
#[derive(Default)]
pub(super) struct Queue {
    projects: VecDeque<ProjectLine>,
    len: usize,
}

/// The waiters of one project. Never empty.
struct ProjectLine {
    project: ProjectId,
    keys: VecDeque<KeyLine>,
}

/// The waiters of one key. Never empty.
struct KeyLine {
    key: KeyId,
    /// By their tickets, which are in the order of coming. The sender tells a waiter that it has the permit.
    waiters: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many wait on an account.
    pub(super) fn len_of(&self, account: &Account) -> usize {
        let project = self.projects.iter().find(|line| line.project == account.project);
        let key = project.and_then(|line| line.keys.iter().find(|line| line.key == account.key));
        key.map_or(0, |line| line.waiters.len())
    }

    /// Returns how many wait on all accounts of a project.
    pub(super) fn len_of_project(&self, project: &ProjectId) -> usize {
        self.projects.iter().find(|line| line.project == *project).map_or(0, ProjectLine::len)
    }

    /// Adds a waiter to the line of its account.
    pub(super) fn push(&mut self, account: &Account, ticket: u64, granted: oneshot::Sender<()>) {
        self.len += 1;
        let Account { project, key } = account;
        let place = self.projects.iter().position(|line| line.project == *project).unwrap_or_else(|| {
            self.projects.push_back(ProjectLine { project: project.clone(), keys: VecDeque::new() });
            self.projects.len() - 1
        });
        let keys = &mut self.projects[place].keys;
        match keys.iter_mut().find(|line| line.key == *key) {
            Some(line) => drop(line.waiters.insert(ticket, granted)),
            None => keys.push_back(KeyLine { key: key.clone(), waiters: [(ticket, granted)].into() }),
        }
    }

    /// Makes room for a waiter of an account in a queue that is full, or in the line of its project where only that is: the newest
    /// waiter of whoever has most of them gives way, and its sender is dropped. Returns false if nobody has more than the account
    /// would have then.
    pub(super) fn make_room(&mut self, account: &Account, is_only_project: bool) -> bool {
        let own = self.projects.iter().position(|line| line.project == account.project);
        let own_len = own.map_or(0, |place| self.projects[place].len());
        let longest = (0..self.projects.len()).max_by_key(|place| self.projects[*place].len());
        let other = longest.filter(|place| !is_only_project && self.projects[*place].len() > own_len + 1);
        let Some(place) = other.or(own) else { return false };
        let least = if other.is_some() { 0 } else { self.len_of(account) + 1 };
        let keys = &mut self.projects[place].keys;
        let Some(line) = keys.iter_mut().max_by_key(|line| line.waiters.len()) else { return false };
        if line.waiters.len() <= least {
            return false;
        }
        drop(line.waiters.pop_last());
        keys.retain(|line| !line.waiters.is_empty());
        self.projects.retain(|line| !line.keys.is_empty());
        self.len -= 1;
        true
    }

    /// Takes the waiter whose turn it is, of those whose key may have a permit. Its project and its key go to the end of
    /// their lines.
    pub(super) fn pop(
        &mut self,
        may_have: impl Fn(&KeyId) -> bool,
    ) -> Option<(Account, oneshot::Sender<()>)> {
        let find = |line: &ProjectLine| line.keys.iter().position(|line| may_have(&line.key));
        let (place, key_place) =
            self.projects.iter().enumerate().find_map(|(place, line)| Some((place, find(line)?)))?;
        let mut project = self.projects.remove(place)?;
        let mut key = project.keys.remove(key_place)?;
        let (_, granted) = key.waiters.pop_first()?;
        self.len -= 1;
        let account = Account { project: project.project.clone(), key: key.key.clone() };
        if !key.waiters.is_empty() {
            project.keys.push_back(key);
        }
        if !project.keys.is_empty() {
            self.projects.push_back(project);
        }
        Some((account, granted))
    }

    /// Removes a waiter. Returns false if it isn't there.
    pub(super) fn remove(&mut self, account: &Account, ticket: u64) -> bool {
        let Some(place) = self.projects.iter().position(|line| line.project == account.project) else {
            return false;
        };
        let keys = &mut self.projects[place].keys;
        let Some(key_place) = keys.iter().position(|line| line.key == account.key) else { return false };
        let waiters = &mut keys[key_place].waiters;
        if waiters.remove(&ticket).is_none() {
            return false;
        }
        if waiters.is_empty() {
            keys.remove(key_place);
        }
        if keys.is_empty() {
            self.projects.remove(place);
        }
        self.len -= 1;
        true
    }
}

impl ProjectLine {
    fn len(&self) -> usize {
        self.keys.iter().map(|line| line.waiters.len()).sum()
    }
}
