//! Reads what a batch needs from the database: log ends, collections, documents, and outcomes of idempotency keys.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    batch::Base,
    clock_trouble::ClockTrouble,
    error::WriteError,
    maintenance::oldest_outcome,
    mutation::{Mutation, Operation},
    request::Request,
    state::{IMAGE_BYTES, MAX_MUTATION_BYTES, Writer},
};
use crate::{
    domain::{DocumentId, DocumentKey, Email, SessionId, Timestamp, USERS},
    store::{
        StoreError, WriteTx, access,
        collections::{catalog::Catalog, indexes},
        documents::several::{self, Found, FoundAt},
        log::{
            changes::{self, PageSize},
            ends::{self, Locked},
            idempotency,
        },
    },
};

/// Bytes of stored outcomes that one batch reads; the one that crosses the bound is still read. Mutations that need others
/// wait for the next batch.
const OUTCOME_BYTES: usize = 8 * 1024 * 1024;
/// From here on a batch may take so long to apply that the database would take this process for asleep.
const DEAR_OPERATIONS: usize = 64;
const LONG_MUTATION: usize = 8;
const DEAR_BYTES: usize = 512 * 1024;
const DEAR_COST: Duration = Duration::from_millis(25);
/// How much of the log a batch may read to set a schema. It is small, because every write waits meanwhile.
const UNCHECKED: PageSize = PageSize { entries: 256, bytes: 2 * 1024 * 1024 };

impl Writer {
    /// Begins a transaction and reads what the mutations need. An idle connection may have died, so a new one is tried before
    /// any caller gets an error.
    pub(super) async fn begin(&mut self, batch: &mut Vec<Request>) -> Result<(WriteTx, Base), StoreError> {
        loop {
            let mut tx = self.db.begin_write().await?;
            if is_dear(batch) {
                tx.allow_long_pause();
            }
            match self.read_base(&mut tx, batch).await {
                Ok(base) => return Ok((tx, base)),
                Err(err) if tx.is_reused() && err.is_session_error() => {
                    tracing::warn!("the writer's idle connection failed; opening a new one: {err}");
                }
                Err(err) => {
                    self.abandon(tx).await;
                    return Err(err);
                }
            }
        }
    }

    /// Locks the log ends, then reads what the mutations need. The lock comes first and alone, because a statement that waits
    /// for it would return rows from before the wait.
    async fn read_base(&mut self, tx: &mut WriteTx, batch: &mut Vec<Request>) -> Result<Base, StoreError> {
        let projects: HashSet<_> = batch.iter().map(|request| request.mutation.project.clone()).collect();
        let projects: Vec<_> = projects.into_iter().collect();
        let mut base = Base {
            max_document_bytes: self.config.max_document_bytes,
            max_indexes: self.config.max_indexes,
            max_collections: self.config.max_collections,
            max_idempotency_bytes: self.config.max_idempotency_bytes,
            ..Base::default()
        };
        let locked = ends::lock(tx, &projects).await?;
        match self.read_time(tx, batch, &locked).await? {
            Ok(now) => base.now = now,
            Err(trouble) => {
                for request in batch.drain(..) {
                    self.answer(request, Err(WriteError::Clock(trouble)));
                }
                return Ok(base);
            }
        }
        for ends in locked.ends {
            let catalog = match self.catalogs.cached(&ends.project) {
                Some(catalog) if catalog.control == ends.control => catalog,
                _ => Arc::new(Catalog::read_locked(tx, &ends.project, ends.control).await?),
            };
            base.catalogs.insert(ends.project.clone(), catalog);
            base.log_ends.insert(ends.project.clone(), ends);
        }
        self.refuse_revoked(tx, batch, &base).await?;
        self.refuse_behind(tx, batch, &base).await?;
        read_keys(tx, batch, &mut base).await?;
        read_accounts(tx, batch, &mut base).await?;
        self.read_documents(tx, batch, &mut base).await?;
        self.read_outcomes(tx, batch, &mut base).await?;
        read_unchecked(tx, batch, &mut base).await?;
        let declares = |operation: &Operation| matches!(operation, Operation::SetIndexes { .. });
        if batch.iter().any(|request| request.mutation.operations.iter().any(declares)) {
            base.declared_indexes = indexes::count(tx).await?;
        }
        Ok(base)
    }

    /// Returns the time of the batch, or why the clock can't be right.
    async fn read_time(
        &mut self,
        tx: &mut WriteTx,
        batch: &[Request],
        locked: &Locked,
    ) -> Result<Result<Timestamp, ClockTrouble>, StoreError> {
        let is_confirmation = |operation: &Operation| matches!(operation, Operation::AcceptClock);
        if batch.iter().any(|request| request.mutation.operations.iter().any(is_confirmation)) {
            return Ok(Ok(locked.now.unwrap_or_else(Timestamp::now)));
        }
        let last = locked.ends.iter().map(|ends| ends.last.at).max().unwrap_or_default();
        match self.clock.glance(locked.now, last) {
            Some(now) => Ok(Ok(now)),
            None => self.clock.look(tx).await,
        }
    }

    /// Answers the mutations whose key was revoked, or whose user's session has ended, and takes them out of the batch. The
    /// database is asked only if the log has control entries that this process has not heard of: another node wrote a moment ago,
    /// or this one slept.
    async fn refuse_revoked(
        &mut self,
        tx: &mut WriteTx,
        batch: &mut Vec<Request>,
        base: &Base,
    ) -> Result<(), StoreError> {
        let is_behind = |request: &&Request| {
            let project = &request.mutation.project;
            let control = base.log_ends.get(project).map_or(0, |ends| ends.control.sequence);
            control != self.keys.heard_of(project)
        };
        let callers = batch.iter().filter(is_behind).filter_map(|request| request.mutation.caller.as_ref());
        let callers: HashSet<_> = callers.map(|caller| caller.id.clone()).collect();
        if !callers.is_empty() {
            self.keys.note_states(&access::keys::find_states(tx, &callers).await?);
        }
        let sessions: HashSet<_> =
            batch.iter().filter(is_behind).filter_map(|request| request.mutation.session.clone()).collect();
        if !sessions.is_empty() {
            let ended = access::sessions::find_ended(tx, &sessions).await?;
            self.sessions.forget(&ended.into_iter().collect::<Vec<_>>());
        }
        // Also a key of which this process has heard while the mutation was waiting.
        let end_of = |request: &Request| self.keys.find_end(request.mutation.caller.as_ref()?);
        let refused: Vec<_> = batch.extract_if(.., |request| end_of(request).is_some()).collect();
        let refused: Vec<_> = refused.into_iter().filter_map(|one| Some((end_of(&one)?, one))).collect();
        for (end, request) in refused {
            self.answer(request, Err(WriteError::KeyEnded(end)));
        }
        let has_ended = |request: &mut Request| {
            request.mutation.session.as_ref().is_some_and(|session| self.sessions.has_ended(session))
        };
        let refused: Vec<_> = batch.extract_if(.., has_ended).collect();
        for request in refused {
            self.answer(request, Err(WriteError::SessionEnded));
        }
        Ok(())
    }

    /// Reads the stored outcomes of the mutations' idempotency keys, in one query and up to a bound.
    async fn read_outcomes(
        &mut self,
        tx: &mut WriteTx,
        batch: &mut Vec<Request>,
        base: &mut Base,
    ) -> Result<(), StoreError> {
        let (mut keys, mut seen) = (Vec::new(), HashSet::new());
        for idempotency in batch.iter().filter_map(|request| request.mutation.idempotency.as_ref()) {
            if seen.insert(&idempotency.key) {
                keys.push(idempotency.key.clone());
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let mut beyond = HashSet::new();
        for idempotency::FoundAt { place, found } in
            idempotency::get_many(tx, &keys, oldest_outcome(base.now), OUTCOME_BYTES).await?
        {
            match found {
                idempotency::Found::Stored(stored) => {
                    base.outcomes.insert(keys[place].clone(), stored);
                }
                idempotency::Found::BeyondBound => {
                    beyond.insert(&keys[place]);
                }
                idempotency::Found::Expired { bytes } => {
                    base.expired.insert(keys[place].clone(), bytes);
                }
            }
        }
        let projects: Vec<_> = base.log_ends.keys().cloned().collect();
        base.outcome_sizes = idempotency::get_sizes(tx, &projects).await?;
        let is_beyond = |request: &Request| {
            request.mutation.idempotency.as_ref().is_some_and(|idempotency| beyond.contains(&idempotency.key))
        };
        if let Some(cut) = batch.iter().position(is_beyond) {
            self.defer_from(batch, cut);
        }
        Ok(())
    }

    /// Reads the documents as they are before the batch, in one query and up to a bound.
    async fn read_documents(
        &mut self,
        tx: &mut WriteTx,
        batch: &mut Vec<Request>,
        base: &mut Base,
    ) -> Result<(), StoreError> {
        let (mut keys, mut places) = (Vec::new(), HashMap::new());
        for request in batch.iter() {
            for key in needed_documents(&request.mutation, base) {
                if !places.contains_key(&key) {
                    places.insert(key.clone(), keys.len());
                    keys.push(key);
                }
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let mut beyond = HashSet::new();
        // The first mutation gets all it needs, or it would be deferred for ever.
        let first = needed_documents(&batch[0].mutation, base).count();
        let bound = if first > 1 { MAX_MUTATION_BYTES } else { IMAGE_BYTES };
        for FoundAt { place, found } in several::get_many(tx, &keys, bound).await? {
            match found {
                Found::Document(document) => {
                    base.documents.insert(keys[place].clone(), document);
                }
                Found::BeyondBound => {
                    beyond.insert(keys[place].clone());
                }
            }
        }
        if beyond.is_empty() {
            return Ok(());
        }
        let is_beyond =
            |request: &Request| needed_documents(&request.mutation, base).any(|key| beyond.contains(&key));
        let cut = batch.iter().position(is_beyond).unwrap_or(batch.len());
        if cut == 0 {
            let too_large = batch.remove(0);
            self.answer(too_large, Err(WriteError::TooManyBytes { limit: MAX_MUTATION_BYTES }));
        }
        // The requests behind it wait too, which keeps the order of arrival.
        self.defer_from(batch, cut);
        Ok(())
    }
}

/// Reads the credentials and sessions of the users that the mutations are about, and whose the addresses are that they give.
async fn read_accounts(tx: &mut WriteTx, batch: &[Request], base: &mut Base) -> Result<(), StoreError> {
    let mut wanted: HashMap<_, Wanted<'_>> = HashMap::new();
    for request in batch {
        let project = &request.mutation.project;
        let Some(catalog) = base.catalogs.get(project) else { continue };
        for operation in &request.mutation.operations {
            if wants_accounts(catalog, operation) {
                wanted.entry(project).or_default().add(operation);
            }
        }
    }
    let mut states = HashSet::new();
    for (project, wanted) in wanted {
        let Wanted { users, sessions, emails, has_codes, has_identities, subjects, states: own, invitations } =
            wanted;
        states.extend(own);
        let mut users: Vec<_> = users.iter().collect();
        let found = if sessions.is_empty() {
            Vec::new()
        } else {
            access::sessions::get_many(tx, project, &sessions, &[]).await?
        };
        users.extend(found.iter().map(|session| &session.user));
        let emails: Vec<_> = emails.iter().collect();
        let credentials = access::credentials::get_many(tx, project, &users, &emails).await?;
        let sessions = access::sessions::get_many(tx, project, &[], &users).await?;
        base.accounts.add_found(credentials, sessions);
        if has_codes {
            base.accounts.add_codes(access::codes::get_many(tx, project, &users, &emails).await?);
        }
        if has_identities {
            base.accounts.add_identities(access::identities::get_many(tx, project, &subjects, &users).await?);
        }
        if !invitations.is_empty() {
            let found = access::invitations::get_many(tx, project, &invitations, &emails).await?;
            base.accounts.add_invitations(found);
        }
        base.refreshed.extend(found.into_iter().map(|session| (session.id, session.user)));
    }
    if !states.is_empty() {
        let used = access::used_states::find_used(tx, &states).await?;
        base.accounts.states.extend(used.into_iter().map(|hash| (hash, Timestamp::default())));
    }
    Ok(())
}

/// What the mutations of a project need to know of its users.
#[derive(Default)]
struct Wanted<'a> {
    users: HashSet<DocumentId>,
    sessions: Vec<&'a SessionId>,
    emails: HashSet<Email>,
    /// Whether some of them are about codes.
    has_codes: bool,
    /// Whether some of them are about identities.
    has_identities: bool,
    /// The subjects of the identities that they name.
    subjects: Vec<&'a str>,
    states: HashSet<&'a str>,
    /// The hashes of invitations. Those to the addresses come along.
    invitations: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn add(&mut self, operation: &'a Operation) {
        self.users.extend(operation.needs().map(|(_, user)| user.clone()));
        match operation {
            Operation::User(operation) => {
                self.sessions.extend(operation.session());
                self.emails.extend(operation.email().into_iter().flat_map(Email::spellings));
                self.invitations.extend(operation.invitation());
                self.has_codes |= operation.concerns_codes();
                self.has_identities |= operation.concerns_identities();
                self.subjects.extend(operation.claimed().map(|claimed| &*claimed.subject));
                self.states.extend(operation.state().map(|state| state.hash.as_str()));
            }
            // Codes and identities go with their user.
            Operation::DeleteDocument { .. } => (self.has_codes, self.has_identities) = (true, true),
            operation => {
                self.emails.extend(operation.given_email().iter().flat_map(Email::spellings));
                // And with the address.
                self.has_codes |= match operation {
                    Operation::MergeDocument { patch, .. } => {
                        patch.top_level_fields().any(|field| matches!(field, "email" | "disabled"))
                    }
                    operation => matches!(operation, Operation::PutDocument { .. }),
                };
            }
        }
    }
}

/// Whether an operation is about users.
fn wants_accounts(catalog: &Catalog, operation: &Operation) -> bool {
    let of_users = |name: &str| catalog.find(name).is_some_and(|collection| collection.name.is_users());
    operation.collection().is_some_and(of_users)
}

/// Whether applying a batch in memory may take long on a busy machine.
fn is_dear(batch: &[Request]) -> bool {
    let operations: usize = batch.iter().map(|request| request.mutation.operations.len()).sum();
    let bytes: usize = batch.iter().map(|request| request.bytes).sum();
    let cost: Duration = batch.iter().map(|request| request.turn.cost()).sum();
    // Each operation of one mutation may be checked against a schema, for a second in all.
    let is_long = batch.iter().any(|request| request.mutation.operations.len() > LONG_MUTATION);
    is_long || operations > DEAR_OPERATIONS || bytes > DEAR_BYTES || cost > DEAR_COST
}

/// Reads the changes of a collection since its documents were checked against the schema that is about to be set.
async fn read_unchecked(tx: &mut WriteTx, batch: &[Request], base: &mut Base) -> Result<(), StoreError> {
    for request in batch {
        let project = &request.mutation.project;
        for operation in &request.mutation.operations {
            let Operation::SetSchema { collection, schema: Some(_), fits_at } = operation else { continue };
            let found = base.catalogs.get(project).and_then(|catalog| catalog.find(collection)).cloned();
            let Some(collection) = found else { continue };
            let after = fits_at.sequence;
            let page = changes::read_collection_locked(tx, project, &collection.id, after, UNCHECKED).await?;
            // Entries that were pruned cannot be checked. More entries than one page are left to the caller, who checks again.
            let page = page.filter(|page| page.is_last && page.ends.first.sequence <= after);
            base.unchecked = page.map(|page| page.entries);
        }
    }
    Ok(())
}

/// The documents that a mutation reads. An unknown collection has none.
fn needed_documents<'a>(mutation: &'a Mutation, base: &'a Base) -> impl Iterator<Item = DocumentKey> + 'a {
    let catalog = base.catalogs.get(&mutation.project);
    let of_operations = mutation.operations.iter().filter_map(move |operation| {
        let (collection, id) = match operation {
            Operation::User(user) => match user.session() {
                Some(session) => (USERS, base.refreshed.get(session)?),
                None => operation.needs()?,
            },
            _ => operation.needs()?,
        };
        Some(DocumentKey { collection: catalog?.find(collection)?.id.clone(), id: id.clone() })
    });
    of_operations.chain(needed_user(mutation, base))
}

/// The document of the user who asks, if the rules of a collection use what it says.
fn needed_user(mutation: &Mutation, base: &Base) -> Option<DocumentKey> {
    let user = mutation.author.as_ref()?.user.as_ref()?;
    let catalog = base.catalogs.get(&mutation.project)?;
    let needs_user = |operation: &Operation| {
        let collection = operation.collection().and_then(|name| catalog.find(name));
        let rules = collection.and_then(|collection| catalog.rules_of(&collection.id));
        rules.is_some_and(|rules| rules.needs_user_document())
    };
    let users = &catalog.find(USERS)?.id;
    let key = || DocumentKey { collection: users.clone(), id: user.clone() };
    mutation.operations.iter().any(needs_user).then(key)
}

/// Reads the keys of the projects whose keys are changed.
async fn read_keys(tx: &mut WriteTx, batch: &[Request], base: &mut Base) -> Result<(), StoreError> {
    let is_of_keys = |operation: &Operation| matches!(operation, Operation::Key(_));
    for mutation in batch.iter().map(|request| &request.mutation) {
        if mutation.operations.iter().any(is_of_keys) {
            let keys = access::keys::list_kept_locked(tx, &mutation.project).await?;
            base.keys.insert(mutation.project.clone(), keys);
        }
    }
    Ok(())
}
