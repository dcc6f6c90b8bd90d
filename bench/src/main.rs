//! Load generator for Coir, made to share a small machine with the server that it measures.
//!
//! It runs on one thread (`fanout` and `reconnects` have a second one for their subscribers) with a task per client. HTTP/1.1,
//! WebSocket and the chunks of event streams are written by hand over reused buffers. Every load is a closed loop: a client
//! waits for its answer before it sends the next request. Each client and each subscriber takes a file descriptor (`ulimit -n`).
//!
//! In reading order: [`http`] (one connection), [`load`] (many clients at once), [`create`] (the requests that create
//! documents), [`report`] (counts and how they are printed), [`api`] (JSON requests for setting up), [`stream`] (one stream of
//! events), then a module per subcommand: [`writes`] with its [`mod@reference`], [`reads`], [`indexed`], [`unique`],
//! [`sign_in`], [`logins`], [`fanout`], and
//! [`reconnects`] and [`subscriptions`], which also print the server's [`memory`].

mod api;
mod create;
mod fanout;
mod http;
mod indexed;
mod load;
mod logins;
mod memory;
mod reads;
mod reconnects;
mod reference;
mod report;
mod sign_in;
mod stream;
mod subscriptions;
mod unique;
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
    /// Measure clients that each create one document after the other
    Writes(writes::WritesArgs),
    /// Measure writers alone, and beside clients that try to sign in
    Logins(logins::LoginsArgs),
    /// Measure how subscribers receive what writers create: events per second, losses, latency from send to event
    Fanout(fanout::FanoutArgs),
    /// Measure clients that read documents by id, or lists of 20
    Reads(reads::ReadsArgs),
    /// Compare lists that an index serves, and a page far from the first, with reads by id
    Indexed(indexed::IndexedArgs),
    /// Measure writers of a collection with a unique index, beside a client that always violates it
    Unique(unique::UniqueArgs),
    /// Measure writers while many clients return at once, and check that every client gets what it missed
    Reconnects(reconnects::ReconnectsArgs),
    /// Compare the times of sign-ins with a wrong password and with an unknown address, which must not tell them apart
    SignIn(sign_in::SignInArgs),
    /// Measure what a subscription takes of the server's memory, with a million of them
    Subscriptions(subscriptions::SubscriptionsArgs),
}

/// The server, the key and the collection.
#[derive(Args)]
struct SiteArgs {
    /// The server, as http://host:port
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: Server,
    /// A key that may read and write documents (and, for `fanout` and `reconnects`, subscribe)
    #[arg(long)]
    key: String,
    /// The collection that is written and read; it is created if it does not exist
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
            Command::SignIn(args) => sign_in::run(args).await,
            Command::Logins(args) => logins::run(args).await,
            Command::Subscriptions(args) => subscriptions::run(args).await,
            Command::Reconnects(args) => reconnects::run(args).await,
        }
    })
}

/// Reads the name of a collection. It goes into paths and JSON as it is, so other text is refused.
fn parse_collection(text: &str) -> Result<String, String> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("the name of a collection must be a letter and up to 63 letters, digits, `_` or `-`".to_owned())
    }
}
