//! Rights on open streams: rules, roles, memberships, keys and sessions change while posts are written, and subscribers with and
//! without rights listen.
//!
//! The parts are those of the other simulation: hub, relay, shard, sessions and the reading of the log, and here also the binding
//! of rules, as they are shipped. [`judge`] says for each subscriber what it may have heard, by a model of rules that shares
//! nothing with the shipped one ([`rules`]). Masks of fields will have their place in [`rules::Post`].
//!
//! Reading order: this file, [`rules`], [`world`], [`subscriber`], [`judge`] with [`plain`].

mod judge;
mod plain;
mod rules;
mod subscriber;
mod world;

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{LocalSet, spawn_local},
};

use coir::{
    domain::Change,
    hub::{Bounds, relay::Commit},
    wire::Form,
};

use self::{
    judge::Judge,
    rules::{Name, Profile, Rule, TEAMS, USERS, Wanted, Who},
    subscriber::{Sub, Subscriber, session_of},
    world::World,
};
use crate::{
    counts::{Counter, RightsCounts as Counts},
    dice::Dice,
    link::Link,
    run::{Phase, finished},
    server::Server,
};

const KEYS: [&str; 3] = ["key-a", "key-b", "key-c"];

/// Runs a seed; panics if somebody has heard what they may not, or has not heard what they may.
pub fn run(seed: u64) -> Counts {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, Run::new(seed).simulate())
}

struct Run {
    dice: Dice,
    world: World,
    counts: Counts,
    /// The rules that are set in this run. A few are set again and again.
    rules: Vec<Rule>,
    prunes: u64,
    /// Of a thousand changes, so many set rules.
    sets: u64,
    /// Of a hundred commits, so many are other nodes'.
    unheard: u64,
    /// Whether anybody may be blocked yet.
    has_blocked: bool,
    /// Whether the next commit is another node's.
    is_unheard: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x5269_6768_7473);
        let rules: Vec<_> = (0..1 + dice.under(4)).map(|_| dice.pick(&Rule::ALL)).collect();
        Self {
            world: World::new(dice.next(), rules[0]),
            counts: Counts::default(),
            rules,
            prunes: dice.pick(&[0, 0, 0, 4, 15]),
            sets: dice.pick(&[0, 0, 40, 100]),
            unheard: dice.pick(&[4, 8, 40]),
            has_blocked: dice.percent(50),
            is_unheard: false,
            dice,
        }
    }

    async fn simulate(mut self) -> Counts {
        for user in USERS {
            self.change_user(user);
            self.change_member(user);
        }
        (0..self.dice.under(5)).for_each(|_| drop(self.write_post()));
        let world = Arc::new(self.world.clone());
        let bounds = self.dice.pick(&[Bounds::default(), Bounds::default(), crate::run::TIGHT]);
        let server = Server::start_over((world.clone(), world.clone()), world, 0, bounds).await;
        let (_servers, servers) = watch::channel(server.clone());
        let (phases, phase) = watch::channel(Phase::Running);
        let counter = Rc::new(Counter::default());
        let link = |dice: &Dice| Link {
            stalls: dice.pick(&[0, 0, 20, 100]),
            dice: dice.clone(),
            counter: counter.clone(),
            server: servers.clone(),
            phase: phase.clone(),
        };
        let subscribers: Vec<_> =
            (0..2 + self.dice.under(6)).map(|_| spawn_local(self.subscriber(link).follow())).collect();
        let steps = 40 + self.dice.under(60);
        for step in 0..steps {
            self.has_blocked |= step > steps / 2;
            let pause = if self.dice.percent(10) { 300 } else { 15 };
            let pause = self.dice.delay(pause);
            self.world.log.tick(pause.as_millis() as i64);
            tokio::time::sleep(pause).await;
            self.step(&server);
        }
        self.world.log.calm();
        let _ = phases.send(Phase::Quiet);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let _ = phases.send(Phase::Over);
        let record = self.world.record();
        for subscriber in subscribers {
            let subscriber = finished(subscriber).await;
            let ended_at = self.world.ended_at(&subscriber.key, subscriber.session.as_deref());
            let is_connected = subscriber.room.is_connected;
            assert!(
                !(is_connected && ended_at.is_some()),
                "{:?} with {} is still connected, but was ended at {ended_at:?}: {:?}",
                subscriber.who,
                subscriber.key,
                subscriber.room.subs.iter().map(|sub| &sub.said).collect::<Vec<_>>()
            );
            let judge = Judge { record: &record, who: subscriber.who, ended_at, is_connected };
            for sub in &subscriber.room.subs {
                let findings = judge.judge(sub);
                self.counts.events += findings.events;
                self.counts.resyncs += findings.resyncs;
                self.counts.forbidden += findings.forbidden;
                self.counts.snapshots += findings.snapshots;
            }
            self.counts.pauses += subscriber.room.pauses;
        }
        self.counts.cuts = counter.cuts.get();
        self.counts.stalls = counter.stalls.get();
        self.counts
    }

    /// A commit of one change or several.
    fn step(&mut self, server: &Rc<Server>) {
        if self.dice.percent(self.prunes) {
            let last = self.world.log.last();
            self.counts.prunes += u64::from(self.world.prune(last.saturating_sub(self.dice.under(12))));
            return;
        }
        let (after, mut changes) = (self.world.log.end(), Vec::new());
        for _ in 0..1 + self.dice.under(3) {
            changes.extend(self.change());
        }
        if changes.is_empty() {
            return;
        }
        self.counts.changes += changes.len() as u64;
        if std::mem::take(&mut self.is_unheard) {
            return;
        }
        let delay = match self.dice.under(100) {
            n if n < self.unheard => return self.counts.unheard += 1,
            92..100 => self.dice.delay(700),
            _ => return server.relay.publish(Commit { after, changes }),
        };
        self.counts.late += 1;
        let relay = server.relay.clone();
        spawn_local(async move {
            tokio::time::sleep(delay).await;
            relay.publish(Commit { after, changes });
        });
    }

    fn change(&mut self) -> Vec<Arc<Change>> {
        let user = self.dice.pick(&USERS);
        if self.dice.under(1000) < self.sets {
            self.counts.rules += 1;
            let rule = self.dice.pick(&self.rules);
            return self.world.set_rule(rule);
        }
        match self.dice.under(1000) {
            0..700 => self.write_post(),
            700..840 => {
                let changes = self.change_member(user);
                // Another node of a newer version has written it.
                if self.dice.percent(5) && !changes.is_empty() {
                    self.is_unheard = true;
                    return vec![self.world.log.garble_last()];
                }
                changes
            }
            840..930 => self.change_user(user),
            930..984 if self.has_blocked => {
                let (whom, is_blocked) = (self.dice.pick(&USERS), self.dice.percent(60));
                self.world.write_blocked(user, whom, is_blocked)
            }
            984..992 => {
                self.counts.revocations += 1;
                self.world.revoke_key(self.dice.pick(&KEYS))
            }
            992..1000 => {
                self.counts.revocations += 1;
                let key = self.dice.pick(&KEYS);
                self.world.end_session(&format!("{user}-with-{key}"))
            }
            _ => self.write_post(),
        }
    }

    fn write_post(&mut self) -> Vec<Arc<Change>> {
        let id = format!("d{:02}", self.dice.under(8));
        let data = (self.dice.pick(&USERS), self.dice.pick(&TEAMS), self.dice.percent(40));
        let is_deleted = self.dice.percent(20);
        self.world.write_post(&id, (!is_deleted).then_some(data))
    }

    fn change_member(&mut self, user: Name) -> Vec<Arc<Change>> {
        let (team, is_member) = (self.dice.pick(&TEAMS), self.dice.percent(60));
        self.world.write_member(user, team, is_member)
    }

    fn change_user(&mut self, user: Name) -> Vec<Arc<Change>> {
        let is_deleted = self.dice.percent(5);
        let team = if self.dice.percent(80) { Some(self.dice.pick(&TEAMS)) } else { None };
        let profile = Profile { is_moderator: self.dice.percent(50), team };
        self.world.write_user(user, (!is_deleted).then_some(profile))
    }

    fn subscriber(&self, link: impl Fn(&Dice) -> Link) -> Subscriber {
        let dice = self.dice.split();
        let user = if dice.percent(12) { None } else { Some(dice.pick(&USERS)) };
        let team = if dice.percent(70) { Some(dice.pick(&TEAMS)) } else { None };
        let (who, key) = (Who { user, team }, dice.pick(&KEYS));
        let form = if dice.percent(35) { Form::Sse } else { Form::WebSocket };
        let wanted = || dice.pick(&[Wanted::All, Wanted::All, Wanted::Public, Wanted::Team(TEAMS[1])]);
        let mut subs = Vec::new();
        if form == Form::Sse {
            subs.push(Sub::new(None, form, dice.percent(50), wanted()));
        } else {
            let named = |n| Sub::new(Some(format!("s{n}")), Form::Named, dice.percent(60), wanted());
            subs.extend((0..dice.under(3)).map(named));
            if subs.is_empty() || dice.percent(50) {
                subs.push(Sub::new(None, form, false, wanted()));
            }
        }
        let session = session_of(who, key);
        Subscriber::new((link(&dice), self.world.clone()), (who, key.to_owned(), session), form, subs)
    }
}
