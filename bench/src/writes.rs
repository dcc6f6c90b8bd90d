//! `writes`: durable writes of single documents per second, compared with a plain SQLite file on the same disk.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::SiteArgs;
use crate::create::{CreateDocuments, create_first_document, parse_size};
use crate::http::Site;
use crate::load::{self, Load};
use crate::reference::{self, DESCRIPTION};
use crate::report::{Tally, Verdict};

#[derive(Args)]
pub struct WritesArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many clients write at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// How long they write
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Bytes of a document's JSON
    #[arg(long, default_value_t = 300, value_parser = parse_size)]
    size: usize,
    /// Also measure this reference, before and after the server, for half the time each
    #[arg(long)]
    reference: Option<ReferenceKind>,
    /// Directory of the reference's file; it must be on the disk of the server's database
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReferenceKind {
    /// Transactions of one row, one after the other, on a plain SQLite file
    Sqlite,
}

/// Runs the load. With a reference, it runs before and after the load.
pub async fn run(args: WritesArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let (clients, size) = (usize::from(args.clients), args.size);
    let load = Load {
        clients,
        duration: Duration::from_secs(args.seconds),
        expected_status: 201,
        interval: Duration::ZERO,
    };
    create_first_document(&site, size).await?;

    println!(
        "writes: {clients} clients, one document of {size} bytes per request, collection `{}`",
        site.collection
    );
    let before = match args.reference {
        Some(ReferenceKind::Sqlite) => {
            let tally = reference::measure(&args.dir, size, load.duration / 2).await?;
            tally.print_line("reference before");
            Some(tally)
        }
        None => None,
    };
    let server =
        load::run(&site.server, &load, |client| CreateDocuments::new(&site, size, client, u64::MAX)).await?;
    server.print_line("server");
    server.print_failures();
    if let Some(before) = before {
        let after = reference::measure(&args.dir, size, load.duration / 2).await?;
        after.print_line("reference after");
        print_ratio(&server, &before, &after);
    }
    Ok(server.verdict())
}

fn print_ratio(server: &Tally, before: &Tally, after: &Tally) {
    let reference = (before.rate() + after.rate()) / 2.0;
    println!("{:<18}{:>9.2}   server / mean of the two references", "ratio", server.rate() / reference);
    println!("\nThe reference is {DESCRIPTION}");
}
