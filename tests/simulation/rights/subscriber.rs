//! A client with the rights of a guest or a user. It notes everything that it hears, and where the log ended then.

use std::{sync::Arc, time::Duration};

use coir_client::{Content, Cursor, Message};
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};

use coir::{
    api::realtime::{
        conversation::{Conversation, Dialect, End},
        pace::Pace,
        protocol::{News as ProtocolNews, Protocol},
    },
    auth::{KeyKind, Principal, Scopes, SignedIn},
    domain::{DocumentId, KeyId, SessionId, Timestamp},
    hub::CloseReason,
    live::NewSubscription,
    query::parse::{Typing, parse_value},
    wire::{CloseCode, Form},
};

use super::{
    rules::{TEAMS, Wanted, Who},
    world::{POSTS, World},
};
use crate::{
    link::{Heard, Link, Listener, Over, Peer, Unusable},
    log,
    run::Phase,
};

/// Something that a subscription asked or heard.
#[derive(Clone, Debug)]
pub enum Said {
    /// Its client asked for it, from a cursor with this sequence, when the server had heard of this control entry.
    Asked {
        since: Option<u64>,
        wanted: Wanted,
        heard: u64,
    },
    Message(Message),
    /// What was said before has been handled.
    Pong,
    /// The connection is gone.
    Cut,
}

/// One subscription.
pub struct Sub {
    /// `None` for one without an id, also on SSE.
    pub id: Option<String>,
    pub form: Form,
    pub wants_snapshot: bool,
    pub wanted: Wanted,
    pub said: Vec<(Said, u64)>,
    since: Option<Cursor>,
}

pub struct Subscriber {
    pub link: Link,
    pub who: Who,
    pub key: String,
    pub session: Option<String>,
    pub form: Form,
    pub room: Room,
}

/// What its connections have in common.
pub struct Room {
    pub world: World,
    pub subs: Vec<Sub>,
    pub pauses: u64,
    /// Whether it was connected when the simulation was over.
    pub is_connected: bool,
    dice: crate::dice::Dice,
    /// The most milliseconds from word to word.
    words: u64,
    commands: Option<mpsc::UnboundedSender<Command>>,
    principal: Arc<Principal>,
    is_paused: bool,
    next_word_at: Option<Instant>,
}

/// Something that happens to the token of a user.
enum Command {
    Expire,
    Renew(Arc<Principal>),
}

/// The documented protocol, and a client whose token expires and is renewed.
struct Renewing {
    protocol: Protocol,
    commands: mpsc::UnboundedReceiver<Command>,
}

enum News {
    Command(Command),
    Other(ProtocolNews),
}

fn principal(who: Who, key: &str, session: Option<&str>) -> Arc<Principal> {
    let user = who.user.zip(session).map(|(user, session)| SignedIn {
        id: DocumentId::from_stored(user),
        session: SessionId::from_stored(session),
        expires_at: Timestamp(i64::MAX),
        signed_in_at: Timestamp(0),
        round: 0,
    });
    let params = who.team.map(|team| ("team".to_owned(), json!(team)));
    Arc::new(Principal {
        project: log::project(),
        key: KeyId::from_stored(key),
        kind: KeyKind::Publishable,
        scopes: Scopes::all(),
        limits: Default::default(),
        collection: None,
        user,
        params: Arc::new(params.into_iter().collect()),
        seen: None,
    })
}

impl Sub {
    pub fn new(id: Option<String>, form: Form, wants_snapshot: bool, wanted: Wanted) -> Self {
        Self { id, form, wants_snapshot, wanted, said: Vec::new(), since: None }
    }

    fn note(&mut self, said: Said, world: &World) {
        self.said.push((said, world.log.last()));
    }

    fn ask(&mut self, world: &World) {
        let since = self.since.as_ref().map(|cursor| cursor.sequence().unwrap());
        self.note(Said::Asked { since, wanted: self.wanted, heard: world.heard() }, world);
    }

    fn take(&mut self, message: Message, world: &World) -> Result<(), Unusable> {
        match &message.content {
            Content::Resync { .. } | Content::Snapshot(_) => self.since = message.cursor.clone(),
            Content::Error { code, .. } if code == "OVERLOADED" => return Err(Unusable),
            Content::Error { .. } => self.since = None,
            _ if message.cursor.is_some() => self.since = message.cursor.clone(),
            _ => {}
        }
        self.note(Said::Message(message), world);
        Ok(())
    }
}

impl Subscriber {
    pub fn new(
        (link, world): (Link, World),
        (who, key, session): (Who, String, Option<String>),
        form: Form,
        subs: Vec<Sub>,
    ) -> Self {
        let room = Room {
            world,
            subs,
            pauses: 0,
            is_connected: false,
            words: link.dice.pick(&[500, 500, 30]),
            dice: link.dice.split(),
            commands: None,
            principal: principal(who, &key, session.as_deref()),
            is_paused: false,
            next_word_at: None,
        };
        Self { link, who, key, session, form, room }
    }

    /// Follows until the simulation is over.
    pub async fn follow(mut self) -> Self {
        loop {
            if *self.link.phase.borrow() == Phase::Over {
                return self;
            }
            match self.connect().await {
                Over::Done => {
                    self.room.is_connected = true;
                    return self;
                }
                Over::Cut => {
                    let Room { subs, world, .. } = &mut self.room;
                    subs.iter_mut().for_each(|sub| sub.note(Said::Cut, world));
                    let is_quiet = *self.link.phase.borrow() != Phase::Running;
                    let pause = if is_quiet { Duration::from_secs(5) } else { Duration::ZERO };
                    tokio::time::sleep(pause).await;
                    self.link.pause().await;
                }
            }
        }
    }

    async fn connect(&mut self) -> Over {
        let connection = self.link.open(self.form);
        let mut protocol = Protocol::new(connection.clone());
        let room = &mut self.room;
        // A server that has heard of the end lets nobody in with that key or that session.
        let ended_at = room.world.ended_at(&self.key, self.session.as_deref());
        let is_known = ended_at.is_some_and(|ended_at| ended_at <= room.world.heard());
        if is_known || protocol.set_principal(room.principal.clone()).is_err() {
            return Over::Cut;
        }
        if self.form == Form::Sse {
            let sub = &mut room.subs[0];
            let new = NewSubscription {
                collection: POSTS.to_owned(),
                filter: parse_value(sub.wanted.filter(), Typing::Typed).unwrap(),
                id: None,
                since: sub.since.as_ref().map(ToString::to_string),
                snapshot: sub.wants_snapshot,
                params: None,
            };
            sub.ask(&room.world);
            if let Err(error) = protocol.subscribe(new).await {
                let (code, message) = (error.code.as_str().to_owned(), error.message.to_string());
                let content = Content::Error { code, message };
                // Why it is over makes no difference.
                let _ = room.take(Heard::Message(Message { subscription: None, cursor: None, content }));
                return Over::Cut;
            }
        }
        let (sender, commands) = mpsc::unbounded_channel();
        (room.commands, room.is_paused) = (Some(sender), false);
        room.next_word_at = Some(Instant::now() + room.dice.delay(300));
        let peer = Peer::start(connection, Renewing { protocol, commands }, Pace::unlimited());
        if self.form != Form::Sse {
            let Room { subs, world, .. } = room;
            for sub in subs {
                peer.say(sub.subscribe());
                sub.ask(world);
            }
            peer.say(json!({ "type": "ping" }).to_string());
        }
        self.link.attend(peer, room).await
    }
}

impl Sub {
    fn subscribe(&self) -> String {
        let mut message =
            json!({ "type": "subscribe", "collection": POSTS, "filters": self.wanted.filter() });
        if let Some(id) = &self.id {
            message["id"] = json!(id);
            message["snapshot"] = json!(self.wants_snapshot);
            if let Some(cursor) = &self.since {
                message["since"] = json!(cursor.to_string());
            }
        }
        message.to_string()
    }
}

impl Listener for Room {
    fn take(&mut self, heard: Heard) -> Result<(), Unusable> {
        let message = match heard {
            Heard::Message(message) => message,
            Heard::Text(text) => Message::from_json(&text).unwrap(),
        };
        let Self { subs, world, principal, pauses, .. } = self;
        if message.content == Content::Pong {
            subs.iter_mut().for_each(|sub| sub.note(Said::Pong, world));
            return Ok(());
        }
        if let Content::Error { code, .. } = &message.content
            && code == "UNAUTHORIZED"
        {
            let Principal { key, user, .. } = &**principal;
            let session = user.as_ref().map(|user| user.session.to_string());
            let ended = world.ended_at(key.as_str(), session.as_deref());
            // During a pause, whatever is asked is refused.
            assert!(ended.is_some() || *pauses > 0, "the credentials are good: {message:?}");
            return Err(Unusable);
        }
        let sub = subs.iter_mut().find(|sub| sub.id == message.subscription);
        let sub = sub.unwrap_or_else(|| panic!("nobody asked for {message:?}"));
        sub.take(message, world)
    }

    fn next_word_at(&self) -> Option<Instant> {
        self.next_word_at
    }

    /// A subscription without an id takes the place of the one before, and a token expires or is renewed.
    fn words(&mut self, phase: Phase) -> Vec<String> {
        let is_running = phase == Phase::Running;
        self.next_word_at = is_running.then(|| Instant::now() + self.dice.delay(self.words));
        let commands = self.commands.as_ref().unwrap();
        if std::mem::take(&mut self.is_paused) {
            // If the connection is gone, nobody hears it.
            let _ = commands.send(Command::Renew(self.principal.clone()));
            return Vec::new();
        }
        let may_expire = self.principal.user.is_some() && self.subs.iter().all(|sub| sub.form != Form::Sse);
        if is_running && may_expire && self.dice.percent(15) {
            (self.is_paused, self.pauses) = (true, self.pauses + 1);
            let _ = commands.send(Command::Expire);
            self.next_word_at = Some(Instant::now() + Duration::from_millis(self.dice.under(600)));
            return Vec::new();
        }
        let plain = self.subs.iter_mut().find(|sub| sub.form == Form::WebSocket);
        let Some(plain) = plain.filter(|_| is_running && self.dice.percent(40)) else { return Vec::new() };
        plain.wanted = self.dice.pick(&[Wanted::All, Wanted::Public, Wanted::Team(TEAMS[0])]);
        plain.ask(&self.world);
        vec![plain.subscribe(), json!({ "type": "ping" }).to_string()]
    }
}

impl Conversation for Renewing {
    type News = News;

    async fn hear(&mut self, text: String) -> Result<(), End> {
        self.protocol.hear(text).await
    }

    async fn serve(&mut self) -> News {
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => News::Command(command),
            news = self.protocol.serve() => News::Other(news),
        }
    }

    async fn react(&mut self, news: News) -> Result<(), End> {
        match news {
            News::Other(news) => self.protocol.react(news).await,
            News::Command(Command::Expire) => self.protocol.react(ProtocolNews::Expired).await,
            News::Command(Command::Renew(principal)) => {
                let renewed = self.protocol.change_principal(principal).await;
                renewed.map_err(|_| End::new(CloseCode::TryAgain, "the client comes back"))
            }
        }
    }

    fn beat(&mut self) -> Option<String> {
        self.protocol.beat()
    }
}

impl Dialect for Renewing {
    fn is_known(&self) -> bool {
        true
    }

    fn late(&self) -> End {
        self.protocol.late()
    }

    fn hear_binary(&mut self) -> Result<(), End> {
        self.protocol.hear_binary()
    }

    fn closed(&self, reason: CloseReason) -> End {
        self.protocol.closed(reason)
    }
}

/// The sessions of users, of whom each key has one.
pub fn session_of(who: Who, key: &str) -> Option<String> {
    who.user.map(|user| format!("{user}-with-{key}"))
}
