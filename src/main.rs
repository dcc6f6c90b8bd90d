//! The `coir` command: reads `.env` and the command line, runs the command, and prints why it failed.

use std::process::ExitCode;

use clap::Parser;
use coir::cli::{self, Cli, logging};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A missing file is the normal case. A file that cannot be read is an error, so that its settings are not silently ignored.
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(err) if err.not_found() => {}
        Err(err) => return fail(&format!("cannot read .env: {err}")),
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return fail(&format!("cannot start threads: {err}")),
    };
    let outcome = runtime.block_on(cli::run(cli));
    // Everything that must end has ended. Nobody waits for a task that does not yield.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            logging::finish(None);
            ExitCode::SUCCESS
        }
        Err(err) => fail(&err.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    logging::finish(Some(&format!("coir: {message}")));
    ExitCode::FAILURE
}
