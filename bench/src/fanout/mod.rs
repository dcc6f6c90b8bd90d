//! `fanout`: how soon and how completely the subscribers receive what writers create.
//!
//! In reading order: [`plan`], [`received`] (the counts), [`subscriber`] (one), [`thread`] (all of them), this file.

mod plan;
mod received;
mod subscriber;
mod thread;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::sleep;

use crate::SiteArgs;
use crate::create::{CreateRequest, MIN_DOCUMENT_BYTES, create_first_document, parse_size};
use crate::http::Site;
use crate::load::{self, Load, Workload};
use crate::report::{Verdict, grouped, grouped_rate, per_second};
use crate::stream::Transport;
use plan::Plan;
use received::Received;
use thread::Subscribers;

/// How long events may take after the last write.
const SETTLE: Duration = Duration::from_secs(3);
/// How much longer they may take if some subscribers stalled.
const CATCH_UP: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct FanoutArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many connections subscribe
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,
    /// How many clients write at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    writers: u16,
    /// How long they write
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How subscribers are connected
    #[arg(long, default_value = "ws")]
    transport: Transport,
    /// Split subscribers and documents into this many rooms by a filter; without it, everyone gets everything
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rooms: Option<u32>,
    /// Writes per second of all writers together; without it, each writes as fast as the server answers, and the latency
    /// is that of a saturated server
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How many of the subscribers read nothing at first; they count for losses and not for latency
    #[arg(long, default_value_t = 0)]
    stalled: u32,
    /// How many seconds they read nothing; fewer than 45, after which the server closes the connection
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..45))]
    stall_seconds: u64,
    /// Bytes of a document's JSON
    #[arg(long, default_value_t = 300, value_parser = parse_size)]
    size: usize,
}

/// Subscribes, runs the writers, waits for the rest of the events, and compares.
pub async fn run(args: FanoutArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    let writers = usize::from(args.writers);
    let rooms = args.rooms.map(|rooms| rooms as usize);
    let interval = args.rate.map_or(0.0, |rate| writers as f64 / f64::from(rate));
    // Only a collection that exists can be subscribed to.
    create_first_document(&site, MIN_DOCUMENT_BYTES).await?;

    let epoch = Instant::now();
    let plan = Plan {
        site: site.clone(),
        subscribers: args.subscribers as usize,
        rooms,
        transport: args.transport,
        stalled: args.stalled as usize,
        stall: Duration::from_secs(args.stall_seconds),
        epoch,
    };
    let subscribers = Subscribers::start(plan).await?;
    println!(
        "fanout: {} subscribers over {}, {writers} writers, {} rooms, documents of {} bytes; subscribed in {:.1} s",
        grouped(args.subscribers.into()),
        match args.transport {
            Transport::Ws => "WebSocket",
            Transport::Sse => "SSE",
        },
        rooms.map_or("no".to_owned(), |rooms| grouped(rooms as u64)),
        args.size,
        epoch.elapsed().as_secs_f64()
    );

    let load = Load {
        clients: writers,
        duration: Duration::from_secs(args.seconds),
        expected_status: 201,
        interval: Duration::from_secs_f64(interval),
    };
    let rounds = Rc::new(Rounds {
        epoch,
        next_room: Cell::new(0),
        acknowledged: RefCell::new(vec![0; rooms.unwrap_or(1)]),
    });
    let start = epoch.elapsed();
    let writer =
        |_| Writer { request: CreateRequest::new(&site, args.size), room: 0, rounds: Rc::clone(&rounds) };
    let tally = load::run(&site.server, &load, writer).await?;
    // Subscribers that stalled have yet to read what the others have read long ago.
    sleep(SETTLE + if args.stalled > 0 { CATCH_UP } else { Duration::ZERO }).await;
    let received = subscribers.stop()?;

    tally.print_line("writes");
    tally.print_failures();
    let delivery = compare(&received, &rounds.acknowledged.borrow());
    print_delivery(&received, start, &delivery);
    let is_complete = delivery.lost == 0 && delivery.extra == 0 && received.ended.is_empty();
    Ok(if is_complete { tally.verdict() } else { Verdict::Failures })
}

/// The next room, and how many documents of each room the server has acknowledged.
struct Rounds {
    epoch: Instant,
    next_room: Cell<usize>,
    acknowledged: RefCell<Vec<u64>>,
}

/// Creates documents in one room after the other, in turn with the other writers.
struct Writer {
    request: CreateRequest,
    room: usize,
    rounds: Rc<Rounds>,
}

impl Workload for Writer {
    fn next_request(&mut self) -> Option<&[u8]> {
        self.room = self.rounds.next_room.get();
        let rooms = self.rounds.acknowledged.borrow().len();
        self.rounds.next_room.set((self.room + 1) % rooms);
        let sent = self.rounds.epoch.elapsed().as_nanos() as u64;
        Some(self.request.render(format_args!("\"room\":{},\"sent\":{sent}", self.room)))
    }

    fn succeed(&mut self) {
        self.rounds.acknowledged.borrow_mut()[self.room] += 1;
    }
}

/// Events compared with acknowledged writes, summed over the subscribers.
struct Delivery {
    expected: u64,
    received: u64,
    lost: u64,
    /// Events beyond the acknowledged writes: sent twice, or about a write whose answer was lost.
    extra: u64,
}

fn compare(received: &Received, acknowledged: &[u64]) -> Delivery {
    let mut delivery = Delivery { expected: 0, received: 0, lost: 0, extra: 0 };
    for (index, &count) in received.counts.iter().enumerate() {
        let expected = acknowledged[index % acknowledged.len()];
        delivery.expected += expected;
        delivery.received += count;
        delivery.lost += expected.saturating_sub(count);
        delivery.extra += count.saturating_sub(expected);
    }
    delivery
}

fn print_delivery(received: &Received, start: Duration, delivery: &Delivery) {
    let elapsed = received.last_event.saturating_sub(start);
    println!(
        "{:<18}{:>9} /s   ({} of {} expected, the last after {:.1} s)",
        "deliveries",
        grouped_rate(per_second(delivery.received, elapsed)),
        grouped(delivery.received),
        grouped(delivery.expected),
        elapsed.as_secs_f64()
    );
    println!("{:<18}{:>9}", "lost", grouped(delivery.lost));
    println!("{:<18}{:>9}", "extra", grouped(delivery.extra));
    println!("{:<18}{:>9}   {}", "send to event", "", received.latencies.summary());
    for (reason, &count) in &received.ended {
        println!("{:<18}{:>9}   {reason}", "ended early", grouped(count));
    }
    if received.others.0 > 0 {
        println!("{:<18}{:>9}   first: {}", "other messages", grouped(received.others.0), received.others.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latencies;

    #[test]
    fn an_extra_event_of_one_subscriber_does_not_hide_a_loss_of_another() {
        let received = Received {
            counts: vec![4, 2, 5, 2],
            latencies: Latencies::default(),
            last_event: Duration::ZERO,
            others: (0, String::new()),
            ended: Default::default(),
        };
        let delivery = compare(&received, &[4, 3]);
        assert_eq!((delivery.expected, delivery.received), (14, 13));
        assert_eq!((delivery.lost, delivery.extra), (2, 1));
    }
}
