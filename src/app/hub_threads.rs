//! The threads on which the hub matches changes with filters.

use std::{io, num::NonZero, thread};

use tokio::runtime::{Builder, Runtime};

use crate::{
    hub::{self, Bounds, HubHandle},
    supervision::Supervisor,
};

/// A runtime for the hub alone. Clients choose the filters, and so how long matching takes. Here it never keeps a thread that
/// the writer, the relay or a connection needs.
///
/// When this is dropped, the threads end after the match that they are at. Nobody waits for that.
pub(super) struct HubThreads(Option<Runtime>);

impl HubThreads {
    /// Starts a thread for each processor, and at least two, so that two projects never wait for each other's match.
    pub(super) fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 64);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("coir-hub")
            .enable_time()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Starts a hub on these threads.
    pub(super) fn start_hub(&self, supervisor: &Supervisor) -> HubHandle {
        let _context = self.0.as_ref().map(Runtime::enter);
        hub::start(Bounds::default(), supervisor)
    }
}

impl Drop for HubThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
