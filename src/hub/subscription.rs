//! What a subscription is to the hub, and what one change means to it.

use std::sync::Arc;

use crate::{
    domain::{CollectionId, Document, Position, ProjectId},
    query::Filter,
    wire::{EventKind, Form},
};

/// Identifies one joining of a subscription. After it fell back to the log it joins again under another id, so that
/// deliveries that were on their way are known to be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    /// The shard that its connection is on.
    pub shard: u32,
    /// Counted by that shard.
    pub serial: u64,
}

/// A standing interest, as the hub keeps it.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Where its events go.
    pub id: SubscriptionId,
    /// The project.
    pub project: ProjectId,
    /// The collection, through every rename.
    pub collection: CollectionId,
    /// Which documents.
    pub filter: Arc<Filter>,
    /// How its events are written.
    pub form: Form,
    /// The name or id that it was asked with, which its events carry.
    pub asked_name: Arc<str>,
    /// The place from which it wants every change; `None` is now.
    pub position: Option<Position>,
    /// The subscription whose place it takes in the same step.
    pub replaces: Option<SubscriptionId>,
}

/// What a change means to whoever watches the documents that match: the kind of the event, or nothing.
///
/// | before matches | after matches | event | image that is shown |
/// |---|---|---|---|
/// | no | no | none | |
/// | no | yes | created | after |
/// | yes | yes | updated | after |
/// | yes | no | deleted | before: the last that the subscriber could see |
///
/// A missing image doesn't match.
pub fn event_for(
    before: Option<&Arc<Document>>,
    after: Option<&Arc<Document>>,
    matches: impl Fn(&Document) -> bool,
) -> Option<EventKind> {
    match [before, after].map(|image| image.is_some_and(|document| matches(document))) {
        [false, false] => None,
        [false, true] => Some(EventKind::Created),
        [true, true] => Some(EventKind::Updated),
        [true, false] => Some(EventKind::Deleted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Data, DocumentId, Timestamp};

    #[test]
    fn the_set_decides_what_a_change_means() {
        let document = |status: &str| {
            Arc::new(Document {
                id: DocumentId::parse("a").unwrap(),
                data: Data::from_value(serde_json::json!({ "status": status })).unwrap(),
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
                version: 1,
            })
        };
        let (inside, outside) = (document("in"), document("out"));
        let matches = |document: &Document| document.data.fields()["status"] == "in";
        for (why, before, after, expected) in [
            ("made outside", None, Some(&outside), None),
            ("made inside", None, Some(&inside), Some(EventKind::Created)),
            ("enters", Some(&outside), Some(&inside), Some(EventKind::Created)),
            ("stays inside", Some(&inside), Some(&inside), Some(EventKind::Updated)),
            ("stays outside", Some(&outside), Some(&outside), None),
            ("leaves", Some(&inside), Some(&outside), Some(EventKind::Deleted)),
            ("deleted inside", Some(&inside), None, Some(EventKind::Deleted)),
            ("deleted outside", Some(&outside), None, None),
        ] {
            assert_eq!(event_for(before, after, matches), expected, "{why}");
        }
    }
}
