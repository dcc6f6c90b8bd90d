//! The faults. Each kind comes again and again, at most once at a time, and ends by itself.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::{
    harness::{Dice, postgres::Cluster},
    world::{NODES, Node, World},
};

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// `kill -9`, and a new start.
    Kill,
    /// SIGSTOP, also for longer than a node may hold up the writes of the others.
    Sleep,
    /// The database crashes and is started again.
    CrashDatabase,
    /// The database ends sessions of one node or of all.
    EndSessions,
    /// The network between one node and the database goes silent, or forgets its connections.
    SilentNetwork,
    /// The network between one node and the database is slow.
    SlowNetwork,
    /// All streams are cut.
    CutStreams,
}

pub const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Sleep,
    Fault::CrashDatabase,
    Fault::EndSessions,
    Fault::SilentNetwork,
    Fault::SlowNetwork,
    Fault::CutStreams,
];

impl Fault {
    /// Causes this fault again and again until then. Returns the dice for the next round.
    pub async fn repeat(self, world: Arc<World>, mut dice: Dice, until: Instant) -> Dice {
        loop {
            sleep(dice.milliseconds(self.pause())).await;
            // The dice are thrown for a round that is over, too: what happens next must not depend on this machine's speed.
            let mut once = dice.split();
            if Instant::now() >= until {
                return dice;
            }
            self.once(&world, &mut once).await;
        }
    }

    /// The milliseconds between two of this kind.
    fn pause(self) -> std::ops::Range<usize> {
        match self {
            Self::Kill => 500..5000,
            Self::Sleep => 100..4000,
            Self::CrashDatabase => 1500..9000,
            Self::EndSessions => 200..3000,
            Self::SilentNetwork => 200..4000,
            Self::SlowNetwork => 500..6000,
            Self::CutStreams => 200..4000,
        }
    }

    async fn once(self, world: &Arc<World>, dice: &mut Dice) {
        match self {
            Self::Kill => kill(world, dice).await,
            Self::Sleep => fall_asleep(world, dice).await,
            Self::CrashDatabase => crash_database(world, dice).await,
            Self::EndSessions => end_sessions(world, dice).await,
            Self::SilentNetwork => silence(world, dice).await,
            Self::SlowNetwork => slow_down(world, dice).await,
            Self::CutStreams => {
                world.history.count("times all streams were cut");
                world.cuts.send_modify(|cuts| *cuts += 1);
            }
        }
    }
}

async fn kill(world: &Arc<World>, dice: &mut Dice) {
    let (node, down) = (&world.nodes[dice.under(NODES)], dice.milliseconds(0..3000));
    let _taken = node.is_taken.lock().await;
    let _disturbance = node.disturb();
    world.history.note(format_args!("node {} is killed for {down:?}", node.number));
    world.history.count("kills");
    let process = node.process.lock().unwrap().take();
    let mut process = process.unwrap();
    let ended = process.ended();
    assert_eq!(ended, None, "node {} has ended by itself", node.number);
    process.kill();
    sleep(down).await;
    let begun = Instant::now();
    world.start_node(node.number).await;
    world.history.note(format_args!("node {} serves again after {:?}", node.number, begun.elapsed()));
}

async fn fall_asleep(world: &Arc<World>, dice: &mut Dice) {
    let (node, time) = (&world.nodes[dice.under(NODES)], dice.milliseconds(200..6000));
    let _taken = node.is_taken.lock().await;
    let _disturbance = node.disturb();
    world.history.note(format_args!("node {} sleeps for {time:?}", node.number));
    world.history.count("sleeps");
    signal(node, true);
    sleep(time).await;
    signal(node, false);
    world.history.note(format_args!("node {} wakes up", node.number));
}

fn signal(node: &Node, sleeps: bool) {
    let process = node.process.lock().unwrap();
    let process = process.as_ref().unwrap();
    if sleeps { process.fall_asleep() } else { process.wake_up() }
}

async fn crash_database(world: &Arc<World>, dice: &mut Dice) {
    let _disturbances: Vec<_> = world.nodes.iter().map(Node::disturb).collect();
    // A process of the database that crashes takes all sessions with it, and the database recovers by itself.
    if dice.under(3) == 0 {
        let backends =
            "SELECT pid::bigint FROM pg_stat_activity WHERE application_name LIKE 'coir-%' ORDER BY pid";
        let Some(backends) = ask(world, backends).await.filter(|backends| !backends.is_empty()) else {
            return;
        };
        let backend = backends[dice.under(backends.len())];
        world.history.note(format_args!("process {backend} of the database crashes"));
        world.history.count("crashes of one process of the database");
        // The process may have ended since.
        Command::new("kill").args(["-9", &backend.to_string()]).status().unwrap();
        while ask(world, "SELECT 1::bigint").await.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        world.history.note("the database has recovered");
        return;
    }
    let down = dice.milliseconds(0..4000);
    world.history.note(format_args!("the database crashes for {down:?}"));
    world.history.count("crashes of the database");
    world.control(Cluster::stop).await;
    sleep(down).await;
    world.control(Cluster::start_again).await;
    world.history.note("the database is back");
}

async fn end_sessions(world: &Arc<World>, dice: &mut Dice) {
    let (node, which) = (dice.under(NODES), dice.under(4));
    let (what, condition) = match which {
        0 => ("all sessions of all nodes".to_owned(), "LIKE 'coir-%'".to_owned()),
        1 => (format!("all sessions of node {node}"), format!("= 'coir-{node}'")),
        2 => (format!("every second session of node {node}"), format!("= 'coir-{node}' AND pid % 2 = 0")),
        _ => {
            ("sessions with a transaction".to_owned(), "LIKE 'coir-%' AND xact_start IS NOT NULL".to_owned())
        }
    };
    let _disturbances: Vec<_> = world.nodes.iter().map(Node::disturb).collect();
    let sql = format!(
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name {condition}"
    );
    if let Some(count) = ask(world, &sql).await {
        world.history.note(format_args!("{what} are ended: {}", count[0]));
        world.history.count("times sessions were ended");
    }
}

/// Asks the database for integers; `None` while it is away.
async fn ask(world: &World, sql: &str) -> Option<Vec<i64>> {
    let mut connection = PgConnection::connect(&world.cluster.url()).await.ok()?;
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.ok()
}

async fn silence(world: &Arc<World>, dice: &mut Dice) {
    let (node, how) = (&world.nodes[dice.under(NODES)], dice.under(4));
    let time = dice.milliseconds(200..6000);
    let _disturbance = node.disturb();
    let network = &node.network;
    let what = match how {
        0 => {
            network.forget_connections();
            "forgets its connections"
        }
        1 => {
            network.silence_answers();
            "is silent in one direction"
        }
        _ => {
            network.silence();
            "is silent"
        }
    };
    world.history.note(format_args!("the network of node {} {what} for {time:?}", node.number));
    world.history.count("silent networks");
    sleep(time).await;
    if dice.under(2) == 0 {
        network.cut();
    }
    network.resume();
    world.history.note(format_args!("the network of node {} passes again", node.number));
}

async fn slow_down(world: &Arc<World>, dice: &mut Dice) {
    let node = &world.nodes[dice.under(NODES)];
    let (delay, time) = (dice.milliseconds(2..60), dice.milliseconds(500..5000));
    let _disturbance = node.disturb();
    world.history.note(format_args!("the network of node {} takes {delay:?} for {time:?}", node.number));
    world.history.count("slow networks");
    node.network.delay(delay);
    sleep(time).await;
    node.network.delay(Duration::ZERO);
}
