//! `logins`: writers alone, and beside clients that try to sign in at a fixed rate.

use std::error::Error;
use std::time::Duration;

use clap::Args;

use crate::SiteArgs;
use crate::create::{CreateDocuments, create_first_document};
use crate::http::Site;
use crate::load::{self, Load, Workload};
use crate::report::Verdict;

const DOCUMENT_BYTES: usize = 300;
/// A body of this form is as long as the others, so that the head never changes.
const BODY_BYTES: usize = r#"{"email":"0000000000000000@example.com","password":"correct horse"}"#.len();

#[derive(Args)]
pub struct LoginsArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many clients write at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// How long they write, alone, beside the sign-ins, and alone again
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many sign-ins a second are tried
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    logins: u32,
    /// How many clients try to sign in
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    users: u16,
}

/// Runs the load alone, beside the sign-ins, and alone again. Each sign-in is of another unknown address, so that it costs one hash,
/// and the limits of accounts don't apply. With a secret key, those of addresses don't either.
pub async fn run(args: LoginsArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let (clients, users) = (usize::from(args.clients), usize::from(args.users));
    let duration = Duration::from_secs(args.seconds);
    let writes = Load { clients, duration, expected_status: 201, interval: Duration::ZERO };
    let interval = Duration::from_secs(1).mul_f64(users as f64 / f64::from(args.logins));
    let tries = Load { clients: users, duration, expected_status: 401, interval };
    create_first_document(&site, DOCUMENT_BYTES).await?;
    println!(
        "logins: {clients} clients write documents of {DOCUMENT_BYTES} bytes, beside {} sign-ins a second",
        args.logins
    );
    let documents = |client| CreateDocuments::new(&site, DOCUMENT_BYTES, client, u64::MAX);
    let before = load::run(&site.server, &writes, documents).await?;
    before.print_line("alone");
    let (beside, signed) = tokio::try_join!(
        load::run(&site.server, &writes, documents),
        load::run(&site.server, &tries, |client| SignIns::new(&site, client as u64))
    )?;
    beside.print_line("beside sign-ins");
    let after = load::run(&site.server, &writes, documents).await?;
    after.print_line("alone again");
    let alone = (before.rate() + after.rate()) / 2.0;
    println!("{:<18}{:>9.2}   beside / mean of alone", "ratio", beside.rate() / alone);
    signed.print_line("sign-ins hashed");
    println!("Those that were not hashed were refused at once:");
    signed.print_failures();
    Ok(before.verdict().and(beside.verdict()).and(after.verdict()))
}

/// Tries to sign in as one unknown user after the other.
struct SignIns {
    request: Vec<u8>,
    head_bytes: usize,
    next: u64,
}

impl SignIns {
    fn new(site: &Site, client: u64) -> Self {
        let request = site.post_head("/users/login", BODY_BYTES);
        Self { head_bytes: request.len(), request, next: client << 32 }
    }
}

impl Workload for SignIns {
    fn next_request(&mut self) -> Option<&[u8]> {
        self.next += 1;
        self.request.truncate(self.head_bytes);
        let body = format!(r#"{{"email":"{:016x}@example.com","password":"correct horse"}}"#, self.next);
        self.request.extend_from_slice(body.as_bytes());
        Some(&self.request)
    }
}
