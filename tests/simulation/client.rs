//! A client with one connection: it reads, slowly at times, is cut off, and returns with its cursors.

use std::{collections::BTreeMap, future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use coir_client::{Content, Message, sse::Parser};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use coir::{
    api::realtime::{Connection, Session, protocol::Protocol, session::Incoming},
    auth::{KeyKind, Principal, Scopes},
    domain::KeyId,
    hub::Outbox,
    live::NewSubscription,
    query::parse::{Typing, parse_value},
    wire::Form,
};

use crate::{
    decoder::{Decoder, Said},
    dice::Dice,
    log,
    replica::Replica,
    run::{Counter, Phase, Server},
};

/// One subscription of a client.
pub struct Watched {
    pub collection: &'static str,
    pub filter: Value,
    pub replica: Replica,
}

pub struct Client {
    pub dice: Dice,
    pub form: Form,
    /// The subscriptions by id. On SSE there is one, and its id is not used.
    pub watched: BTreeMap<String, Watched>,
    pub counter: Rc<Counter>,
    /// How often in a thousand reads it stops reading for a while.
    pub stalls: u64,
}

/// Why a connection is over.
enum Over {
    /// The client must return.
    Cut,
    /// The simulation is over.
    Done,
}

impl Client {
    /// Follows its subscriptions until the simulation is over, and returns the client with its views.
    pub async fn follow(
        mut self,
        server: watch::Receiver<Rc<Server>>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        loop {
            match self.connect(server.clone(), phase.clone()).await {
                Over::Done => return self,
                Over::Cut => tokio::time::sleep(self.dice.delay(800)).await,
            }
        }
    }

    async fn connect(
        &mut self,
        mut server: watch::Receiver<Rc<Server>>,
        mut phase: watch::Receiver<Phase>,
    ) -> Over {
        let current = server.borrow_and_update().clone();
        let permit = current.realtime.admission.connections.acquire().unwrap();
        let connection = Connection::open(current.realtime.clone(), current.shard.clone(), self.form, permit);
        let outbox = connection.outbox.clone();
        let mut protocol = Protocol::new(connection.clone());
        protocol.set_principal(principal()).unwrap();
        self.watched.values_mut().for_each(|watched| watched.replica.connect());
        let (sender, receiver) = mpsc::unbounded_channel();
        if self.form == Form::Sse {
            let watched = self.watched.values().next().unwrap();
            let new = NewSubscription {
                collection: watched.collection.to_owned(),
                filter: parse_value(watched.filter.clone(), Typing::Typed).unwrap(),
                id: None,
                since: watched.replica.cursor().map(ToString::to_string),
                snapshot: true,
            };
            if protocol.subscribe(new).await.is_err() {
                return Over::Cut;
            }
        } else {
            for (id, watched) in &self.watched {
                let mut message = json!({
                    "type": "subscribe", "id": id, "collection": watched.collection, "filters": watched.filter,
                    "snapshot": true,
                });
                if let Some(cursor) = watched.replica.cursor() {
                    message["since"] = json!(cursor);
                }
                sender.send(Incoming::Text(message.to_string())).unwrap();
            }
        }
        let incoming = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            Some((message, receiver))
        });
        let task = tokio::task::spawn_local(Session::new(connection, protocol).run(incoming));
        let lifetime = if self.dice.percent(70) { self.dice.delay(2500) } else { Duration::from_secs(60) };
        let mut cut = std::pin::pin!(tokio::time::sleep(lifetime));
        let mut decoder = match self.form {
            Form::Sse => Decoder::EventStream(Parser::new()),
            _ => Decoder::WebSocket(Vec::new()),
        };
        let over = loop {
            let is_running = *phase.borrow_and_update() == Phase::Running;
            tokio::select! {
                biased;
                _ = server.changed() => {
                    // The process ended, and everything in it is gone.
                    task.abort();
                    break Over::Cut;
                }
                _ = phase.changed() => {
                    if *phase.borrow() == Phase::Over {
                        break Over::Done;
                    }
                }
                () = &mut cut, if is_running => {
                    self.counter.cuts.set(self.counter.cuts.get() + 1);
                    break Over::Cut;
                }
                more = next_bytes(&outbox) => match more {
                    None => break Over::Cut,
                    Some(more) => decoder.push(&more),
                },
            }
            if self.take(&mut decoder, &sender).is_err() {
                break Over::Cut;
            }
            if is_running && self.dice.under(1000) < self.stalls {
                self.counter.stalls.set(self.counter.stalls.get() + 1);
                tokio::time::sleep(self.dice.delay(3000)).await;
            }
        };
        outbox.set_gone();
        over
    }

    fn take(&mut self, decoder: &mut Decoder, sender: &mpsc::UnboundedSender<Incoming>) -> Result<(), ()> {
        while let Some(said) = decoder.next() {
            match said {
                Said::Close => return Err(()),
                Said::Ping => {
                    let _ = sender.send(Incoming::SignOfLife);
                }
                // The database failed, and so did the attempt to begin.
                Said::Message(Message { content: Content::Error { code, message }, .. }) => {
                    assert_eq!(code, "OVERLOADED", "{message}");
                    return Err(());
                }
                Said::Message(message) => {
                    let watched = match &message.subscription {
                        Some(id) => self.watched.get_mut(id).unwrap(),
                        None => self.watched.values_mut().next().unwrap(),
                    };
                    watched.replica.take(message);
                }
            }
        }
        Ok(())
    }
}

async fn next_bytes(outbox: &Outbox) -> Option<bytes::Bytes> {
    poll_fn(|context| outbox.poll_frame(context)).await
}

fn principal() -> Arc<Principal> {
    Arc::new(Principal {
        project: log::project(),
        key: KeyId::from_stored("key"),
        kind: KeyKind::Secret,
        scopes: Scopes::all(),
        collection: None,
    })
}
