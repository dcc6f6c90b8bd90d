//! PostgreSQL: the servers of a URL, sessions with their settings, and what is checked of a database before it is used.
//!
//! Reading order: [`url`], [`settings`], [`session`], `pooling`, `connections`, `capacity`, [`error`], this file.

mod capacity;
mod connections;
pub(in crate::store) mod error;
mod pooling;
pub(in crate::store) mod session;
pub(in crate::store) mod settings;
pub(in crate::store) mod url;

use std::time::Duration;

use connections::{POINT, RELAY, SCAN, STREAM};
use error::OpenError;
use session::Opener;
use settings::Purpose;
use url::PostgresUrl;

use crate::store::db::{
    connection::{Connection, IdleConnection, Source},
    durability::Durability,
    pools::{ACQUIRE_TIMEOUT, Lanes, Pools},
    readers::Readers,
    writes_in_progress::WritesInProgress,
};

/// Checks the database that a URL names, and opens its writer's session. The others are opened when they are used.
///
/// # Errors
/// [`OpenError`].
pub(super) async fn connect(
    url: PostgresUrl,
    durability: Durability,
    query_limit: Duration,
) -> Result<Pools, OpenError> {
    for at in url.ignored {
        tracing::warn!("parameter {at} of DATABASE_URL is unknown and ignored");
    }
    let (write, point, scan) =
        (Purpose::Write(durability), Purpose::Point(query_limit), Purpose::Scan(query_limit));
    let opener = Opener::new(url.servers);
    let mut writer = opener.open(write).await?;
    let mut reader = opener.open(point).await?;
    pooling::check(&opener, &mut writer, &mut reader).await?;
    capacity::check(&mut reader).await;

    let lane = |count, purpose| Readers::postgres(count, ACQUIRE_TIMEOUT, opener.clone(), purpose);
    let scans = lane(SCAN, scan);
    let points = lane(POINT, point);
    points.put(reader);
    let idle = IdleConnection::default();
    idle.put(Connection::Postgres(writer));
    Ok(Pools {
        writes: Source::Postgres(opener.clone(), write),
        idle,
        in_progress: WritesInProgress::default(),
        checkpoints: None,
        lanes: Lanes {
            point: points,
            index: scans.clone(),
            scan: scans,
            stream: lane(STREAM, scan),
            relay: lane(RELAY, point),
        },
    })
}
