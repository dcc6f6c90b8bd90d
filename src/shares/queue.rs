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
        let line = self.projects.iter().find(|line| line.project == *project);
        line.map_or(0, |line| line.keys.iter().map(|line| line.waiters.len()).sum())
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
