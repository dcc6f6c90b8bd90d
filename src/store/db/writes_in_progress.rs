//! The write transactions that are open, to which long reads give way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// The write transactions that are open. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::store) struct WritesInProgress(Arc<State>);

#[derive(Default)]
struct State {
    open: AtomicUsize,
    /// Whether a long read works.
    is_read_beside: AtomicBool,
}

/// One of them.
pub(super) struct WriteInProgress(WritesInProgress);

/// The right of one long read to work while a write is in progress.
pub(super) struct ReadTurn(WritesInProgress);

impl WritesInProgress {
    pub(super) fn are_there(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }

    pub(super) fn begin(&self) -> WriteInProgress {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        WriteInProgress(self.clone())
    }

    /// Returns the turn of the long reads, unless another has it.
    pub(super) fn take_read_turn(&self) -> Option<ReadTurn> {
        let was_free = !self.0.is_read_beside.swap(true, Ordering::Relaxed);
        was_free.then(|| ReadTurn(self.clone()))
    }
}

impl Drop for WriteInProgress {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ReadTurn {
    fn drop(&mut self) {
        self.0.0.is_read_beside.store(false, Ordering::Relaxed);
    }
}
