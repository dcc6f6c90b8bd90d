//! The `coir` command: read `.env` and the command line, do what was typed, print what went wrong.

use std::process::ExitCode;

use clap::Parser;
use coir::cli::{self, Cli};

fn main() -> ExitCode {
    // A missing file is the normal case; one that can't be read must not be taken for it.
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(err) if err.not_found() => {}
        Err(err) => return fail(&format!(".env can't be read: {err}")),
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return fail(&format!("no threads are to be had: {err}")),
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => fail(&err.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("coir: {message}");
    ExitCode::FAILURE
}
