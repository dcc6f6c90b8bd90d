//! A writer sends one write after the other. Each has an idempotency key, and is sent again, to any node, until it is
//! acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    account::{Account, Effect},
    harness::{Dice, SECRET_KEY, peer::GROUPS, peer::is_busy},
    world::{Durability, NODES, World},
};

/// How many documents with ids of its own a writer has.
const DOCUMENTS: usize = 6;
/// Beyond so many documents whose ids the server chose, some are deleted.
const ENOUGH: usize = 12;
/// How long a write may be sent again and again. Faults come one after the other for a round; then everything must work.
const LIMIT: Duration = Duration::from_secs(90);

pub struct Writer {
    pub number: usize,
    pub account: Account,
    /// Counts the writes.
    step: usize,
    /// An entity tag that a document of this writer once had.
    old_tag: Option<(String, String)>,
    dice: Dice,
}

/// A write before it is sent.
struct Write {
    method: Method,
    path: String,
    body: Option<Value>,
    /// A header with a condition.
    condition: Option<(&'static str, String)>,
    /// `None` if the condition doesn't hold, so that the answer is 412.
    effects: Option<Vec<Effect>>,
}

impl Writer {
    pub fn new(number: usize, dice: Dice) -> Self {
        Self { number, account: Account::default(), step: 0, old_tag: None, dice }
    }

    /// Writes until it is told to stop, and the last write has been acknowledged.
    pub async fn work(mut self, world: Arc<World>, stop: watch::Receiver<bool>) -> Self {
        while !*stop.borrow() {
            self.step += 1;
            let write = self.choose();
            self.deliver(&world, write).await;
            if self.dice.under(3) == 0 {
                self.read(&world).await;
            }
            sleep(self.dice.milliseconds(0..40)).await;
        }
        self
    }

    /// Sends a write until it is acknowledged, and takes its effects.
    async fn deliver(&mut self, world: &World, write: Write) {
        let key = format!("{}-{}", self.number, self.step);
        let (begun, mut node) = (Instant::now(), self.dice.under(NODES));
        loop {
            assert!(begun.elapsed() < LIMIT, "write {key} can't be acknowledged");
            let url = format!("{}{}", world.nodes[node].url, write.path);
            let request = world.http.request(write.method.clone(), url).bearer_auth(SECRET_KEY);
            let mut request = request.header("Idempotency-Key", &key);
            if let Some((name, value)) = &write.condition {
                request = request.header(*name, value);
            }
            if let Some(body) = &write.body {
                request = request.json(body);
            }
            // A short one is given up before a node that sleeps can answer. The write may happen when that wakes up.
            let patience = self.dice.milliseconds(300..6000);
            let answer = async {
                let answer = request.send().await?;
                let tag = answer.headers().get("ETag").map(|tag| tag.to_str().unwrap().to_owned());
                Ok::<_, reqwest::Error>((answer.status(), tag, answer.text().await?))
            };
            match tokio::time::timeout(patience, answer).await {
                Ok(Ok((status, _, _))) if is_busy(status) => {}
                Ok(Ok((status, tag, body))) => {
                    world.history.count("acknowledged writes");
                    let told = || {
                        format!(
                            "write {key} on node {node}, {} {}: {status} {body}",
                            write.method, write.path
                        )
                    };
                    let taken = self.take(&write, status, tag, &body);
                    match (taken, world.durability) {
                        (Ok(()), _) => {}
                        (Err(why), Durability::Full) => panic!("{}: {why}", told()),
                        // The database may have lost what the writer counts on.
                        (Err(_), Durability::Normal) => {
                            assert!(
                                status.is_success() || [404, 409, 412].contains(&status.as_u16()),
                                "{}",
                                told()
                            );
                        }
                    }
                    return;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            world.history.count("writes sent again");
            node = self.dice.under(NODES);
            sleep(self.dice.milliseconds(20..200)).await;
        }
    }

    /// Takes the answer of a write.
    fn take(
        &mut self,
        write: &Write,
        status: StatusCode,
        tag: Option<String>,
        body: &str,
    ) -> Result<(), String> {
        let Some(effects) = &write.effects else {
            return if status == StatusCode::PRECONDITION_FAILED {
                Ok(())
            } else {
                Err("not 412".to_owned())
            };
        };
        if !status.is_success() {
            // The writer goes on without these documents, if the database may lose some.
            effects.iter().for_each(|effect| self.account.forget(effect));
            return Err("not a success".to_owned());
        }
        let answer: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let data = &answer["data"];
        let answered: Vec<Value> = match (data, data["deleted"].as_array()) {
            (_, Some(deleted)) => deleted.iter().map(|id| json!({ "id": id })).collect(),
            (Value::Array(documents), _) => documents.clone(),
            (document, _) => vec![document.clone()],
        };
        if answered.len() != effects.len() {
            effects.iter().for_each(|effect| self.account.forget(effect));
            return Err(format!("{} documents must be answered", effects.len()));
        }
        let mut result = Ok(());
        for (effect, answered) in effects.iter().zip(&answered) {
            result = result.and(self.account.take(effect, answered, tag.clone()));
        }
        result
    }

    /// Reads a document, which must be as its last acknowledged write left it, on any node.
    async fn read(&mut self, world: &World) {
        let (id, node) = (self.own_id(), self.dice.under(NODES));
        let request = world.http.get(format!("{}/collections/posts/{id}", world.nodes[node].url));
        let request = request.bearer_auth(SECRET_KEY).timeout(self.dice.milliseconds(300..6000)).send();
        let Ok(answer) = request.await else { return };
        let status = answer.status();
        let Ok(body) = answer.text().await else { return };
        if is_busy(status) {
            return;
        }
        world.history.count("reads");
        let told = format!("{id} of node {node}: {status} {body}");
        assert!(status.is_success() || status == StatusCode::NOT_FOUND, "{told}");
        if world.durability == Durability::Full {
            let body: Value = serde_json::from_str(&body).unwrap();
            let read = status.is_success().then(|| (&body["data"]["data"], body["data"]["version"].as_i64()));
            let known = self.account.find("posts", &id);
            assert_eq!(read, known.map(|known| (&known.data, Some(known.version))), "{told}");
        }
    }

    fn choose(&mut self) -> Write {
        let id = self.own_id();
        let known = self.account.find("posts", &id).cloned();
        match (self.dice.under(14), known) {
            (0..=3, Some(known)) => {
                self.patch(id, &known.data, known.tag.filter(|_| self.step.is_multiple_of(2)))
            }
            (4, Some(_)) => Write {
                method: Method::DELETE,
                path: format!("/collections/posts/{id}"),
                body: None,
                condition: None,
                effects: Some(vec![Effect::Delete { place: ("posts", id) }]),
            },
            (5 | 6, _) => self.create(),
            (7, _) => self.create_batch(),
            (8, Some(_)) => self.patch_batch(),
            (9, _) if self.chosen_ids().len() > ENOUGH => self.delete_batch(),
            (10, _) if self.old_tag.is_some() => self.patch_late(),
            (11 | 12, _) => self.transact(),
            (choice, known) => self.put(id, known.is_some(), choice == 13),
        }
    }

    /// Creates or replaces a document. `only_new` says that it may only be created.
    fn put(&mut self, id: String, is_there: bool, only_new: bool) -> Write {
        let data = self.data();
        let store = Effect::Store { collection: "posts", id: Some(id.clone()), data: data.clone() };
        Write {
            method: Method::PUT,
            path: format!("/collections/posts/{id}"),
            body: Some(data),
            condition: only_new.then(|| ("If-None-Match", "*".to_owned())),
            effects: (!(only_new && is_there)).then(|| vec![store]),
        }
    }

    /// Merges into a document, on condition that it has a tag.
    fn patch(&mut self, id: String, before: &Value, tag: Option<String>) -> Write {
        let (body, after) = self.merge(before);
        if let Some(tag) = &tag {
            self.old_tag = Some((id.clone(), tag.clone()));
        }
        Write {
            method: Method::PATCH,
            path: format!("/collections/posts/{id}"),
            body: Some(body),
            condition: tag.map(|tag| ("If-Match", tag)),
            effects: Some(vec![Effect::Store { collection: "posts", id: Some(id), data: after }]),
        }
    }

    /// Merges into a document on condition that it has a tag that it had before.
    fn patch_late(&mut self) -> Write {
        let (id, tag) = self.old_tag.take().unwrap();
        let is_late = self.account.find("posts", &id).is_some_and(|known| known.tag.as_ref() != Some(&tag));
        let body = self.data();
        if !is_late {
            return self.create();
        }
        Write {
            method: Method::PATCH,
            path: format!("/collections/posts/{id}"),
            body: Some(body),
            condition: Some(("If-Match", tag)),
            effects: None,
        }
    }

    fn create(&mut self) -> Write {
        let data = self.data();
        Write {
            method: Method::POST,
            path: "/collections/posts".to_owned(),
            body: Some(data.clone()),
            condition: None,
            effects: Some(vec![Effect::Store { collection: "posts", id: None, data }]),
        }
    }

    fn create_batch(&mut self) -> Write {
        let documents: Vec<_> = (0..2 + self.dice.under(3)).map(|_| self.data()).collect();
        let store = |data: &Value| Effect::Store { collection: "posts", id: None, data: data.clone() };
        Write {
            method: Method::POST,
            path: "/collections/posts/batch".to_owned(),
            effects: Some(documents.iter().map(store).collect()),
            body: Some(json!({ "documents": documents })),
            condition: None,
        }
    }

    fn patch_batch(&mut self) -> Write {
        let (mut updates, mut effects) = (Map::new(), Vec::new());
        for id in self.account.ids("posts").into_iter().take(5) {
            let before = self.account.find("posts", &id).unwrap().data.clone();
            let (body, data) = self.merge(&before);
            updates.insert(id.clone(), body);
            effects.push(Effect::Store { collection: "posts", id: Some(id), data });
        }
        Write {
            method: Method::PATCH,
            path: "/collections/posts/batch".to_owned(),
            body: Some(json!({ "updates": updates })),
            condition: None,
            effects: Some(effects),
        }
    }

    fn delete_batch(&mut self) -> Write {
        let ids: Vec<_> = self.chosen_ids().into_iter().take(6).collect();
        let delete = |id: &String| Effect::Delete { place: ("posts", id.clone()) };
        Write {
            method: Method::POST,
            path: "/collections/posts/batch-delete".to_owned(),
            effects: Some(ids.iter().map(delete).collect()),
            body: Some(json!({ "ids": ids })),
            condition: None,
        }
    }

    /// Counts in one collection, and creates and deletes in the other.
    fn transact(&mut self) -> Write {
        let (counter, created) = (format!("counter-{}", self.number), self.data());
        let mut operations = vec![json!({ "op": "create", "collection": "posts", "data": created })];
        let mut effects = vec![Effect::Store { collection: "posts", id: None, data: created }];
        let counted = match self.account.find("notes", &counter) {
            Some(known) => {
                let mut data = known.data.clone();
                data["count"] = json!(data["count"].as_i64().unwrap() + 1);
                let operation = json!({
                    "op": "update", "collection": "notes", "id": counter, "data": { "$inc": { "count": 1 } },
                    "ifVersion": known.version,
                });
                (operation, data)
            }
            None => {
                let data = json!({ "writer": self.number, "count": 0 });
                (json!({ "op": "replace", "collection": "notes", "id": counter, "data": data }), data)
            }
        };
        operations.push(counted.0);
        effects.push(Effect::Store { collection: "notes", id: Some(counter), data: counted.1 });
        if let Some(id) = self.chosen_ids().pop() {
            operations.push(json!({ "op": "delete", "collection": "posts", "id": id }));
            effects.push(Effect::Delete { place: ("posts", id) });
        }
        Write {
            method: Method::POST,
            path: "/transactions".to_owned(),
            body: Some(json!({ "operations": operations })),
            condition: None,
            effects: Some(effects),
        }
    }

    fn own_id(&mut self) -> String {
        format!("{}-{}", self.number, self.dice.under(DOCUMENTS))
    }

    /// The ids in `posts` that the server chose.
    fn chosen_ids(&self) -> Vec<String> {
        let own = format!("{}-", self.number);
        self.account.ids("posts").into_iter().filter(|id| !id.starts_with(&own) || id.len() > 30).collect()
    }

    /// Data that no other write has.
    fn data(&mut self) -> Value {
        let mut data = json!({
            "writer": self.number, "step": self.step, "part": self.dice.under(1_000_000), "count": 0,
            "group": self.dice.under(GROUPS),
        });
        match self.dice.under(4) {
            0 => data["flag"] = json!(self.dice.under(2) == 0),
            1 => data["flag"] = Value::Null,
            2 => data["text"] = json!("x".repeat(self.dice.under(3000))),
            _ => {}
        }
        data
    }

    /// Returns the body of a merge, and the data after it.
    fn merge(&mut self, before: &Value) -> (Value, Value) {
        let mut after = before.clone();
        let mut body = json!({ "step": self.step, "group": self.dice.under(GROUPS) });
        if self.dice.under(3) == 0 {
            body["flag"] = json!(self.dice.under(2) == 0);
        }
        for (name, value) in body.as_object().unwrap() {
            after[name] = value.clone();
        }
        after["count"] = json!(after["count"].as_i64().unwrap_or(0) + 1);
        body["$inc"] = json!({ "count": 1 });
        (body, after)
    }
}
