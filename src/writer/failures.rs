//! Background work that fails is told once, until it succeeds again: it is tried every few seconds, and an outage may last hours.

use std::collections::HashSet;

use crate::store::StoreError;

/// The work that failed when it was last tried, by what it does: "delete old entries".
#[derive(Default)]
pub(super) struct Failures(HashSet<&'static str>);

impl Failures {
    /// Notes that work failed.
    pub(super) fn begin(&mut self, work: &'static str, err: &StoreError) {
        if self.0.insert(work) {
            tracing::warn!("could not {work}; will retry, and say so when it succeeds: {err}");
        }
    }

    /// Notes that work succeeded.
    pub(super) fn end(&mut self, work: &'static str) {
        if self.0.remove(work) {
            tracing::info!("could {work} again");
        }
    }
}
