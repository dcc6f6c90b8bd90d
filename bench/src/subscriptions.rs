//! `subscriptions`: what a subscription takes of the server's memory, with very many of them.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::SiteArgs;
use crate::create::{CreateRequest, MIN_DOCUMENT_BYTES, create_first_document};
use crate::http::{Client, Site};
use crate::memory::Memory;
use crate::report::{Verdict, grouped};
use crate::stream::websocket::push_text;
use crate::stream::{EventStream, Message, SCRATCH_BYTES, StreamError};

/// How many connections subscribe at the same time.
const OPENING_AT_ONCE: usize = 16;
/// How many messages are sent before the answers are read, so that both fit into the sockets' buffers.
const ROUND: usize = 100;
/// How long the memory may take to settle, and events to come.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct SubscriptionsArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// How many WebSockets
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How many subscriptions each of them has (the server allows COIR_MAX_SUBSCRIPTIONS)
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    each: u32,
    /// How many different filters there are: `{"room": n}`
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rooms: u32,
    /// How many documents are written afterwards, each into another room
    #[arg(long, default_value_t = 100)]
    documents: u32,
    /// The server's process, whose memory is printed
    #[arg(long)]
    pid: u32,
}

/// The state that all connections share.
struct Shared {
    site: Site,
    each: usize,
    rooms: usize,
    scratch: RefCell<Vec<u8>>,
    opening: Semaphore,
    events: Cell<u64>,
}

/// Opens all connections, subscribes, and prints what that took; then writes documents and counts their events.
pub async fn run(args: SubscriptionsArgs) -> Result<Verdict, Box<dyn Error>> {
    let site = Site::from(args.site);
    create_first_document(&site, MIN_DOCUMENT_BYTES).await?;
    let (connections, each, rooms) = (args.connections as usize, args.each as usize, args.rooms as usize);
    let shared = Rc::new(Shared {
        site: site.clone(),
        each,
        rooms,
        scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
        opening: Semaphore::new(OPENING_AT_ONCE),
        events: Cell::new(0),
    });
    let total = connections * each;
    let (idle, before) = (Memory::of(args.pid)?, Instant::now());
    let (opened, mut outcomes) = mpsc::unbounded_channel();
    for index in 0..connections {
        spawn_local(follow(Rc::clone(&shared), index, opened.clone()));
    }
    for _ in 0..connections {
        outcomes.recv().await.expect("a sender is kept here")?;
    }
    let taken = before.elapsed();
    sleep(SETTLE).await;
    let memory = Memory::of(args.pid)?;
    println!(
        "subscriptions: {} on {} WebSockets, {} different filters; subscribed in {:.1} s",
        grouped(total as u64),
        grouped(connections as u64),
        grouped(rooms as u64),
        taken.as_secs_f64()
    );
    let each_bytes = (memory.resident - idle.resident) * 1e6 / total as f64;
    println!("{:<18}{:>9.0} bytes of memory", "a subscription", each_bytes);
    println!(
        "{:<18}{:>9.1} MB, before {:.1} MB, at most {:.1} MB",
        "the server", memory.resident, idle.resident, memory.peak
    );

    let mut client = Client::connect(&site.server).await?;
    let mut request = CreateRequest::new(&site, MIN_DOCUMENT_BYTES);
    let mut expected = 0;
    let written = Instant::now();
    for document in 0..args.documents as usize {
        let room = document * 7919 % rooms;
        let status = client.exchange(request.render(format_args!("\"room\":{room}"))).await?.status;
        if status != 201 {
            return Err(format!("the server answered a write with {status}").into());
        }
        expected += (room..total).step_by(rooms).count() as u64;
    }
    let written = written.elapsed();
    let deadline = Instant::now() + SETTLE;
    while shared.events.get() < expected && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    let events = shared.events.get();
    println!(
        "{:<18}{:>9}   ({} expected; {} documents were written in {:.2} s)",
        "events",
        grouped(events),
        grouped(expected),
        args.documents,
        written.as_secs_f64()
    );
    Ok(if events == expected { Verdict::Clean } else { Verdict::Failures })
}

/// Runs one connection: reports on `opened` whether its subscriptions have begun, then counts events.
async fn follow(shared: Rc<Shared>, index: usize, opened: mpsc::UnboundedSender<Result<(), StreamError>>) {
    let permit = shared.opening.acquire().await.expect("the semaphore is never closed");
    let opening = subscribe(&shared, index).await;
    drop(permit);
    match opening {
        Err(error) => {
            // The receiver leaves after the first failure, and the runtime ends then.
            let _ = opened.send(Err(error));
        }
        Ok(mut stream) => {
            let _ = opened.send(Ok(()));
            let count = |message: Message<'_>| {
                if let Message::Text(text) = message
                    && text.starts_with(br#"{"type":"event""#)
                {
                    shared.events.set(shared.events.get() + 1);
                }
                Ok(())
            };
            while stream.read_once(&shared.scratch, count).await.is_ok() {}
        }
    }
}

/// Opens a connection and all its subscriptions, which have begun when this returns.
async fn subscribe(shared: &Shared, index: usize) -> Result<EventStream, StreamError> {
    let mut frames = Vec::new();
    push_text(&mut frames, &json!({ "type": "auth", "token": shared.site.key }).to_string());
    let mut stream = EventStream::open_websocket(&shared.site, &frames).await?;
    let (mut sent, begun) = (0, Cell::new(0));
    while sent < shared.each {
        frames.clear();
        let end = shared.each.min(sent + ROUND);
        for number in sent..end {
            let room = (index * shared.each + number) % shared.rooms;
            let subscribe = json!({
                "type": "subscribe", "id": format!("s{number}"), "collection": shared.site.collection,
                "filters": { "room": room },
            });
            push_text(&mut frames, &subscribe.to_string());
        }
        sent = end;
        stream.send(&frames).await?;
        let count = |message: Message<'_>| {
            let Message::Text(text) = message else { return Ok(()) };
            if text.starts_with(br#"{"type":"error""#) {
                return Err(StreamError::Refused(String::from_utf8_lossy(text).into_owned()));
            }
            begun.set(begun.get() + usize::from(text.starts_with(br#"{"type":"subscribed""#)));
            Ok(())
        };
        while begun.get() < sent {
            stream.read_once(&shared.scratch, count).await?;
        }
    }
    Ok(stream)
}
