//! The conversation of `/realtime/collections/{collection}`: one subscription like those of the documented protocol, with
//! events in the libraries' dialect. A collection that doesn't exist yet is waited for.

use std::{rc::Rc, sync::Arc};

use serde_json::{Map, Value};

use super::{
    introduction::{First, Topic},
    refusal::{behind, failed, refused, say_error},
};
use crate::{
    api::{
        error::ApiError,
        realtime::{
            connection::Connection,
            conversation::{Conversation, End},
        },
    },
    auth::Principal,
    domain::{CollectionName, cursor::Cursor},
    live::{Ended, LiveError, NewSubscription, Resume, Streams, Subscriptions},
    query::{
        Filter,
        parse::{self, FilterError, Typing},
    },
    wire::{
        CloseCode, Form,
        cocobase::{Beginning, connected},
    },
};

/// A collection as the topic of a socket.
pub struct Watched {
    /// Its name or id.
    pub collection: String,
}

/// The watcher of one collection.
pub struct Watch {
    connection: Rc<Connection>,
    subscriptions: Subscriptions,
}

impl Topic for Watched {
    type Conversation = Watch;

    /// Says `connected`, and begins to watch: every change after that will come.
    async fn begin(
        &self,
        connection: &Rc<Connection>,
        principal: Arc<Principal>,
        first: First,
    ) -> Result<Watch, End> {
        let streams = &connection.realtime.streams;
        streams.check(&principal).map_err(|err| fail(err.into()))?;
        let filter = parse_filters(first.filters.clone()).map_err(|err| refused(err.to_string()))?;
        let end = streams.find_end(&principal.project).await.map_err(|err| fail(err.into()))?;
        // A principal's project was read from the database, and projects are never removed.
        let end = end.ok_or_else(|| End::new(CloseCode::TryAgain, "try again"))?;
        let asked = match &first.since {
            None | Some(Value::Null) => None,
            Some(Value::String(since)) => Some(since.as_str()),
            Some(_) => return Err(refused("`since` must be a cursor, or an empty text")),
        };
        let known = match asked.filter(|since| !since.is_empty()) {
            Some(since) => Some(find_known(streams, &principal, since).await?),
            None => None,
        };
        let since = known.flatten().unwrap_or(end.cursor);
        let beginning = asked.map(|_| Beginning {
            cursor: since.encode(&principal.project),
            is_resumed: known.map(|known| known.is_some()),
        });
        // A name that no collection can have, or one that the principal may not watch, is refused instead of waited for.
        match streams.open_readable(&principal, &self.collection).await {
            Ok(_) => {}
            Err(LiveError::UnknownCollection) if CollectionName::parse(&self.collection).is_ok() => {}
            Err(err) => return Err(fail(err)),
        }
        connection.outbox.send(connected(&self.collection, first.filters.as_ref(), beginning.as_ref()));
        let form = if beginning.is_some() { Form::ResumableLibrary } else { connection.form };
        let mut subscriptions =
            Subscriptions::new(streams.clone(), connection.shard.clone(), connection.outbox.clone(), form);
        let new = NewSubscription {
            collection: self.collection.clone(),
            filter,
            id: None,
            since: Some(since.encode(&principal.project)),
            snapshot: false,
            params: None,
        };
        // Whether it waits for its collection is nothing that the library wants to know.
        subscriptions.add(&principal, new).await.map_err(fail)?;
        Ok(Watch { connection: connection.clone(), subscriptions })
    }
}

impl Conversation for Watch {
    type News = Ended;

    async fn hear(&mut self, _: String) -> Result<(), End> {
        say_error(&self.connection.outbox, "there is nothing to say here but {\"type\":\"ping\"}");
        Ok(())
    }

    /// Brings the subscription up to date, or waits for its collection.
    async fn serve(&mut self) -> Ended {
        self.subscriptions.serve().await
    }

    async fn react(&mut self, news: Ended) -> Result<(), End> {
        match news {
            Ended::Behind => Err(behind()),
            Ended::One(_, error) => Err(fail(error)),
            // The session sees why.
            Ended::All => Ok(()),
        }
    }

    /// Moves the subscription's position past changes that were no events for it.
    fn beat(&mut self) -> Option<String> {
        self.subscriptions.beat()
    }
}

/// Returns the place of a cursor, if the log has everything after it.
async fn find_known(streams: &Streams, principal: &Principal, since: &str) -> Result<Option<Cursor>, End> {
    let Ok(cursor) = Cursor::decode(since, &principal.project) else { return Ok(None) };
    match streams.resume(&principal.project, cursor).await {
        Ok(Resume::From(position)) => Ok(Some(Cursor { epoch: cursor.epoch, position })),
        Ok(Resume::Expired(..)) => Ok(None),
        Err(err) => Err(fail(err.into())),
    }
}

fn fail(error: LiveError) -> End {
    failed(ApiError::from(error))
}

/// Parses filters whose values mean what the library's list would send of them: text in a URL. So null is left out, and a
/// list is its elements with commas between.
fn parse_filters(filters: Option<Value>) -> Result<Filter, FilterError> {
    let mut terms = match filters {
        None | Some(Value::Null) => return Ok(Filter::all()),
        Some(Value::Object(terms)) => terms,
        Some(other) => return parse::parse_value(other, Typing::Text),
    };
    terms.retain(|_, value| !value.is_null());
    let terms: Map<String, Value> = terms.into_iter().map(|(name, value)| (name, as_text(value))).collect();
    parse::parse_value(Value::Object(terms), Typing::Text)
}

fn as_text(value: Value) -> Value {
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    match value {
        Value::Array(all) if all.iter().all(is_scalar) => {
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            Value::String(all.iter().map(text).collect::<Vec<_>>().join(","))
        }
        other => other,
    }
}
