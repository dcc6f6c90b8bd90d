//! The recent changes that a joining subscription gets at once.

use std::sync::Arc;

use super::{
    joining::Joining,
    outbox::{MAX_BYTES, MAX_FRAMES},
    recent_changes::{Encoded, RecentChanges},
};
use crate::{
    domain::{Control, Document, Entry, Position, ProjectId, cursor::Epoch},
    wire::{Event, event_for},
};

/// Bytes of the changes that are compared with a filter for one replay, by [`Change::weight`](crate::domain::Change::weight).
/// It keeps joins of costly filters short.
const MAX_COMPARED: usize = 4 * 1024 * 1024;

/// The events that a joining subscription has missed.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) frames: Vec<(Position, Encoded)>,
    /// Whether its collection was removed after these.
    pub(super) is_removed: bool,
    /// Whether its rights are to be asked for after these.
    pub(super) is_doubted: bool,
}

/// Returns the events after `position`, or `None` if the subscription must read the log: because the recent changes don't
/// reach back that far, or because there is more than fits into an outbox. Events take at most `max_bytes` beside the changes.
pub(super) fn replay(
    recent: &mut RecentChanges,
    (project, epoch, last): (&ProjectId, Epoch, Position),
    joining: &Joining,
    position: Position,
    max_bytes: usize,
) -> Option<Replay> {
    let mut replay = Replay::default();
    let (mut bytes, mut compared) = (0, 0);
    for place in recent.after(position, last)? {
        let change = recent.at(place).clone();
        if joining.is_doubted_by(&change) {
            replay.is_doubted = true;
            return Some(replay);
        }
        let images: (Option<&Arc<Document>>, Option<&Arc<Document>>) = match &change.entry {
            Entry::Document { collection, before, after } if *collection == joining.collection => {
                (before.as_ref(), after.as_ref())
            }
            Entry::Control(Control::CollectionRemoved { collection })
                if *collection == *joining.collection.as_str() =>
            {
                replay.is_removed = true;
                return Some(replay);
            }
            Entry::Unreadable { collection } if *collection == joining.collection => return None,
            Entry::Document { .. } | Entry::Control(_) | Entry::Unreadable { .. } => continue,
        };
        compared += change.weight();
        if compared > MAX_COMPARED {
            return None;
        }
        let Some(kind) = event_for(images.0, images.1, |document| joining.filter.matches(document)) else {
            continue;
        };
        let hidden = joining.hidden_in(images);
        // The change concerns nothing that the client may see.
        let Some((before, after)) = hidden.strip(images) else { continue };
        let shared = (kind, joining.form, &joining.label, &hidden);
        let event = recent.event(place, shared, max_bytes, |change| {
            let (place, seen) = ((project, epoch, change.position), (before.as_ref(), after.as_ref()));
            Some(joining.form.encode(&Event::of_change(place, seen, kind, &joining.label)?))
        })?;
        bytes += event.frame.len();
        if !replay.frames.is_empty() && (bytes > MAX_BYTES || replay.frames.len() == MAX_FRAMES) {
            return None;
        }
        replay.frames.push((change.position, event));
    }
    Some(replay)
}
