//! `indexed`: lists that an index serves, and a page far from the first, compared with reads by id of the same server.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::SiteArgs;
use crate::api::{get, post, wait_for_indexes};
use crate::http::{Client, Site};
use crate::load::{self, Load};
use crate::reads::RandomRequests;
use crate::report::{Tally, Verdict, grouped};

/// How many documents one request creates.
const BATCH: usize = 1000;
/// How many different ids are read.
const IDS: usize = 1000;

#[derive(Args)]
pub struct IndexedArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many clients read at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// How long each kind of read is repeated
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Documents of the collection, and of a second one; collections that don't exist are created and filled
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(20_000..))]
    documents: u64,
}

/// Fills the collections if they are new, then measures one kind of read after the other.
pub async fn run(args: IndexedArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let mut client = Client::connect(&site.server).await?;
    let documents = usize::try_from(args.documents)?;
    let others = format!("{}-others", site.collection);
    let indexes = json!([{ "fields": ["status", "-createdAt"] }, { "fields": ["price"] }, { "fields": ["room", "price"] }]);
    for (collection, indexes) in [(&site.collection, indexes), (&others, json!([]))] {
        fill(&site, &mut client, collection, documents, indexes).await?;
    }
    let path = format!("/collections/{}", site.collection);
    let load = Load {
        clients: args.clients.into(),
        duration: Duration::from_secs(args.seconds),
        expected_status: 200,
        interval: Duration::ZERO,
    };
    println!(
        "indexed: {} clients, {} documents, and as many in another collection",
        load.clients,
        grouped(args.documents)
    );
    let ids = get(&site, &mut client, &format!("{path}?limit={IDS}&orderBy=price")).await?;
    let ids: Vec<_> = ids["data"].as_array().into_iter().flatten().filter_map(|d| d["id"].as_str()).collect();
    let by_id: Vec<_> = ids.iter().map(|id| format!("{path}/{id}")).collect();
    let baseline = measure(&site, &load, "read by id", &by_id).await?;
    let mut verdict = baseline.verdict();
    let each =
        |render: fn(usize) -> String| (0..100).map(|n| format!("{path}?{}", render(n))).collect::<Vec<_>>();
    let lists = [
        ("equal, newest first", each(|n| format!("status=s{}&limit=20", n % 10))),
        ("range and sort", each(|n| format!("price__gte={}&orderBy=price&limit=20", n * 500))),
        ("range, backwards", each(|n| format!("price__lt={}&orderBy=-price&limit=20", 5000 + n * 500))),
        ("sort alone", each(|_| "orderBy=-price&limit=20".to_owned())),
        ("number or text", each(|n| format!("room={}&orderBy=price&limit=20", n % 50))),
    ];
    for (name, paths) in lists {
        let tally = measure(&site, &load, name, &paths).await?;
        println!("{:<22}{:>9.2}   a read by id / this", "", baseline.rate() / tally.rate());
        verdict = verdict.and(tally.verdict());
    }
    // Page by page, as a client does.
    let first = format!("{path}?orderBy=price&limit=20");
    let mut page = first.clone();
    for _ in 1..1000 {
        let answer = get(&site, &mut client, &page).await?;
        let cursor = answer["nextCursor"].as_str().ok_or("there are fewer than 1,000 pages")?;
        page = format!("{first}&after={cursor}");
    }
    let near = measure(&site, &load, "page 1", &[first]).await?;
    let far = measure(&site, &load, "page 1,000", &[page]).await?;
    println!("{:<22}{:>9.2}   page 1 / this", "", near.rate() / far.rate());
    Ok(verdict.and(near.verdict()).and(far.verdict()))
}

async fn measure(site: &Site, load: &Load, name: &str, paths: &[String]) -> Result<Tally, Box<dyn Error>> {
    let requests: Rc<[Vec<u8>]> = paths.iter().map(|path| site.get(path, "")).collect();
    let tally = load::run(&site.server, load, |client| RandomRequests::new(&requests, client as u64)).await?;
    tally.print_line(name);
    tally.print_failures();
    Ok(tally)
}

/// Creates the collection with its indexes and fills it, unless it exists.
async fn fill(
    site: &Site,
    client: &mut Client,
    collection: &str,
    documents: usize,
    indexes: Value,
) -> Result<(), Box<dyn Error>> {
    let new = json!({ "name": collection, "indexes": indexes });
    if post(site, client, "/collections", &new).await? == 409 {
        return Ok(());
    }
    println!("filling `{collection}` with {} documents", grouped(documents as u64));
    for begin in (0..documents).step_by(BATCH) {
        let document = |n: usize| {
            // The prices are in no order, and each occurs twice.
            let price = n.wrapping_mul(48_271) % (documents / 2);
            let room = if n.is_multiple_of(2) { json!(n % 50) } else { json!((n % 50).to_string()) };
            json!({ "status": format!("s{}", n % 10), "price": price, "room": room, "pad": "x".repeat(200) })
        };
        let batch: Vec<_> = (begin..documents.min(begin + BATCH)).map(document).collect();
        let path = format!("/collections/{collection}/batch");
        let status = post(site, client, &path, &json!({ "documents": batch })).await?;
        if status / 100 != 2 {
            return Err(format!("the server answered a batch of documents with {status}").into());
        }
    }
    wait_for_indexes(site, client, collection).await
}
