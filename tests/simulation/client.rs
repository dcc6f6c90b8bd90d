//! A client of one connection: it reads, slowly at times, is cut off, and comes back with its cursors.

use std::{collections::BTreeMap, future::poll_fn, rc::Rc, sync::Arc, time::Duration};

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
    /// By the id that they have; on SSE, the only one's counts for nothing.
    pub watched: BTreeMap<String, Watched>,
    pub counter: Rc<Counter>,
    /// How slowly it reads: how often in a thousand it stops for a while.
    pub stalls: u64,
}

/// Why a connection is over.
enum Over {
    /// Come back.
    Cut,
    /// The simulation is over.
    Done,
}

/// What comes out of a connection's body, taken apart.
enum Said {
    Message(Value),
    Ping,
    Close,
}

impl Client {
    /// Follows until the simulation is over, and returns what it has then.
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
                since: watched.replica.cursor.clone(),
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
                if let Some(cursor) = &watched.replica.cursor {
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
        let mut bytes = Vec::new();
        let over = loop {
            let is_running = *phase.borrow_and_update() == Phase::Running;
            tokio::select! {
                biased;
                _ = server.changed() => {
                    // The process is gone, and everything in it.
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
                    Some(more) => bytes.extend_from_slice(&more),
                },
            }
            if self.take(&mut bytes, &sender).is_err() {
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

    fn take(&mut self, bytes: &mut Vec<u8>, sender: &mpsc::UnboundedSender<Incoming>) -> Result<(), ()> {
        while let Some(said) = if self.form == Form::Sse { take_block(bytes) } else { take_frame(bytes) } {
            match said {
                Said::Close => return Err(()),
                Said::Ping => {
                    let _ = sender.send(Incoming::SignOfLife);
                }
                // The database failed, and with it the attempt to begin.
                Said::Message(message) if message["type"] == "error" => {
                    assert_eq!(message["code"], "OVERLOADED", "{message}");
                    return Err(());
                }
                Said::Message(message) => {
                    let watched = match message["id"].as_str() {
                        Some(id) => self.watched.get_mut(id).unwrap(),
                        None => self.watched.values_mut().next().unwrap(),
                    };
                    watched.replica.take(&message);
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

/// Takes a block of an event stream, as the message that it stands for.
fn take_block(bytes: &mut Vec<u8>) -> Option<Said> {
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let block = String::from_utf8(bytes.drain(..end + 2).collect()).unwrap();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let id = field("id: ").filter(|id| !id.is_empty());
        let message = match (field("data: "), id) {
            (Some(data), id) => {
                let mut message: Value = serde_json::from_str(data).unwrap();
                if let (Some(id), true) = (id, message["type"] == "event") {
                    message["cursor"] = json!(id);
                }
                message
            }
            (None, Some(id)) => json!({ "type": "progress", "cursor": id }),
            (None, None) => continue,
        };
        return Some(Said::Message(message));
    }
}

/// Takes a frame of a WebSocket, which a server doesn't mask.
fn take_frame(bytes: &mut Vec<u8>) -> Option<Said> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        length => (usize::from(length), 2),
    };
    if bytes.len() < header + length {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..header + length).collect();
    Some(match first {
        0x81 => Said::Message(serde_json::from_slice(&frame[header..]).unwrap()),
        0x89 => Said::Ping,
        0x88 => Said::Close,
        _ => panic!("a frame of no known kind: {first:x}"),
    })
}
