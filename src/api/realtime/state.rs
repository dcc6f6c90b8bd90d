//! The state that all streams of the process share.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::admission::Admission;
use crate::{api::cocobase::rooms::bus::Bus, auth::Rates, live::Streams};

/// The state that all streams of the process share. Cheap to clone.
#[derive(Clone)]
pub struct Realtime {
    /// The reads of live streams.
    pub streams: Streams,
    /// Decides who may open a stream.
    pub admission: Admission,
    /// Bounds how many streams each caller opens.
    pub rates: Rates,
    /// How often an idle connection is written to.
    pub heartbeat: Duration,
    /// Knows who is in which room.
    pub bus: Arc<dyn Bus>,
    /// True once the server stops.
    pub stop: watch::Receiver<bool>,
}
