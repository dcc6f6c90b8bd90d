//! `unique`: clients that write to a collection with a unique index, alone and beside a client that always violates it.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::SiteArgs;
use crate::api::post;
use crate::create::{CreateDocuments, CreateRequest};
use crate::http::{Client, Site};
use crate::load::{self, Load, Workload};
use crate::report::Verdict;

const DOCUMENT_BYTES: usize = 300;

#[derive(Args)]
pub struct UniqueArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many clients write documents that the index allows
    #[arg(long, default_value_t = 63, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// How long they write, alone and again beside the violator
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Runs the load without the violator and with it. The collection must be new.
pub async fn run(args: UniqueArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let mut client = Client::connect(&site.server).await?;
    let indexes = json!([{ "fields": ["client", "number"], "unique": true }]);
    let new = json!({ "name": site.collection, "indexes": indexes });
    let status = post(&site, &mut client, "/collections", &new).await?;
    if status != 201 {
        return Err(format!(
            "the server answered the new collection with {status}; name a collection that does not exist"
        )
        .into());
    }
    let clients = usize::from(args.clients);
    let load = |clients, expected_status| Load {
        clients,
        duration: Duration::from_secs(args.seconds),
        expected_status,
        interval: Duration::ZERO,
    };
    println!("unique: {clients} clients, one document of {DOCUMENT_BYTES} bytes per request");
    let taken =
        CreateRequest::new(&site, DOCUMENT_BYTES).render(format_args!("\"client\":-1,\"number\":1")).to_vec();
    client.exchange(&taken).await?;
    let documents = |first: usize| {
        let site = &site;
        move |client: usize| CreateDocuments::new(site, DOCUMENT_BYTES, first + client, u64::MAX)
    };
    let (allowed, refused) = (load(clients, 201), load(1, 409));
    let alone = load::run(&site.server, &allowed, documents(0)).await?;
    alone.print_line("alone");
    let violator = |_| Again { request: taken.clone() };
    let (beside, violator) = tokio::try_join!(
        load::run(&site.server, &allowed, documents(clients)),
        load::run(&site.server, &refused, violator)
    )?;
    beside.print_line("beside a violator");
    violator.print_line("the violator");
    println!("{:<22}{:>9.2}   beside / alone", "", beside.rate() / alone.rate());
    for tally in [&alone, &beside, &violator] {
        tally.print_failures();
    }
    Ok(alone.verdict().and(beside.verdict()).and(violator.verdict()))
}

/// Sends the same request again and again.
struct Again {
    request: Vec<u8>,
}

impl Workload for Again {
    fn next_request(&mut self) -> Option<&[u8]> {
        Some(&self.request)
    }
}
