//! The conversation of `/realtime/collections/{collection}`: one subscription like those of the documented protocol, with
//! events in the libraries' dialect. A collection that doesn't exist yet is waited for.

use std::{rc::Rc, sync::Arc, time::Duration};

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
    live::{Ended, LiveError, NewSubscription, Subscriptions},
    query::{
        Filter,
        parse::{self, FilterError, Typing},
    },
    wire::{CloseCode, cocobase::connected},
};

/// How often a waiting socket looks for its collection. The catalog is in memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A collection as the topic of a socket.
pub struct Watched {
    /// Its name or id.
    pub collection: String,
}

/// The watcher of one collection.
pub struct Watch {
    connection: Rc<Connection>,
    principal: Arc<Principal>,
    subscriptions: Subscriptions,
    collection: String,
    filter: Filter,
    /// The client knows everything up to here.
    since: Cursor,
    /// Whether it waits for its collection.
    is_waiting: bool,
}

/// An event for a watcher.
pub enum News {
    /// The collection that it waited for exists.
    Found,
    /// It must end.
    Over(End),
    /// Its subscription has ended.
    Ended(Ended),
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
        let since = end.ok_or_else(|| End::new(CloseCode::TryAgain, "try again"))?;
        // A name that no collection can have, or one that the principal may not watch, is refused instead of waited for.
        match streams.open(&principal, &self.collection).await {
            Ok(_) => {}
            Err(LiveError::UnknownCollection) if CollectionName::parse(&self.collection).is_ok() => {}
            Err(err) => return Err(fail(err)),
        }
        connection.outbox.send(connected(&self.collection, first.filters.as_ref()));
        let subscriptions = Subscriptions::new(
            streams.clone(),
            connection.shard.clone(),
            connection.outbox.clone(),
            connection.form,
        );
        let mut watch = Watch {
            connection: connection.clone(),
            principal,
            subscriptions,
            collection: self.collection.clone(),
            filter,
            since,
            is_waiting: true,
        };
        watch.subscribe().await?;
        Ok(watch)
    }
}

impl Watch {
    /// Begins to watch, unless the collection doesn't exist. Must run to its end: otherwise the events that it has sent would
    /// be sent again.
    async fn subscribe(&mut self) -> Result<(), End> {
        let new = NewSubscription {
            collection: self.collection.clone(),
            filter: self.filter.clone(),
            id: None,
            since: Some(self.since.encode(&self.principal.project)),
            snapshot: false,
        };
        match self.subscriptions.add(&self.principal, new).await {
            Ok(()) => self.is_waiting = false,
            Err(LiveError::UnknownCollection) => {}
            Err(error) => return Err(fail(error)),
        }
        Ok(())
    }

    /// Waits until the collection exists.
    async fn wait(&mut self) -> Result<(), End> {
        loop {
            let mark = self.connection.shard.mark(&self.principal.project);
            match self.connection.realtime.streams.open(&self.principal, &self.collection).await {
                Ok(_) => return Ok(()),
                Err(LiveError::UnknownCollection) => self.pass(mark),
                // It looks again, and the database may be back by then.
                Err(LiveError::Store(_)) => {}
                Err(err) => return Err(fail(err)),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Moves forward to `mark`, which was read before the collection was looked for: the log has nothing for this watcher up
    /// to there. So the log need not be read from further back, where it may be pruned by the time the collection exists.
    fn pass(&mut self, mark: Option<Cursor>) {
        if let Some(mark) = mark
            && mark.epoch == self.since.epoch
            && mark.position.sequence > self.since.position.sequence
        {
            self.since = mark;
        }
    }
}

impl Conversation for Watch {
    type News = News;

    async fn hear(&mut self, _: String) -> Result<(), End> {
        say_error(&self.connection.outbox, "there is nothing to say here but {\"type\":\"ping\"}");
        Ok(())
    }

    /// Waits for the collection, or else brings the subscription up to date.
    async fn serve(&mut self) -> News {
        if !self.is_waiting {
            return News::Ended(self.subscriptions.serve().await);
        }
        match self.wait().await {
            Ok(()) => News::Found,
            Err(end) => News::Over(end),
        }
    }

    async fn react(&mut self, news: News) -> Result<(), End> {
        match news {
            News::Found => self.subscribe().await,
            News::Over(end) => Err(end),
            News::Ended(Ended::Behind) => Err(behind()),
            News::Ended(Ended::One(_, error)) => Err(fail(error)),
            // The session sees why.
            News::Ended(Ended::All) => Ok(()),
        }
    }

    /// Moves the subscription's position past changes that were no events for it.
    fn beat(&mut self) -> Option<String> {
        self.subscriptions.beat()
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
