//! The threads for work whose length clients choose: matching changes with filters, and reading many documents.

use std::{io, num::NonZero, thread};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::shares::processor;

/// A runtime for one kind of work. Here it never keeps a thread that the writer, the relay or a connection needs, and its threads
/// have a lower priority than theirs.
///
/// When this is dropped, the threads end after what they are at. Nobody waits for that.
pub(super) struct Threads {
    /// `None` once this is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// Starts a thread for each processor, and at least two, so that two projects never wait for each other.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        Self::start_with(name, processor::yield_to_others)
    }

    /// Starts as many threads, which run only while a processor has nothing else to do.
    pub(super) fn start_idle(name: &str) -> io::Result<Self> {
        Self::start_with(name, processor::use_idle_time)
    }

    fn start_with(name: &str, on_start: fn()) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 64);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(name)
            .on_thread_start(on_start)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Returns the runtime.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
