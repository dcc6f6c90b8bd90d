//! The write transactions that are open, to which long reads give way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The write transactions that are open. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::store) struct WritesInProgress(Arc<AtomicUsize>);

/// One of them.
pub(super) struct WriteInProgress(WritesInProgress);

impl WritesInProgress {
    pub(super) fn are_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    pub(super) fn begin(&self) -> WriteInProgress {
        self.0.fetch_add(1, Ordering::Relaxed);
        WriteInProgress(self.clone())
    }
}

impl Drop for WriteInProgress {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
