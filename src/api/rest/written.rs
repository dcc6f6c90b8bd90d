//! The answer to a write of documents: the documents, or their minimal form.
//!
//! A write has happened when it is answered, so its answer is never refused. If the documents are large and the answers that
//! wait for their readers leave no room for them, the client is sent what it needs to go on: ids, versions and the cursor.

use std::cell::Cell;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use super::{
    shown::{WrittenBody, most_bytes},
    success::Success,
};
use crate::{
    api::{
        headers::add_cursor,
        request::preference::{self, prefers_minimal},
        response::{FREE_BYTES, json, small_json},
        state::ServerState,
    },
    auth::Principal,
    shares::BudgetPermit,
    writer::{Committed, Outcome},
};

/// Bytes of an answer around the documents.
const ENVELOPE_BYTES: usize = 64;

/// A write that is about to be answered.
pub struct Written<'a> {
    principal: &'a Principal,
    /// The outcome, with as much of the documents as is answered.
    pub committed: Committed,
    most_bytes: usize,
    /// Holds the bytes of a large answer, until there is one.
    permit: Cell<Option<BudgetPermit>>,
    is_minimal: bool,
}

/// The result of one operation.
#[derive(Serialize)]
#[serde(untagged)]
pub enum ResultBody<'a> {
    Document(WrittenBody<'a>),
    Deleted { id: &'a str, collection: &'a str },
}

impl<'a> Written<'a> {
    /// Chooses how much is answered: as much as the client wants and as there is room for.
    pub fn new(
        state: &ServerState,
        request: &HttpRequest,
        principal: &'a Principal,
        committed: Committed,
    ) -> Self {
        let most_bytes = committed.outcomes.iter().map(outcome_bytes).sum();
        let mut is_minimal = prefers_minimal(request) || committed.lacks_data();
        let mut permit = None;
        if most_bytes > FREE_BYTES && !is_minimal {
            permit = state.response_bodies.take(&principal.account(), most_bytes).ok();
            is_minimal = permit.is_none();
        }
        let committed = if is_minimal { committed.without_data() } else { committed };
        Self { principal, committed, most_bytes, permit: Cell::new(permit), is_minimal }
    }

    /// Returns the documents that were written, in the order of the operations.
    pub fn documents(&self) -> Vec<WrittenBody<'_>> {
        self.committed.outcomes.iter().filter_map(WrittenBody::of).collect()
    }

    /// Returns one result for each document that was written or deleted, in the order of the operations.
    pub fn results(&self) -> Vec<ResultBody<'_>> {
        let mut results = Vec::with_capacity(self.committed.outcomes.len());
        for outcome in &self.committed.outcomes {
            match outcome {
                Outcome::Deleted { collection, id } => {
                    results.push(ResultBody::Deleted { id: id.as_str(), collection: collection.as_str() });
                }
                // No other operation on a document writes none.
                outcome => results.extend(WrittenBody::of(outcome).map(ResultBody::Document)),
            }
        }
        results
    }

    /// Answers with the cursor of the write, and says if the documents are left out.
    pub fn respond(&self, mut response: HttpResponseBuilder, data: impl Serialize) -> HttpResponse {
        add_cursor(&mut response, self.principal, &self.committed);
        if self.is_minimal {
            response.insert_header(preference::APPLIED);
        }
        match self.permit.take() {
            Some(permit) => json(response, &Success::new(data), self.most_bytes, permit),
            None => small_json(response, &Success::new(data), self.most_bytes + ENVELOPE_BYTES),
        }
    }
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Document { document, .. } => most_bytes(document),
        Outcome::WithoutData { .. }
        | Outcome::Deleted { .. }
        | Outcome::Absent { .. }
        | Outcome::Collection(_)
        | Outcome::Removed { .. }
        | Outcome::Revoked
        | Outcome::Key(_)
        | Outcome::SignedIn { .. }
        | Outcome::Stolen { .. }
        | Outcome::SessionsEnded { .. }
        | Outcome::SecondFactor(_)
        | Outcome::WrongCode
        | Outcome::Settings(_)
        | Outcome::EmailTaken
        | Outcome::Done
        | Outcome::ClockAccepted => 0,
    }
}
