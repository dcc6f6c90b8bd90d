//! The hub's ends of the channels to its shards. Nobody waits for a shard.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::to_shard::ToShard;
use crate::{
    domain::{KeyEnd, KeyId},
    supervision::Part,
};

/// Batches of messages that may wait for a shard. Beyond it, the subscriptions of the project that sends go back to the log.
const MAX_BATCHES: usize = 1024;
/// Bytes of the events that may wait for a shard, with the same effect. One batch may always wait.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The shards of all worker threads. Shared by the tasks of all projects.
#[derive(Default)]
pub(super) struct Shards(RwLock<BTreeMap<u32, ShardSender>>);

struct ShardSender {
    sender: mpsc::UnboundedSender<Batch>,
    load: Arc<Load>,
}

/// A shard's end of its channel.
pub(super) struct ShardReceiver {
    receiver: mpsc::UnboundedReceiver<Batch>,
    load: Arc<Load>,
}

/// The messages that wait for a shard.
#[derive(Default)]
struct Load {
    batches: AtomicUsize,
    bytes: AtomicUsize,
    /// Batches that were taken so far.
    taken: AtomicU64,
    /// What `taken` was when it was last seen to have changed, or nothing waited, and when that was.
    seen: Mutex<Option<(u64, Instant)>>,
}

/// Messages for one shard, with the bytes that they are charged for.
#[derive(Default)]
pub(super) struct Batch {
    messages: Vec<ToShard>,
    bytes: usize,
}

/// The shard has too much to do, so that a batch was not sent.
pub(super) struct Overrun;

impl Batch {
    /// Adds a message that is charged `bytes` beside its own size.
    pub(super) fn push(&mut self, message: ToShard, bytes: usize) {
        self.bytes += size_of::<ToShard>() + bytes;
        self.messages.push(message);
    }
}

/// Returns the name of a worker thread's shard, as the log calls it.
pub(super) fn part_of(shard: u32) -> Part {
    format!("shard of worker thread {shard}").into()
}

impl Shards {
    /// Adds a shard and returns its end of the channel.
    pub(super) fn add(&self, id: u32) -> ShardReceiver {
        let (sender, receiver) = mpsc::unbounded_channel();
        let load = Arc::new(Load::default());
        let mut shards = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shards.insert(id, ShardSender { sender, load: load.clone() });
        ShardReceiver { receiver, load }
    }

    /// Sends a batch to a shard. A shard that has ended gets nothing, since its subscriptions have ended with it.
    ///
    /// # Errors
    /// [`Overrun`] if too much waits for the shard already.
    pub(super) fn send(&self, shard: u32, batch: Batch) -> Result<(), Overrun> {
        let shards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = shards.get(&shard) else { return Ok(()) };
        if !link.load.admits(&batch) {
            return Err(Overrun);
        }
        link.send(batch);
        Ok(())
    }

    /// Sends a message to every shard, whatever waits there.
    pub(super) fn tell_all(&self, message: impl Fn() -> ToShard) {
        let shards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        shards.values().for_each(|link| link.tell(message()));
    }

    /// Sends a message to one shard, whatever waits there. The caller makes sure that there are few of them.
    pub(super) fn tell(&self, shard: u32, message: ToShard) {
        let shards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = shards.get(&shard) {
            link.tell(message);
        }
    }

    /// Lets the streams of a key end that have a revision of it before this one. Later events come after this.
    pub(super) fn end_key(&self, key: &KeyId, end: KeyEnd, before: u64) {
        self.tell_all(|| ToShard::KeyEnded { key: key.clone(), end, before });
    }

    /// Finds a shard that has taken nothing for `limit` although batches wait. Is to be called several times in that time.
    pub(super) fn find_still(&self, limit: Duration) -> Option<u32> {
        let shards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_still = |link: &ShardSender| !link.sender.is_closed() && link.load.stillness() > limit;
        shards.iter().find(|(_, link)| is_still(link)).map(|(id, _)| *id)
    }

    /// Whether a shard has so much to do that it is not to be sent more than it must be.
    pub(super) fn is_busy(&self, shard: u32) -> bool {
        let shards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&shard).is_some_and(|link| link.load.is_high())
    }
}

impl ShardSender {
    fn tell(&self, message: ToShard) {
        let mut batch = Batch::default();
        batch.push(message, 0);
        self.send(batch);
    }

    fn send(&self, batch: Batch) {
        self.load.batches.fetch_add(1, Ordering::Relaxed);
        self.load.bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        // It fails only if the worker thread has ended.
        let _ = self.sender.send(batch);
    }
}

impl ShardReceiver {
    /// Waits for batches and takes up to `limit`. Returns false when the hub has ended.
    pub(super) async fn receive(&mut self, batches: &mut Vec<Batch>, limit: usize) -> bool {
        self.receiver.recv_many(batches, limit).await > 0
    }

    /// Takes a batch apart, which then no longer counts as waiting.
    pub(super) fn open(&self, batch: Batch) -> Vec<ToShard> {
        self.load.batches.fetch_sub(1, Ordering::Relaxed);
        self.load.taken.fetch_add(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        batch.messages
    }
}

impl Load {
    fn admits(&self, batch: &Batch) -> bool {
        let batches = self.batches.load(Ordering::Relaxed);
        batches == 0
            || (batches < MAX_BATCHES && self.bytes.load(Ordering::Relaxed) + batch.bytes <= MAX_BYTES)
    }

    /// Returns for how long nothing was taken although something waits, as far as the calls of this have seen it.
    fn stillness(&self) -> Duration {
        let (waiting, taken) = (self.batches.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((before, at)) if before == taken && waiting > 0 => at.elapsed(),
            _ => {
                *seen = Some((taken, Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn is_high(&self) -> bool {
        self.batches.load(Ordering::Relaxed) > MAX_BATCHES / 2
            || self.bytes.load(Ordering::Relaxed) > MAX_BYTES / 2
    }
}
