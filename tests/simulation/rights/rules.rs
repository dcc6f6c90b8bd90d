//! A model of rules: what each means, said without the code that is shipped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub type Name = &'static str;

pub const USERS: [Name; 3] = ["ada", "bob", "cyd"];
pub const TEAMS: [Name; 3] = ["red", "green", "blue"];

/// Who subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// `None` for a guest.
    pub user: Option<Name>,
    /// The parameter `team`.
    pub team: Option<Name>,
}

/// The document of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    pub is_moderator: bool,
    pub team: Option<Name>,
}

/// Everything that rights depend on, as of one sequence.
#[derive(Clone, Debug)]
pub struct Past {
    pub rule: Rule,
    pub users: BTreeMap<Name, Profile>,
    /// Users and their teams.
    pub members: BTreeSet<(Name, Name)>,
    /// Users, and whom they have blocked.
    pub blocked: BTreeSet<(Name, Name)>,
}

/// A document of the collection with the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub owner: String,
    pub team: String,
    pub is_public: bool,
    /// Each image has its own.
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    Unruled,
    Everybody,
    Nobody,
    SignedIn,
    Owner,
    Team,
    OwnerOrTeam,
    Moderator,
    ModeratorOrPublic,
    TeamOfProfile,
    TeamOfModerator,
    NotBlocked,
    Invited,
    Colleagues,
}

impl Rule {
    /// Some of them more often.
    pub const ALL: [Self; 16] = [
        Self::Unruled,
        Self::Everybody,
        Self::Nobody,
        Self::SignedIn,
        Self::Owner,
        Self::Team,
        Self::OwnerOrTeam,
        Self::Moderator,
        Self::ModeratorOrPublic,
        Self::TeamOfProfile,
        Self::TeamOfModerator,
        Self::NotBlocked,
        Self::NotBlocked,
        Self::Colleagues,
        Self::Invited,
        Self::Colleagues,
    ];

    /// Returns the rule as it is set; `None` if there is none.
    pub fn source(self) -> Option<Value> {
        let owner = json!({ "owner": "$user.id" });
        let teams = json!({ "$from": "members", "select": "team", "where": { "user": "$user.id" } });
        let moderator = json!({ "$user.roles__array_contains": "moderator" });
        let read = match self {
            Self::Unruled => return None,
            Self::Everybody => json!(true),
            Self::Nobody => json!(false),
            Self::SignedIn => json!("@user"),
            Self::Owner => owner,
            Self::Team => json!({ "team__in": teams }),
            Self::OwnerOrTeam => json!({ "$or": [owner, { "team__in": teams }] }),
            Self::Moderator => moderator,
            Self::ModeratorOrPublic => json!({ "$or": [moderator, { "public": true }] }),
            Self::TeamOfProfile => json!({ "team": "$user.profile.team" }),
            Self::TeamOfModerator => json!({ "$and": [moderator, { "team__in": teams }] }),
            Self::NotBlocked => json!({
                "owner__notin": { "$from": "blocked", "select": "whom", "where": { "by": "$user.id" } }
            }),
            Self::Invited => json!({ "team": "$param.team" }),
            Self::Colleagues => json!({
                "owner__in": { "$from": "members", "select": "user", "where": { "team__in": teams } }
            }),
        };
        Some(json!({ "read": read }))
    }

    /// Returns what it is for one caller, where the documents that it asks may be of several moments.
    pub fn bind(self, who: Who, found: Found<'_>) -> Bound {
        let Found { user, members, later_members, blocked } = found;
        let is_moderator = user.is_some_and(|user| user.is_moderator);
        let owner = || who.user.map(|user| Term::Owner(BTreeSet::from([user])));
        let teams_of = |user: Name| -> BTreeSet<Name> {
            members.iter().filter(|(member, _)| *member == user).map(|(_, team)| *team).collect()
        };
        let teams = || who.user.map(teams_of).filter(|teams| !teams.is_empty());
        let team = || teams().map(Term::Team);
        let terms: Vec<Term> = match self {
            Self::Unruled | Self::Everybody => vec![Term::All],
            Self::Nobody => Vec::new(),
            Self::SignedIn => who.user.map(|_| Term::All).into_iter().collect(),
            Self::Owner => owner().into_iter().collect(),
            Self::Team => team().into_iter().collect(),
            Self::OwnerOrTeam => owner().into_iter().chain(team()).collect(),
            Self::Moderator => is_moderator.then_some(Term::All).into_iter().collect(),
            Self::ModeratorOrPublic if is_moderator => vec![Term::All],
            Self::ModeratorOrPublic => vec![Term::Public],
            Self::TeamOfProfile => {
                let team = user.and_then(|user| user.team);
                team.map(|team| Term::Team(BTreeSet::from([team]))).into_iter().collect()
            }
            Self::TeamOfModerator => team().filter(|_| is_moderator).into_iter().collect(),
            Self::NotBlocked => match who.user {
                None => Vec::new(),
                Some(user) => {
                    let whom: BTreeSet<_> =
                        blocked.iter().filter(|(by, _)| *by == user).map(|(_, whom)| *whom).collect();
                    vec![if whom.is_empty() { Term::All } else { Term::NotOwner(whom) }]
                }
            },
            Self::Invited => who.team.map(|team| Term::Team(BTreeSet::from([team]))).into_iter().collect(),
            Self::Colleagues => {
                let teams = teams().unwrap_or_default();
                let is_there = |(_, team): &&(Name, Name)| teams.contains(team);
                let owners: BTreeSet<_> =
                    later_members.iter().filter(is_there).map(|(user, _)| *user).collect();
                if owners.is_empty() { Vec::new() } else { vec![Term::Owner(owners)] }
            }
        };
        Bound(terms.into_iter().collect())
    }
}

/// The documents that a rule asks.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    pub user: Option<&'a Profile>,
    pub members: &'a BTreeSet<(Name, Name)>,
    /// The members as a set of a set reads them, which is after the inner one.
    pub later_members: &'a BTreeSet<(Name, Name)>,
    pub blocked: &'a BTreeSet<(Name, Name)>,
}

/// What somebody may read: the documents of which one of these holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound(BTreeSet<Term>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    All,
    Owner(BTreeSet<Name>),
    NotOwner(BTreeSet<Name>),
    Team(BTreeSet<Name>),
    Public,
}

impl Bound {
    /// Whether nothing may be read, whatever there is.
    pub fn is_void(&self) -> bool {
        self.0.is_empty()
    }

    pub fn admits(&self, post: &Post) -> bool {
        self.0.iter().any(|term| match term {
            Term::All => true,
            Term::Owner(owners) => owners.contains(&*post.owner),
            Term::NotOwner(owners) => !owners.contains(&*post.owner),
            Term::Team(teams) => teams.contains(&*post.team),
            Term::Public => post.is_public,
        })
    }
}

/// The filter of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    Public,
    Team(Name),
}

impl Wanted {
    pub fn filter(self) -> Value {
        match self {
            Self::All => json!({}),
            Self::Public => json!({ "public": true }),
            Self::Team(team) => json!({ "team": team }),
        }
    }

    pub fn admits(self, post: &Post) -> bool {
        match self {
            Self::All => true,
            Self::Public => post.is_public,
            Self::Team(team) => post.team == team,
        }
    }
}
