//! Panics as lines of the log. The standard library would write them to standard error itself, and wait for it.

use std::{backtrace::Backtrace, panic, thread};

/// Lets every panic of the process be logged.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Empty, unless RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        tracing::error!(thread, place, "a panic in thread `{thread}` at {place}: {message} ({backtrace})");
    }));
}
