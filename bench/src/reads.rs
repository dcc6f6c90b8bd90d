//! `reads`: documents by id, or lists of 20, from a collection that is filled first if it is empty.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::SiteArgs;
use crate::create::{CreateDocuments, create_first_document};
use crate::http::{Client, Site};
use crate::load::{self, Load, Workload};
use crate::report::{Verdict, grouped};

/// How many documents an empty collection gets, and how many different ids are read at most.
const DOCUMENTS: usize = 10_000;
const DOCUMENT_BYTES: usize = 300;
const FILL_CLIENTS: usize = 50;
const FILL_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest page the server gives.
const PAGE: usize = 1000;

#[derive(Args)]
pub struct ReadsArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many clients read at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// How long they read
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The kind of read
    #[arg(long, default_value = "get")]
    what: What,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// One document by a random id
    Get,
    /// The newest 20 documents
    List,
}

/// Fills the collection if it is empty, then runs the load.
pub async fn run(args: ReadsArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let mut ids = list_ids(&site).await?;
    if ids.is_empty() {
        fill(&site).await?;
        ids = list_ids(&site).await?;
    }
    let load = Load {
        clients: args.clients.into(),
        duration: Duration::from_secs(args.seconds),
        expected_status: 200,
        interval: Duration::ZERO,
    };
    let path = format!("/collections/{}", site.collection);
    let tally = match args.what {
        What::Get => {
            println!("reads: {} clients, one of {} documents by id", load.clients, grouped(ids.len() as u64));
            let requests: Rc<[Vec<u8>]> =
                ids.iter().map(|id| site.get(&format!("{path}/{id}"), "")).collect();
            let random = |client| RandomRequests::new(&requests, client as u64);
            load::run(&site.server, &load, random).await?
        }
        What::List => {
            println!("reads: {} clients, the newest 20 documents", load.clients);
            let requests: Rc<[Vec<u8>]> = Rc::new([site.get(&format!("{path}?limit=20"), "")]);
            let random = |client| RandomRequests::new(&requests, client as u64);
            load::run(&site.server, &load, random).await?
        }
    };
    tally.print_line("server");
    tally.print_body_size();
    tally.print_failures();
    Ok(tally.verdict())
}

/// Draws from requests that were made beforehand.
pub struct RandomRequests {
    requests: Rc<[Vec<u8>]>,
    state: u64,
}

impl RandomRequests {
    /// Draws in an order that depends on `seed`.
    pub fn new(requests: &Rc<[Vec<u8>]>, seed: u64) -> Self {
        Self { requests: Rc::clone(requests), state: seed }
    }
}

impl Workload for RandomRequests {
    fn next_request(&mut self) -> Option<&[u8]> {
        // SplitMix64: clients with neighbouring seeds draw unrelated numbers.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let index = mixed % self.requests.len() as u64;
        Some(&self.requests[index as usize])
    }
}

/// Returns the ids of up to [`DOCUMENTS`] documents; none if the collection does not exist.
async fn list_ids(site: &Site) -> Result<Vec<String>, Box<dyn Error>> {
    let mut client = Client::connect(&site.server).await?;
    let mut ids = Vec::new();
    while ids.len() < DOCUMENTS {
        let path = format!("/collections/{}?limit={PAGE}&offset={}", site.collection, ids.len());
        let response = client.exchange(&site.get(&path, "")).await?;
        match response.status {
            200 => {}
            404 => break,
            status => {
                return Err(format!(
                    "the server answered the list with {status}: {}",
                    String::from_utf8_lossy(response.body)
                )
                .into());
            }
        }
        let page: serde_json::Value = serde_json::from_slice(response.body)?;
        let documents = page["data"].as_array().ok_or("a list's `data` is not an array")?;
        ids.extend(documents.iter().filter_map(|document| document["id"].as_str()).map(str::to_owned));
        if documents.len() < PAGE {
            break;
        }
    }
    Ok(ids)
}

async fn fill(site: &Site) -> Result<(), Box<dyn Error>> {
    println!("filling `{}` with {} documents", site.collection, grouped(DOCUMENTS as u64));
    // The first document creates the collection.
    create_first_document(site, DOCUMENT_BYTES).await?;
    let load = Load {
        clients: FILL_CLIENTS,
        duration: FILL_TIMEOUT,
        expected_status: 201,
        interval: Duration::ZERO,
    };
    let each = (DOCUMENTS / FILL_CLIENTS) as u64;
    let documents = |client| {
        CreateDocuments::new(site, DOCUMENT_BYTES, client, if client == 0 { each - 1 } else { each })
    };
    let tally = load::run(&site.server, &load, documents).await?;
    match tally.verdict() {
        Verdict::Clean => Ok(()),
        Verdict::Failures => {
            tally.print_failures();
            Err("the collection could not be filled".into())
        }
    }
}
