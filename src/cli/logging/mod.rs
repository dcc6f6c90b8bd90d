//! The log of the process, on standard error. Nobody waits for standard error, whatever has become of it.
//!
//! A part of the server that logs must neither fail nor wait because standard error is a closed pipe, a full disk, or a pipe
//! that nobody reads. So each line goes into a bounded queue, and a thread of its own writes it.
//!
//! Reading order: this file, [`lines`] (the queue and the thread), [`panics`].

mod lines;
mod panics;

use std::{io::IsTerminal, sync::LazyLock, time::Duration};

use tracing_subscriber::EnvFilter;

use lines::Lines;

use crate::config::{Config, ConfigError, Given, LogFormat, setting};

/// How long the end of the process waits for the last lines to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// A process has one log.
static LINES: LazyLock<Lines> = LazyLock::new(Lines::start);

/// Starts the log, and lets panics be logged.
///
/// # Errors
/// [`ConfigError`] if `COIR_LOG` can't be understood.
pub(super) fn start(config: &Config, given: &Given) -> Result<(), ConfigError> {
    // A bare level is meant for Coir; libraries then log warnings and errors only.
    let mut directives = if config.log.contains(['=', ',']) {
        config.log.clone()
    } else {
        format!("warn,coir={}", config.log)
    };
    // It logs an error for each request that is no HTTP and each frame that is no WebSocket, so that any stranger could fill the log.
    if !config.log.contains("actix_http") {
        directives += ",actix_http::h1::dispatcher=off,actix_http::h1::decoder=off,actix_http::ws=off";
    }
    let filter = EnvFilter::try_new(directives).map_err(|err| {
        let reason =
            format!("`{}`: {err}; write error, warn, info, debug, trace, or coir=debug,warn", config.log);
        given.error(setting("COIR_LOG"), reason)
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LINES.clone())
        // The library would tell standard error, and panic where it can't.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Where a log was started before, it stays.
    let _ = match config.log_format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    panics::log_panics();
    Ok(())
}

/// Writes a last line to standard error, behind those of the log, and waits a moment until all are written. Returns also if
/// standard error can't be written.
pub fn finish(last: Option<&str>) {
    if let Some(line) = last {
        LINES.push_last(format!("{line}\n").into_bytes());
    }
    LINES.wait_until_written(FAREWELL);
}
