//! An event: what one subscription is told about one change, before it is written in any form.

use std::sync::Arc;

use crate::domain::{
    Document, Position, ProjectId,
    cursor::{Cursor, Epoch},
};

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The project whose log has the change.
    pub project: &'a ProjectId,
    /// The epoch of that log.
    pub epoch: Epoch,
    /// The position of the change in the log.
    pub position: Position,
    /// The change of the set of documents that the subscription sees.
    pub kind: EventKind,
    /// Why it happened.
    pub reason: Reason,
    /// False in the middle of a snapshot: a stream that is cut there must start anew.
    pub shows_cursor: bool,
    /// The image that is shown.
    pub document: &'a Document,
    /// The image before an update. The subscriber may see it, because it was in the set.
    pub before: Option<&'a Document>,
    /// The collection's name in the event, from [`Form::label`](super::Form::label).
    pub collection: &'a str,
}

impl<'a> Event<'a> {
    /// Makes the event of this kind about a document's change from one image to another. It shows its cursor. `None` if the
    /// image that this kind shows is missing.
    pub fn of_change(
        (project, epoch, position): (&'a ProjectId, Epoch, Position),
        (before, after): (Option<&'a Arc<Document>>, Option<&'a Arc<Document>>),
        kind: EventKind,
        collection: &'a str,
    ) -> Option<Self> {
        Some(Self {
            project,
            epoch,
            position,
            kind,
            reason: Reason::of(kind, before.is_some(), after.is_some()),
            shows_cursor: true,
            document: if kind == EventKind::Deleted { before } else { after }?,
            before: before.map(|before| &**before).filter(|_| kind == EventKind::Updated),
            collection,
        })
    }

    /// Returns the cursor after which the next event comes, as clients get it.
    pub fn cursor(&self) -> String {
        Cursor { epoch: self.epoch, position: self.position }.encode(self.project)
    }
}

/// The effect of a change on the set of documents that a subscription sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A document came into the set.
    Created,
    /// A document stayed in the set.
    Updated,
    /// A document left the set.
    Deleted,
}

/// Why a document came into the set, changed in it, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The document was created in the set, or written while it was in it.
    Written,
    /// The document existed before, and matches now.
    Entered,
    /// The document still exists, and matches no longer.
    Left,
    /// The document was deleted.
    Removed,
}

impl Reason {
    /// Returns the reason of an event, from whether the document existed before and exists afterwards. It is the same for
    /// everyone who gets this kind of event about a change.
    pub fn of(kind: EventKind, existed: bool, exists: bool) -> Self {
        match kind {
            EventKind::Created if existed => Self::Entered,
            EventKind::Created | EventKind::Updated => Self::Written,
            EventKind::Deleted if exists => Self::Left,
            EventKind::Deleted => Self::Removed,
        }
    }
}

/// Returns the kind of event that a change is to a subscription, or `None` if it is no event for it.
///
/// | before matches | after matches | event | image that the event shows |
/// |---|---|---|---|
/// | no | no | none | |
/// | no | yes | created | after |
/// | yes | yes | updated | after |
/// | yes | no | deleted | before: the last image that the subscriber could see |
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
