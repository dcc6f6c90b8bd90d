//! `/realtime/collections/{collection}`: one subscription of the same machine as on the documented API, with events in
//! another form. A collection that isn't there yet is waited for.

use std::{rc::Rc, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    api::{
        cocobase::socket::{End, First, Happened, Socket},
        error::{ApiError, ErrorCode},
        realtime::{
            Feed,
            subscriptions::{Ended, Subscriptions, Wanted},
        },
    },
    auth::Principal,
    domain::{CollectionName, cursor::Cursor},
    hub::Shard,
    query::{
        Filter,
        parse::{self, Typing},
    },
    service::ServiceError,
    wire::{CloseCode, Form, cocobase::connected},
};

/// How often somebody who waits looks for the collection, in the catalog that is in memory.
const LOOK: Duration = Duration::from_millis(100);

/// One watched collection.
pub(super) struct Watch {
    feed: Feed,
    shard: Rc<Shard>,
    principal: Arc<Principal>,
    subscriptions: Subscriptions,
    collection: String,
    filter: Filter,
    /// The client knows everything up to here.
    since: Cursor,
    /// Whether it waits for its collection.
    is_waiting: bool,
}

impl Watch {
    /// Says `connected`, and begins to watch: every change after that will come.
    pub(super) async fn begin(
        socket: &Socket,
        principal: Arc<Principal>,
        collection: String,
        first: First,
    ) -> Result<Self, End> {
        let feed = socket.realtime.feed.clone();
        feed.streams.check(&principal).map_err(ApiError::from)?;
        let filter = parse_filters(first.filters.clone()).map_err(|err| End::refused(err.message))?;
        let end = feed.streams.find_end(&principal.project).await.map_err(ApiError::from)?;
        // A principal's project was read from the database, and projects are never removed.
        let since = end.ok_or_else(|| End::new(CloseCode::TryAgain, "try again"))?;
        let subscriptions =
            Subscriptions::new(feed.clone(), socket.shard.clone(), socket.outbox.clone(), Form::Library);
        let mut watch = Self {
            feed,
            shard: socket.shard.clone(),
            principal,
            subscriptions,
            collection,
            filter,
            since,
            is_waiting: true,
        };
        // What can't be watched at all is said instead.
        match watch.feed.streams.open(&watch.principal, &watch.collection).await {
            Ok(_) => {}
            Err(ServiceError::UnknownCollection) if CollectionName::parse(&watch.collection).is_ok() => {}
            Err(err) => return Err(ApiError::from(err).into()),
        }
        socket.outbox.send(connected(&watch.collection, first.filters.as_ref()));
        watch.subscribe().await?;
        Ok(watch)
    }

    /// Begins to watch, unless the collection isn't there. Not to be dropped in the middle: what was sent by then would be
    /// sent again.
    pub(super) async fn subscribe(&mut self) -> Result<(), End> {
        let wanted = Wanted {
            collection: self.collection.clone(),
            filter: self.filter.clone(),
            id: None,
            since: Some(self.since.encode(&self.principal.project)),
            snapshot: false,
        };
        match self.subscriptions.add(&self.principal, wanted).await {
            Ok(()) => self.is_waiting = false,
            Err(error) if error.code == ErrorCode::InvalidCollection => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Waits for the collection, or else brings the subscription up to date until it has ended.
    pub(super) async fn serve(&mut self) -> Happened {
        if self.is_waiting {
            return match self.wait().await {
                Ok(()) => Happened::Ready,
                Err(end) => Happened::Ended(end),
            };
        }
        match self.subscriptions.serve().await {
            Ended::Behind => Happened::Ended(End::new(CloseCode::TryAgain, "missed too much; list again")),
            Ended::One(_, error) => Happened::Ended(error.into()),
            Ended::All => Happened::Ending,
        }
    }

    /// Waits until the collection is there.
    async fn wait(&mut self) -> Result<(), End> {
        loop {
            let mark = self.shard.mark(&self.principal.project);
            match self.feed.streams.open(&self.principal, &self.collection).await {
                Ok(_) => return Ok(()),
                Err(ServiceError::UnknownCollection) => self.pass(mark),
                // It is looked again when the database can be read.
                Err(ServiceError::Store(_)) => {}
                Err(err) => return Err(ApiError::from(err).into()),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The log has nothing for it up to `mark`, which was read before the collection was looked for: so it need not be
    /// read from further back, where it may be pruned by then.
    fn pass(&mut self, mark: Option<Cursor>) {
        if let Some(mark) = mark
            && mark.epoch == self.since.epoch
            && mark.position.sequence > self.since.position.sequence
        {
            self.since = mark;
        }
    }

    /// Moves the subscription's position past changes that were none for it.
    pub(super) fn beat(&self) {
        self.subscriptions.beat();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.subscriptions.end_all();
    }
}

/// Values mean what the library's own list would send of them: text in a URL. So null is left out, and a list is its
/// elements with commas between.
fn parse_filters(filters: Option<Value>) -> Result<Filter, ApiError> {
    let mut terms = match filters {
        None | Some(Value::Null) => return Ok(Filter::all()),
        Some(Value::Object(terms)) => terms,
        Some(other) => return Ok(parse::parse_value(other, Typing::Text)?),
    };
    terms.retain(|_, value| !value.is_null());
    let terms: Map<String, Value> = terms.into_iter().map(|(name, value)| (name, as_text(value))).collect();
    Ok(parse::parse_value(Value::Object(terms), Typing::Text)?)
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
