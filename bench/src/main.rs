//! Load generator for Coir, made to share a small machine with the server it measures.
//!
//! One thread (`fanout` and `reconnects` have a second for those who subscribe), one task per client, hand-written HTTP/1.1, WebSocket
//! and SSE over reused buffers. Every load is a closed loop: a client waits for its answer before it asks again.
//! Each client and each subscriber is a file descriptor (`ulimit -n`).
//!
//! In reading order: [`http`] (one connection), [`create`] (the request that creates a document), [`load`] (many
//! clients at once), [`report`] (what is counted and printed), then a file per subcommand: [`writes`] with its
//! [`mod@reference`], [`reads`], [`indexed`], [`unique`], [`fanout`] with its [`subscribers`], each a [`subscriber`], and
//! [`reconnects`] with its [`returners`], each a [`returner`] that keeps an [`account`] of what it gets; [`memory`] is the
//! server's. Both kinds read an [`event_stream`], which is [`websocket`] or [`sse`].

mod account;
mod create;
mod event_stream;
mod fanout;
mod http;
mod indexed;
mod load;
mod memory;
mod reads;
mod reconnects;
mod reference;
mod report;
mod returner;
mod returners;
mod sse;
mod subscriber;
mod subscribers;
mod unique;
mod websocket;
mod writes;

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::http::{Server, Site};
use crate::report::Verdict;

#[derive(Parser)]
#[command(version, about = "Measures a running Coir server; exits with 1 if anything failed or was lost")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Clients that each create one document after the other
    Writes(writes::WritesArgs),
    /// Subscribers that receive what writers create: events a second, losses, latency from send to event
    Fanout(fanout::FanoutArgs),
    /// Clients that read documents by id, or lists of 20
    Reads(reads::ReadsArgs),
    /// Lists that an index serves, and pages far behind, beside reads by id
    Indexed(indexed::IndexedArgs),
    /// Writers of a collection with a unique index, beside one that always violates it
    Unique(unique::UniqueArgs),
    /// Writers, while many clients come back at once: what they lose, and whether every client gets what it missed
    Reconnects(reconnects::ReconnectsArgs),
}

/// Where the server is and as whom to call it.
#[derive(Args)]
struct SiteArgs {
    /// The server, as http://host:port
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: Server,
    /// A key that may read and write documents (and, for `fanout` and `reconnects`, subscribe)
    #[arg(long)]
    key: String,
    /// The collection that is written and read; created if need be
    #[arg(long, default_value = "bench", value_parser = parse_collection)]
    collection: String,
}

impl From<SiteArgs> for Site {
    fn from(args: SiteArgs) -> Self {
        Self { server: args.url, key: args.key, collection: args.collection }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Failures) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("coir-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Verdict, Box<dyn Error>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        match command {
            Command::Writes(args) => writes::run(args).await,
            Command::Fanout(args) => fanout::run(args).await,
            Command::Reads(args) => reads::run(args).await,
            Command::Indexed(args) => indexed::run(args).await,
            Command::Unique(args) => unique::run(args).await,
            Command::Reconnects(args) => reconnects::run(args).await,
        }
    })
}

/// Takes the names a collection may have, since they go into paths and JSON as they are.
fn parse_collection(text: &str) -> Result<String, String> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits { Ok(text.to_owned()) } else { Err("expected [A-Za-z][A-Za-z0-9_-]{0,63}".to_owned()) }
}
