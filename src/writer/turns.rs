//! The order in which waiting mutations are taken: weighted fair queueing, so that cheap ones don't wait for dear ones.
//!
//! A lane is one caller's mutations of one collection. A mutation is due when its lane has had its share of the writer's time:
//! at the virtual time when the lane was last due, plus what the mutation is expected to cost. The expectation is the mean of
//! what the lane's mutations have cost, so a lane whose documents are large or whose operators take long is soon known. Nobody
//! waits for ever, because every lane's due times pass.
//!
//! A mutation that is large or expected to take long is dear. Cheap ones never share a batch with dear ones.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    time::Duration,
};

use super::{
    mutation::Operation,
    request::{Kind, Request, Turn},
};

/// The least cost of an operation: its share of a statement and of a commit.
const LEAST_COST: u64 = 10_000;
/// A mutation counts at most so many times the mean of its lane.
const GROWTH: u64 = 16;
/// The most lanes that are remembered, unless more have mutations waiting.
const LANES: usize = 4096;

/// The bytes and the expected cost from which on a mutation is dear.
const DEAR_BYTES: usize = 256 * 1024;
const DEAR_COST: u64 = 4_000_000;

/// A mutation that waits.
struct Waiting(Request);

#[derive(Default)]
struct Lane {
    /// The virtual time at which it has had its share for all of its mutations so far.
    due: u64,
    /// The virtual time at which its last mutation is due. Its mutations are taken in the order of their arrival.
    last: u64,
    /// The mean cost of its mutations, in nanoseconds; the newest count most.
    mean: u64,
    /// How many of its mutations wait among the dear ones.
    dear: usize,
}

/// The mutations that wait for the next batch.
#[derive(Default)]
pub(super) struct Turns {
    cheap: BinaryHeap<Waiting>,
    dear: BinaryHeap<Waiting>,
    lanes: HashMap<u64, Lane>,
    hasher: RandomState,
    /// The virtual time at which the last mutation that was taken could begin.
    now: u64,
    arrivals: u64,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.cheap.is_empty() && self.dear.is_empty()
    }

    /// Whether all that wait are dear.
    pub(super) fn are_dear(&self) -> bool {
        self.cheap.is_empty() && !self.dear.is_empty()
    }

    /// Returns the kind of the mutation that is due first.
    pub(super) fn first(&self) -> Option<Kind> {
        match (self.cheap.peek(), self.dear.peek()) {
            (None, None) => None,
            (cheap, dear) if cheap >= dear => Some(Kind::Cheap),
            _ => Some(Kind::Dear),
        }
    }

    /// Adds a mutation that has arrived.
    pub(super) fn push(&mut self, mut request: Request) {
        let mutation = &request.mutation;
        let collection = mutation.operations.first().and_then(Operation::collection);
        let id = self.hasher.hash_one((&mutation.project, &mutation.caller, collection));
        if self.lanes.len() >= LANES && !self.lanes.contains_key(&id) {
            let now = self.now;
            self.lanes.retain(|_, lane| lane.due > now || lane.dear > 0);
        }
        let lane = self.lanes.entry(id).or_default();
        let operations = mutation.operations.len().max(1) as u64;
        let cost = lane.mean.max(operations * LEAST_COST + request.bytes as u64);
        lane.due = lane.due.max(self.now) + cost;
        lane.last = lane.due.max(lane.last + 1);
        self.arrivals += 1;
        // The mutations of a lane keep their order, so cheap ones wait with the dear ones before them.
        let is_dear = request.bytes > DEAR_BYTES || cost > DEAR_COST || lane.dear > 0;
        let kind = if is_dear { Kind::Dear } else { Kind::Cheap };
        request.turn = Turn { due: lane.last, arrival: self.arrivals, lane: id, cost, kind };
        self.put_back(request);
    }

    /// Puts back a mutation that was taken too early. It keeps its place.
    pub(super) fn put_back(&mut self, request: Request) {
        match request.turn.kind {
            Kind::Cheap => self.cheap.push(Waiting(request)),
            Kind::Dear => {
                if let Some(lane) = self.lanes.get_mut(&request.turn.lane) {
                    lane.dear += 1;
                }
                self.dear.push(Waiting(request));
            }
        }
    }

    /// Takes the mutation of a kind that is due first.
    pub(super) fn pop(&mut self, kind: Kind) -> Option<Request> {
        let Waiting(request) = match kind {
            Kind::Cheap => self.cheap.pop()?,
            Kind::Dear => self.dear.pop()?,
        };
        if kind == Kind::Dear
            && let Some(lane) = self.lanes.get_mut(&request.turn.lane)
        {
            lane.dear -= 1;
        }
        Some(request)
    }

    /// Notes that a mutation begins, and won't be put back.
    pub(super) fn begin(&mut self, turn: Turn) {
        self.now = self.now.max(turn.due - turn.cost);
    }

    /// Notes what a mutation has really cost.
    pub(super) fn note_cost(&mut self, turn: Turn, actual: Duration) {
        let actual = u64::try_from(actual.as_nanos()).unwrap_or(u64::MAX);
        let Some(lane) = self.lanes.get_mut(&turn.lane) else { return };
        // A lane that becomes dear is known after a few mutations, and is forgiven slowly. A single one says little: on a busy
        // machine, it is mostly the time for which the thread had no processor.
        let believed = actual.min(GROWTH * (lane.mean + LEAST_COST));
        lane.mean =
            if believed > lane.mean { (lane.mean + believed) / 2 } else { (7 * lane.mean + believed) / 8 };
        lane.due = (lane.due + actual).saturating_sub(turn.cost);
    }
}

impl Ord for Waiting {
    /// The greatest is taken first, which is the one that is due first.
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |Waiting(request): &Self| (request.turn.due, request.turn.arrival);
        place(other).cmp(&place(self))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}
