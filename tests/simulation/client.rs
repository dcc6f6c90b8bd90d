//! A client of the documented protocol: it keeps a view of each subscription, and comes back with its cursors.

use std::collections::BTreeMap;

use coir_client::{Content, Message};
use serde_json::{Value, json};

use coir::{
    api::realtime::{pace::Pace, protocol::Protocol},
    live::NewSubscription,
    query::parse::{Typing, parse_value},
    wire::Form,
};

use crate::{
    link::{Heard, Link, Listener, Over, Peer, Unusable, principal},
    replica::Replica,
};

/// One subscription of a client.
pub struct Watched {
    pub collection: &'static str,
    pub filter: Value,
    pub replica: Replica,
}

pub struct Client {
    pub link: Link,
    pub form: Form,
    /// By their ids. On SSE there is only one, and its id is not used.
    pub watched: BTreeMap<String, Watched>,
}

impl Client {
    /// Follows until the simulation is over, and returns what it has then.
    pub async fn follow(mut self) -> Self {
        loop {
            match self.connect().await {
                Over::Done => return self,
                Over::Cut => self.link.pause().await,
            }
        }
    }

    async fn connect(&mut self) -> Over {
        let connection = self.link.open(self.form);
        let mut protocol = Protocol::new(connection.clone());
        protocol.set_principal(principal()).unwrap();
        self.watched.values_mut().for_each(|watched| watched.replica.connect());
        if self.form == Form::Sse {
            let watched = self.watched.values().next().unwrap();
            let new = NewSubscription {
                collection: watched.collection.to_owned(),
                filter: parse_value(watched.filter.clone(), Typing::Typed).unwrap(),
                id: None,
                since: watched.replica.cursor().map(ToString::to_string),
                snapshot: true,
                params: None,
            };
            if protocol.subscribe(new).await.is_err() {
                return Over::Cut;
            }
        }
        let peer = Peer::start(connection, protocol, Pace::unlimited());
        if self.form != Form::Sse {
            self.watched.iter().for_each(|(id, watched)| peer.say(subscribe(id, watched)));
        }
        let mut views = Views(&mut self.watched);
        self.link.attend(peer, &mut views).await
    }
}

fn subscribe(id: &str, watched: &Watched) -> String {
    let mut message = json!({
        "type": "subscribe", "id": id, "collection": watched.collection, "filters": watched.filter,
        "snapshot": true,
    });
    if let Some(cursor) = watched.replica.cursor() {
        message["since"] = json!(cursor);
    }
    message.to_string()
}

struct Views<'a>(&'a mut BTreeMap<String, Watched>);

impl Listener for Views<'_> {
    fn take(&mut self, heard: Heard) -> Result<(), Unusable> {
        let message = match heard {
            Heard::Message(message) => message,
            Heard::Text(text) => Message::from_json(&text).unwrap(),
        };
        // The database failed, and so did the attempt to begin.
        if let Content::Error { code, message } = &message.content {
            assert_eq!(code, "OVERLOADED", "{message}");
            return Err(Unusable);
        }
        let watched = match &message.subscription {
            Some(id) => self.0.get_mut(id).unwrap(),
            None => self.0.values_mut().next().unwrap(),
        };
        watched.replica.take(message);
        Ok(())
    }
}
