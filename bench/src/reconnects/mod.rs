//! `reconnects`: how much slower writers get while many clients return at once, and whether each client gets what it missed.
//!
//! In reading order: [`plan`], [`account`] (what one client must get and got), [`client`] (one), [`thread`] (all of them), this
//! file.

mod account;
mod client;
mod plan;
mod thread;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::SiteArgs;
use crate::api::{get, post, wait_for_indexes};
use crate::create::{CreateRequest, parse_size};
use crate::http::{Client, Site};
use crate::load::{self, Load, Workload};
use crate::memory::Memory;
use crate::report::{Tally, Verdict, grouped};
use account::{Account, Rooms};
use plan::{Plan, Received, Request};
use thread::ReturningClients;

/// How many documents one request creates at most.
const BATCH: usize = 1000;
/// How many bytes they have at most.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long clients may take to catch up. Documents that come later count as lost.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args)]
pub struct ReconnectsArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many clients return, half over WebSocket, half over server-sent events
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How many documents exist before the clients leave
    #[arg(long, default_value_t = 10_000)]
    documents: u64,
    /// How many changes the clients miss
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    behind: u64,
    /// How many clients write at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    writers: u16,
    /// How long the writers write alone, and again after all clients have returned
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Let the clients take a snapshot instead of returning with a cursor
    #[arg(long)]
    snapshot: bool,
    /// The clients' filter, such as {"room":"r7"}; without it, they ask for everything
    #[arg(long, value_parser = parse_filters)]
    filters: Option<u64>,
    /// How many rooms the documents are in, by turns: r0, r1 and so on
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    rooms: u64,
    /// Declare an index on the rooms
    #[arg(long)]
    index: bool,
    /// Let the writers write to the collection that the clients watch; without it, they write to another one, so that
    /// returning is measured without fan-out
    #[arg(long, conflicts_with = "snapshot")]
    same: bool,
    /// The server's process id, to print its memory
    #[arg(long)]
    pid: Option<u32>,
    /// Bytes of a document's JSON
    #[arg(long, default_value_t = 300, value_parser = parse_size)]
    size: usize,
}

/// Runs the writers alone, then while the clients return, then beside the clients when they are live. The collection must be
/// new.
pub async fn run(args: ReconnectsArgs) -> Result<Verdict, Box<dyn Error>> {
    let pid = args.pid;
    let memory = || pid.map(Memory::of).transpose();
    let (writers, end) = (usize::from(args.writers), args.documents + args.behind);
    let run = Run::prepare(args).await?;
    let ReconnectsArgs { clients, documents, behind, seconds, size, .. } = run.args;
    println!(
        "reconnects: {} clients, half over WebSocket, half over SSE; {writers} writers of {} collection, documents \
         of {size} bytes",
        grouped(clients.into()),
        if run.args.same { "the same" } else { "another" },
    );
    println!(
        "each {} {}; {} documents, {} changes since",
        if run.args.snapshot { "takes a snapshot of" } else { "goes on from its cursor with" },
        run.rooms
            .chosen
            .map_or("everything".to_owned(), |room| format!("room r{room} of {}", run.rooms.count)),
        grouped(documents),
        grouped(behind)
    );
    let duration = Duration::from_secs(seconds);
    let alone = run.write(duration).await?;

    let request = run.leave().await?;
    let account = match &request {
        Request::Cursor { .. } => Account::in_order(run.rounds.written(documents)),
        Request::Snapshot => Account::once(end),
    };
    run.create(documents..end).await?;
    let before = memory()?;
    let (site, rooms) = (run.site.clone(), run.rooms);
    let mut returning =
        ReturningClients::start(Plan { site, clients: clients as usize, rooms, request, account });
    let settle = async {
        let is_settled = timeout(PATIENCE, returning.settled()).await.is_ok();
        run.rounds.is_over.set(true);
        is_settled
    };
    let (beside, is_settled) = tokio::join!(run.write(PATIENCE + duration), settle);
    let (beside, after) = (beside?, memory()?);
    run.rounds.is_over.set(false);
    let live = run.write(duration).await?;
    let received = returning.stop(if run.args.same { run.rounds.written(end) } else { vec![end] })?;

    print_writers(&[("alone", &alone), ("as they return", &beside), ("with them live", &live)]);
    if let Some((before, after)) = before.zip(after) {
        let ([before, after], peak) = ([before, after].map(|memory| memory.resident), after.peak);
        println!("{:<18}{before:>9.1} MB before, {after:.1} MB after, {peak:.1} MB at most", "memory");
    }
    if !is_settled {
        println!("{:<18}{:>9}   not all had caught up within {PATIENCE:?}", "given up", 1);
    }
    let verdict = print_received(&received, beside.elapsed);
    Ok([&alone, &beside, &live].iter().fold(verdict, |verdict, tally| verdict.and(tally.verdict())))
}

/// The state that all steps share.
struct Run {
    args: ReconnectsArgs,
    site: Site,
    rooms: Rooms,
    rounds: Rc<Rounds>,
}

impl Run {
    /// Creates the collection and the documents that exist before the clients leave.
    async fn prepare(args: ReconnectsArgs) -> Result<Self, Box<dyn Error>> {
        let site = Site {
            server: args.site.url.clone(),
            key: args.site.key.clone(),
            collection: args.site.collection.clone(),
        };
        let rooms = Rooms { count: args.rooms, chosen: args.filters };
        if rooms.chosen.is_some_and(|room| room >= rooms.count) {
            return Err(format!("there are {} rooms, the first is r0", rooms.count).into());
        }
        let rounds = Rc::new(Rounds {
            serials: RefCell::new(vec![0; args.writers.into()]),
            is_over: Cell::new(false),
        });
        let run = Self { args, site, rooms, rounds };
        let mut client = Client::connect(&run.site.server).await?;
        let indexes = if run.args.index { json!([{ "fields": ["room"] }]) } else { json!([]) };
        let new = json!({ "name": run.site.collection, "indexes": indexes });
        let status = post(&run.site, &mut client, "/collections", &new).await?;
        if status != 201 {
            return Err(format!(
                "the server answered the new collection with {status}; name a collection that does not exist"
            )
            .into());
        }
        run.create(0..run.args.documents).await?;
        wait_for_indexes(&run.site, &mut client, &run.site.collection).await?;
        Ok(run)
    }

    /// Creates a document for each number of the range, in order; its serial is one more than the number.
    async fn create(&self, numbers: Range<u64>) -> Result<(), Box<dyn Error>> {
        let mut client = Client::connect(&self.site.server).await?;
        let path = format!("/collections/{}/batch", self.site.collection);
        let each = (BATCH_BYTES / self.args.size).clamp(1, BATCH);
        for begin in numbers.clone().step_by(each) {
            let serials = begin + 1..=numbers.end.min(begin + each as u64);
            let documents: Vec<_> = serials.map(|serial| self.document(serial)).collect();
            let status = post(&self.site, &mut client, &path, &json!({ "documents": documents })).await?;
            if status != 201 {
                return Err(format!("the server answered a batch of documents with {status}").into());
            }
        }
        Ok(())
    }

    /// Returns a document of writer 0, which creates documents beforehand and is not measured.
    fn document(&self, serial: u64) -> Value {
        let mut document = json!({
            "room": format!("r{}", serial % self.rooms.count), "serial": serial, "writer": 0, "pad": "",
        });
        let pad = self.args.size.saturating_sub(document.to_string().len());
        document["pad"] = json!("x".repeat(pad));
        document
    }

    /// Returns what the clients return with if they leave now.
    async fn leave(&self) -> Result<Request, Box<dyn Error>> {
        if self.args.snapshot {
            return Ok(Request::Snapshot);
        }
        let mut client = Client::connect(&self.site.server).await?;
        let list =
            get(&self.site, &mut client, &format!("/collections/{}?limit=1", self.site.collection)).await?;
        let cursor = list["cursor"].as_str().ok_or("the list has no cursor")?.to_owned();
        Ok(Request::Cursor { cursor, until: self.args.documents + self.args.behind })
    }

    /// Runs the writers until the time is up or they are told to stop.
    async fn write(&self, duration: Duration) -> Result<Tally, Box<dyn Error>> {
        let load = Load {
            clients: self.args.writers.into(),
            duration,
            expected_status: 201,
            interval: Duration::ZERO,
        };
        let mut site = self.site.clone();
        if !self.args.same {
            site.collection.push_str("-others");
        }
        let writer = |index| Writer {
            request: CreateRequest::new(&site, self.args.size),
            index,
            rooms: self.rooms.count,
            rounds: Rc::clone(&self.rounds),
        };
        Ok(load::run(&site.server, &load, writer).await?)
    }
}

/// How far the writers are.
struct Rounds {
    /// How many documents each has created.
    serials: RefCell<Vec<u64>>,
    /// Whether the writers must stop.
    is_over: Cell<bool>,
}

impl Rounds {
    /// Returns the last number of each writer, with `first` for writer 0.
    fn written(&self, first: u64) -> Vec<u64> {
        std::iter::once(first).chain(self.serials.borrow().iter().copied()).collect()
    }
}

/// Creates one numbered document after the other. A number whose document was refused is used again.
struct Writer {
    request: CreateRequest,
    index: usize,
    rooms: u64,
    rounds: Rc<Rounds>,
}

impl Workload for Writer {
    fn next_request(&mut self) -> Option<&[u8]> {
        if self.rounds.is_over.get() {
            return None;
        }
        let (serial, writer) = (self.rounds.serials.borrow()[self.index] + 1, self.index + 1);
        let room = serial % self.rooms;
        Some(
            self.request.render(format_args!("\"room\":\"r{room}\",\"serial\":{serial},\"writer\":{writer}")),
        )
    }

    fn succeed(&mut self) {
        self.rounds.serials.borrow_mut()[self.index] += 1;
    }
}

/// Prints the writers' rates, and the later ones as fractions of the first.
fn print_writers(tallies: &[(&str, &Tally)]) {
    let (_, alone) = tallies[0];
    for (name, tally) in tallies {
        tally.print_line(name);
    }
    for (name, tally) in &tallies[1..] {
        println!(
            "{name:<18}{:>9.2}   of the writes/s alone; p99 {:.2} times as long",
            tally.rate() / alone.rate(),
            tally.p99_nanos() as f64 / alone.p99_nanos() as f64
        );
    }
    for (_, tally) in tallies {
        if tally.verdict() == Verdict::Failures {
            tally.print_failures();
        }
    }
}

/// Prints what the clients got while the writers wrote for `elapsed`.
fn print_received(received: &Received, elapsed: Duration) -> Verdict {
    let sum = |count: fn(&Account) -> u64| received.accounts.iter().map(count).sum::<u64>();
    let documents = sum(|account| account.received);
    println!(
        "{:<18}{:>9}   in {:.2} s   {}",
        "caught up",
        grouped(received.caught_up.count()),
        elapsed.as_secs_f64(),
        received.caught_up.summary()
    );
    println!(
        "{:<18}{:>9}   documents, {} MB",
        "received",
        grouped(documents),
        grouped(received.bytes / 1_000_000)
    );
    println!("{:<18}{:>9.2} s after the last write", "all received", received.rest.as_secs_f64());
    let wrong = [
        ("lost", sum(|account| account.lost)),
        ("again or late", sum(|account| account.repeated)),
        ("not asked for", sum(|account| account.strange)),
    ];
    for (name, count) in wrong {
        println!("{name:<18}{:>9}", grouped(count));
    }
    for (reason, &count) in &received.ended {
        println!("{:<18}{:>9}   {reason}", "ended early", grouped(count));
    }
    let is_right = wrong.iter().all(|&(_, count)| count == 0) && received.ended.is_empty();
    if is_right && documents > 0 { Verdict::Clean } else { Verdict::Failures }
}

/// Reads the number of the room that a filter asks for.
fn parse_filters(text: &str) -> Result<u64, String> {
    let filters: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let members = filters.as_object().filter(|members| members.len() == 1);
    let room = members.and_then(|members| members.get("room")?.as_str()?.strip_prefix('r')?.parse().ok());
    room.ok_or_else(|| r#"expected one room, as {"room":"r7"}"#.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_asks_for_one_room() {
        let cases = [
            (r#"{"room":"r7"}"#, Some(7), "a room"),
            (r#"{"room":"r7","serial":1}"#, None, "something else as well"),
            (r#"{"room":7}"#, None, "not the name of a room"),
            ("r7", None, "not JSON"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(parse_filters(text).ok(), expected, "{why}");
        }
    }
}
