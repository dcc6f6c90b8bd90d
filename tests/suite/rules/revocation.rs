//! Rights that are taken away by another process or another node, in the middle of a stream of writes.
//!
//! Guests and users listen in every way on every node. Then one act changes the rights of some of them. The log says at which sequence:
//! nobody may hear of anything after it that they may not read, and whoever may go on misses nothing.

mod judgement;
mod listener;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::{
    judgement::Judgement,
    listener::{Course, Fate, Listener, Mode},
};
use super::set_rules;
use crate::{
    harness::{
        Database, Dice, PUBLISHABLE_KEY, TestApp,
        dice::{seed, setting},
        on_each_database,
        socket::PATIENCE,
    },
    operations::{
        keys::coir,
        project_keys::{after, make, path, text},
    },
    users::{Signed, ask, post},
};

/// How long streams may go on after the clock of a key or the machine has ended it.
const BY_THE_CLOCK: i64 = 1000;
/// When everybody must have heard of an act: within a second, and some more on a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    RevokeByCommand,
    RevokeOverRest,
    Rescope,
    Expire,
    Rotate,
    LeaveTeam,
    TakeRole,
    HidePublic,
    HideTeam,
    Disable,
    DeleteUser,
    EndSession,
    LogOut,
    CloseByCommand,
    CloseOverRest,
}

impl Act {
    const ALL: [Self; 15] = [
        Self::RevokeByCommand,
        Self::RevokeOverRest,
        Self::Rescope,
        Self::Expire,
        Self::Rotate,
        Self::LeaveTeam,
        Self::TakeRole,
        Self::HidePublic,
        Self::HideTeam,
        Self::Disable,
        Self::DeleteUser,
        Self::EndSession,
        Self::LogOut,
        Self::CloseByCommand,
        Self::CloseOverRest,
    ];

    fn closes(self) -> bool {
        matches!(self, Self::CloseByCommand | Self::CloseOverRest)
    }

    fn is_by_the_clock(self) -> bool {
        matches!(self, Self::Expire | Self::Rotate)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Person {
    /// With the key that is kept.
    Guest,
    /// With the key that may end.
    GuestOfKey,
    /// A member of the team.
    Ada,
    AdaWithKey,
    /// A moderator.
    Bob,
}

const PEOPLE: [Person; 5] = [Person::Guest, Person::GuestOfKey, Person::Ada, Person::AdaWithKey, Person::Bob];
const SHOWS: [&str; 3] = ["public", "team", "mod"];

/// Returns whether somebody may read what is shown to these.
fn sees(person: Person, show: &str, act: Option<Act>) -> bool {
    use Act::{HidePublic, HideTeam, LeaveTeam, TakeRole};
    let is_ada = matches!(person, Person::Ada | Person::AdaWithKey);
    match act {
        Some(act) if act.closes() => return false,
        _ => {}
    }
    match show {
        "public" => act != Some(HidePublic),
        "team" => is_ada && !matches!(act, Some(LeaveTeam | HideTeam)),
        _ => person == Person::Bob && act != Some(TakeRole),
    }
}

fn fate_of(person: Person, act: Act) -> Fate {
    use Act::{
        DeleteUser, Disable, EndSession, Expire, LogOut, Rescope, RevokeByCommand, RevokeOverRest, Rotate,
    };
    let has_key = matches!(person, Person::GuestOfKey | Person::AdaWithKey);
    let is_ada = matches!(person, Person::Ada | Person::AdaWithKey);
    match act {
        RevokeByCommand | RevokeOverRest | Rescope | Expire | Rotate if has_key => Fate::Ends,
        Disable | DeleteUser | EndSession | LogOut if is_ada => Fate::Ends,
        _ if !SHOWS.iter().any(|show| sees(person, show, Some(act))) => Fate::Loses,
        _ if SHOWS.iter().any(|show| sees(person, show, None) != sees(person, show, Some(act))) => {
            Fate::Changes
        }
        Act::HidePublic | Act::HideTeam => Fate::MayChange,
        _ => Fate::Stays,
    }
}

/// One run: a collection of its own, with readers of its own.
struct Run<'a> {
    app: &'a TestApp,
    nodes: &'a [&'a TestApp],
    posts: String,
    members: String,
    act: Act,
    key: Value,
    ada: Signed,
    bob: Signed,
    dice: Dice,
}

fn rules(members: &str, hidden: Option<&str>) -> Value {
    let team = json!({ "$from": members, "select": "team", "where": { "user": "$user.id" } });
    let mut shown = vec![
        json!({ "show": "public" }),
        json!({ "show": "team", "team__in": team }),
        json!({ "show": "mod", "$user.roles__array_contains": "mod" }),
    ];
    shown.retain(|one| hidden.is_none_or(|hidden| one["show"] != hidden));
    json!({ "read": { "$or": shown } })
}

impl<'a> Run<'a> {
    async fn begin(
        (app, nodes): (&'a TestApp, &'a [&'a TestApp]),
        (n, act): (usize, Act),
        dice: Dice,
    ) -> Self {
        let (posts, members) = (format!("posts{n}"), format!("members{n}"));
        for name in [&posts, &members] {
            assert_eq!(app.post("/collections", json!({ "name": name })).await.status, 201);
        }
        if !act.closes() {
            set_rules(app, &posts, rules(&members, None)).await;
        }
        let key = make(app, json!({ "kind": "publishable" })).await;
        let user = async || Signed::read(&post(app, "/users/anonymous", json!({})).await);
        let (ada, bob) = (user().await, user().await);
        let roles = app.patch(&format!("/users/{}", bob.id), json!({ "roles": ["mod"] })).await;
        assert_eq!(roles.status, 200, "{roles:?}");
        let membership =
            app.put(&format!("/collections/{members}/m"), json!({ "user": ada.id, "team": "red" })).await;
        assert_eq!(membership.status, 201);
        Self { app, nodes, posts, members, act, key, ada, bob, dice }
    }

    fn credentials(&self, person: Person) -> (&str, Option<&str>) {
        match person {
            Person::Guest => (PUBLISHABLE_KEY, None),
            Person::GuestOfKey => (text(&self.key), None),
            Person::Ada => (PUBLISHABLE_KEY, Some(&self.ada.access)),
            Person::AdaWithKey => (text(&self.key), Some(&self.ada.access)),
            Person::Bob => (PUBLISHABLE_KEY, Some(&self.bob.access)),
        }
    }

    /// Performs the act. Returns the time by which a clock has done it.
    async fn perform(&self) -> i64 {
        use coir::domain::Timestamp;
        let node = self.nodes[self.nodes.len() - 1];
        let user = format!("/users/{}", self.ada.id);
        let mut at = Timestamp::now().0;
        let as_ada = async |method, path: &str| ask(node, &self.ada.access, method, path, Value::Null).await;
        let answer = match self.act {
            Act::RevokeByCommand => {
                coir(node, &["keys", "revoke", text(&self.key)]).await;
                return at;
            }
            Act::CloseByCommand => {
                coir(node, &["projects", "close", "default"]).await;
                return at;
            }
            Act::RevokeOverRest => node.delete(&path(&self.key)).await,
            Act::Rescope => {
                node.patch(&path(&self.key), json!({ "scopes": ["documents:read", "realtime"] })).await
            }
            Act::Expire => {
                at += 300;
                node.patch(&path(&self.key), json!({ "expiresAt": after(300) })).await
            }
            Act::Rotate => {
                let answer =
                    node.post(&format!("{}/rotate", path(&self.key)), json!({ "graceSeconds": 0 })).await;
                at = Timestamp::now().0;
                answer
            }
            Act::LeaveTeam => node.delete(&format!("/collections/{}/m", self.members)).await,
            Act::TakeRole => node.patch(&format!("/users/{}", self.bob.id), json!({ "roles": [] })).await,
            Act::HidePublic | Act::HideTeam => {
                let hidden = if self.act == Act::HidePublic { "public" } else { "team" };
                let rules = rules(&self.members, Some(hidden));
                node.patch(&format!("/collections/{}/settings", self.posts), json!({ "rules": rules })).await
            }
            Act::Disable => node.patch(&user, json!({ "disabled": true })).await,
            Act::DeleteUser => node.delete(&user).await,
            Act::EndSession => {
                let sessions = as_ada(Method::GET, "/users/me/sessions").await;
                let id = sessions.data()[0]["id"].as_str().unwrap().to_owned();
                as_ada(Method::DELETE, &format!("/users/me/sessions/{id}")).await
            }
            Act::LogOut => node.post(&format!("{user}/logout"), json!({})).await,
            Act::CloseOverRest => node.patch("/settings", json!({ "open": false })).await,
        };
        assert!(answer.status.is_success(), "{:?}: {answer:?}", self.act);
        at
    }

    async fn write(&self, id: &str, show: &str, node: usize) {
        let data = json!({ "show": show, "team": "red" });
        let path = format!("/collections/{}/{id}", self.posts);
        let answer = self.nodes[node % self.nodes.len()].put(&path, data).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Writes, and has the act performed meanwhile. Returns the time of the act by a clock, and when it was answered.
    async fn write_around_the_act(
        &mut self,
        written: watch::Sender<bool>,
        doomed: &AtomicUsize,
    ) -> (i64, Instant) {
        let (begin, rest) = (1 + self.dice.under(12), 5 + self.dice.under(12));
        let mut dice = self.dice.split();
        let (count, mut counted) = watch::channel(0);
        let is_done = AtomicBool::new(false);
        let run = &*self;
        let act = async {
            counted.wait_for(|count| *count >= begin).await.unwrap();
            let at = run.perform().await;
            is_done.store(true, Ordering::SeqCst);
            (at, Instant::now())
        };
        let write = async {
            let mut left = rest;
            let mut n = 0;
            let begun = Instant::now();
            while left > 0 || run.act.is_by_the_clock() && doomed.load(Ordering::SeqCst) > 0 {
                n += 1;
                run.write(&format!("w{n}"), SHOWS[dice.under(3)], dice.under(2)).await;
                count.send_replace(n);
                left -= usize::from(left > 0 && is_done.load(Ordering::SeqCst));
                assert!(
                    begun.elapsed() < PATIENCE,
                    "it takes too long; {} streams are left",
                    doomed.load(Ordering::SeqCst)
                );
            }
            for show in SHOWS {
                run.write(&format!("last-{show}"), show, 0).await;
            }
            written.send_replace(true);
        };
        tokio::join!(act, write).0
    }

    /// Returns how late the last of those whom the act concerns heard of it.
    async fn judge(mut self) -> Duration {
        let mut sql = self.app.sql().await;
        let begin = sql.integers("SELECT MAX(sequence) FROM changes").await[0];
        let (written, is_written) = watch::channel(false);
        let (mut tasks, doomed) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
        for person in PEOPLE {
            for _ in 0..2 {
                let (mode, node) = (Mode::ALL[self.dice.under(5)], self.dice.under(self.nodes.len()));
                let listener =
                    Listener::open(self.nodes[node], self.credentials(person), &self.posts, mode).await;
                let fate = fate_of(person, self.act);
                doomed.fetch_add(usize::from(fate == Fate::Ends), Ordering::SeqCst);
                let is_told = !matches!(fate, Fate::Ends | Fate::Loses);
                let seen = SHOWS.iter().rfind(|show| sees(person, show, Some(self.act)));
                let target = seen.filter(|_| is_told).map(|show| format!("last-{show}"));
                let (written, doomed, dice) = (is_written.clone(), doomed.clone(), self.dice.split());
                let course = Course { fate, target, written, doomed, dice };
                tasks.push(
                    async move { (person, fate, tokio::spawn(listener.follow(course)).await.unwrap()) },
                );
            }
        }
        let (listeners, (at, answered)) =
            tokio::join!(join_all(tasks), self.write_around_the_act(written, &doomed));
        let id = format!("(SELECT id FROM collections WHERE name = '{}')", self.posts);
        let of_posts = format!("FROM changes WHERE collection_id = {id} ORDER BY sequence");
        let sequences = sql.integers(&format!("SELECT sequence {of_posts}")).await;
        let ids = sql.texts(&format!("SELECT document_id {of_posts}")).await;
        let act = if self.act.is_by_the_clock() {
            let late = at + BY_THE_CLOCK;
            format!("SELECT COALESCE(MIN(sequence), 1000000000) FROM changes WHERE at > {late}")
        } else {
            format!(
                "SELECT MIN(sequence) FROM changes WHERE sequence > {begin} AND (collection_id IS NULL OR collection_id <> {id})"
            )
        };
        let act = sql.integers(&act).await[0];
        let shows = sql
            .texts(&match self.app.config.database_url.starts_with("sqlite") {
                true => format!("SELECT json_extract(data, '$.show') FROM documents JOIN changes ON changes.collection_id = documents.collection_id AND document_id = id WHERE documents.collection_id = {id} ORDER BY sequence"),
                false => format!("SELECT data->>'show' FROM documents JOIN changes ON changes.collection_id = documents.collection_id AND document_id = id WHERE documents.collection_id = {id} ORDER BY sequence"),
            })
            .await;
        let posts: BTreeMap<String, (i64, String)> =
            ids.into_iter().zip(sequences.into_iter().zip(shows)).collect();
        let mut late = Duration::ZERO;
        for (person, fate, listener) in &listeners {
            let found = Judgement { act: self.act, at: act, person: *person, fate: *fate, posts: &posts };
            if let Some(told) = found.check(listener) {
                late = late.max(told.saturating_duration_since(answered));
            }
        }
        if self.act.closes() {
            assert_eq!(self.app.patch("/settings", json!({ "open": true })).await.status, 200);
        }
        late
    }
}

on_each_database! {
    async fn what_is_taken_away_by_others_is_gone_from_open_streams_at_its_sequence(database) {
        let app = TestApp::start_with(database, |config| config.rate_limits = false).await;
        let other = if database == Database::Postgres { Some(app.start_second_node().await) } else { None };
        let nodes: Vec<_> = std::iter::once(&app).chain(&other).collect();
        let mut dice = Dice::new(seed("revocation"));
        let (runs, first) = (setting("COIR_TEST_REVOCATIONS", 8), dice.under(Act::ALL.len()));
        let (begun, mut late) = (Instant::now(), BTreeMap::new());
        for n in 0..runs {
            let act = Act::ALL[(first + n) % Act::ALL.len()];
            let run = Run::begin((&app, &nodes), (n, act), dice.split()).await;
            let found = run.judge().await;
            assert!(found < SOON, "{act:?}: somebody heard of it after {found:?}");
            let most: &mut Duration = late.entry(format!("{act:?}")).or_default();
            *most = found.max(*most);
        }
        eprintln!("{runs} revocations in {:?}; the latest words of each: {late:?}", begun.elapsed());
        if let Some(other) = other {
            other.stop_without_looking().await;
        }
        app.stop().await;
    }
}
