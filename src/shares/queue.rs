//! Those who wait for a permit, in turns: project by project, in a project key by key, of one key member by member, and of one
//! member in the order of coming.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

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
    members: VecDeque<MemberLine>,
}

/// The waiters of one member, or of those who have the key alone. Never empty.
struct MemberLine {
    member: Option<Arc<str>>,
    /// By their tickets, which are in the order of coming. The sender tells a waiter that it has the permit.
    waiters: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Where in the queue one more waiter finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Key,
    Project,
    All,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many wait with the key of an account.
    pub(super) fn len_of_key(&self, account: &Account) -> usize {
        self.key_line(account).map_or(0, KeyLine::len)
    }

    /// Returns how many wait on all accounts of a project.
    pub(super) fn len_of_project(&self, project: &ProjectId) -> usize {
        self.projects.iter().find(|line| line.project == *project).map_or(0, ProjectLine::len)
    }

    /// Adds a waiter to the line of its account.
    pub(super) fn push(&mut self, account: &Account, ticket: u64, granted: oneshot::Sender<()>) {
        self.len += 1;
        let Account { project, key, member } = account;
        let place = self.projects.iter().position(|line| line.project == *project).unwrap_or_else(|| {
            self.projects.push_back(ProjectLine { project: project.clone(), keys: VecDeque::new() });
            self.projects.len() - 1
        });
        let keys = &mut self.projects[place].keys;
        let place = keys.iter().position(|line| line.key == *key).unwrap_or_else(|| {
            keys.push_back(KeyLine { key: key.clone(), members: VecDeque::new() });
            keys.len() - 1
        });
        let members = &mut keys[place].members;
        match members.iter_mut().find(|line| line.member == *member) {
            Some(line) => drop(line.waiters.insert(ticket, granted)),
            None => {
                members.push_back(MemberLine { member: member.clone(), waiters: [(ticket, granted)].into() })
            }
        }
    }

    /// Makes room for a waiter of an account where the queue, or the line of its project or key, is full: the newest waiter of
    /// whoever has most of them gives way, and its sender is dropped. Returns false if nobody has more than the account would have
    /// then.
    pub(super) fn make_room(&mut self, account: &Account, full: Full) -> bool {
        let own_project = self.projects.iter().position(|line| line.project == account.project);
        let own_len = own_project.map_or(0, |place| self.projects[place].len());
        let longest =
            longest(self.projects.iter().map(ProjectLine::len), own_len).filter(|_| full == Full::All);
        let Some(place) = longest.or(own_project) else { return false };
        let is_own = longest.is_none();
        let keys = &mut self.projects[place].keys;
        let own_key = keys.iter().position(|line| is_own && line.key == account.key);
        let own_len = own_key.map_or(0, |place| keys[place].len());
        let least = if is_own { own_len } else { 0 };
        let longest_key =
            longest_or_any(keys.iter().map(KeyLine::len), least, is_own).filter(|_| full != Full::Key);
        let Some(place) = longest_key.or(own_key) else { return false };
        let is_own = longest_key.is_none();
        let members = &mut keys[place].members;
        let own = members.iter().find(|line| is_own && line.member == account.member);
        let own_len = own.map_or(0, |line| line.waiters.len());
        let Some(place) = longest_or_any(members.iter().map(|line| line.waiters.len()), own_len, is_own)
        else {
            return false;
        };
        drop(members[place].waiters.pop_last());
        members.retain(|line| !line.waiters.is_empty());
        keys.retain(|line| !line.members.is_empty());
        self.projects.retain(|line| !line.keys.is_empty());
        self.len -= 1;
        true
    }

    /// Takes the waiter whose turn it is, of those whose key may have a permit. Its project, its key and its member go to the end of
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
        let mut member = key.members.pop_front()?;
        let (_, granted) = member.waiters.pop_first()?;
        self.len -= 1;
        let account =
            Account { project: project.project.clone(), key: key.key.clone(), member: member.member.clone() };
        if !member.waiters.is_empty() {
            key.members.push_back(member);
        }
        if !key.members.is_empty() {
            project.keys.push_back(key);
        }
        if !project.keys.is_empty() {
            self.projects.push_back(project);
        }
        Some((account, granted))
    }

    /// Removes a waiter. Returns false if it isn't there.
    pub(super) fn remove(&mut self, account: &Account, ticket: u64) -> bool {
        let Some(project) = self.projects.iter_mut().find(|line| line.project == account.project) else {
            return false;
        };
        let Some(key) = project.keys.iter_mut().find(|line| line.key == account.key) else { return false };
        let Some(member) = key.members.iter_mut().find(|line| line.member == account.member) else {
            return false;
        };
        if member.waiters.remove(&ticket).is_none() {
            return false;
        }
        key.members.retain(|line| !line.waiters.is_empty());
        project.keys.retain(|line| !line.members.is_empty());
        self.projects.retain(|line| !line.keys.is_empty());
        self.len -= 1;
        true
    }

    fn key_line(&self, account: &Account) -> Option<&KeyLine> {
        let project = self.projects.iter().find(|line| line.project == account.project)?;
        project.keys.iter().find(|line| line.key == account.key)
    }
}

impl ProjectLine {
    fn len(&self) -> usize {
        self.keys.iter().map(KeyLine::len).sum()
    }
}

impl KeyLine {
    fn len(&self) -> usize {
        self.members.iter().map(|line| line.waiters.len()).sum()
    }
}

/// Returns the place of the longest line, if it has more waiters than one of `own` would have with one more.
fn longest(lengths: impl Iterator<Item = usize>, own: usize) -> Option<usize> {
    let (place, most) = lengths.enumerate().max_by_key(|(_, length)| *length)?;
    (most > own + 1).then_some(place)
}

/// The same among lines of which one is the account's own; the longest one, if none of them is.
fn longest_or_any(lengths: impl Iterator<Item = usize> + Clone, own: usize, has_own: bool) -> Option<usize> {
    match has_own {
        true => longest(lengths, own),
        false => lengths.enumerate().max_by_key(|(_, length)| *length).map(|(place, _)| place),
    }
}
