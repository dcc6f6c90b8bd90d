//! Tries the rules of a collection for somebody else: what a request of theirs would be told, without the request.
//!
//! A read asks what all reads ask, and a write is applied in memory by the functions of the writer. So the answer is that of the
//! request.

use std::{collections::HashMap, sync::Arc};

use serde_json::Map;

use super::{documents::Documents, error::ServiceError, lookup::get_collection, scans::Scan};
use crate::{
    auth::{Action, Forbidden, KeyKind, Principal, Rights, Scopes, SignedIn, permission, principal::keyless},
    domain::{
        Collection, Data, Document, DocumentId, DocumentKey, FieldPath, KeyId, Patch, SessionId, Timestamp,
        USERS, UserData,
    },
    query::rule::{Clause, Params, RuleAction},
    store::{Lane, collections::catalog::Catalog, documents::one, log::ends},
    writer::{
        Missing, Mutation, Operation, Precondition, WriteError,
        batch::{Base, Batch},
        dry_run::Verdict,
    },
};

/// How often a write is tried whose rules ask for what is changing meanwhile.
const MAX_TRIES: usize = 5;

/// Somebody for whom rules are tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// `None` for a guest.
    pub user: Option<DocumentId>,
    /// The key of the request; `None` for a user who sends none.
    pub key: Option<KeyId>,
    pub params: Params,
}

/// A request for which rules are tried.
#[derive(Clone, Debug)]
pub enum Trial {
    /// Reads a document; `None` for any of the collection.
    Read(Option<Subject>),
    Create {
        id: Option<DocumentId>,
        data: Data,
    },
    Update {
        id: DocumentId,
        patch: Patch,
    },
    Delete(Subject),
}

/// The document of a request.
#[derive(Clone, Debug)]
pub enum Subject {
    Stored(DocumentId),
    /// One that there could be.
    Imagined(Data),
}

/// A document with its place.
type Placed = (DocumentKey, Document);

impl Documents {
    /// Returns what the rules of a collection decide about a request of somebody else, and the fields of the document that they may
    /// not read. Nothing is written, and nothing is kept.
    ///
    /// # Errors
    /// As the request, for everything that is not for the rules to decide, such as a document that is not there or data that does
    /// not fit the schema; [`ServiceError::Untried`].
    pub async fn try_rules(
        &self,
        principal: &Principal,
        collection: &str,
        (tried, trial): (Tried, Trial),
        max_document_bytes: usize,
    ) -> Result<(Verdict, Vec<FieldPath>), ServiceError> {
        permission::check(principal, Action::SeeRules)?;
        if tried.user.is_some() {
            // The answer has what the user's document says.
            permission::check(principal, Action::ManageUsers)?;
        }
        let collection = get_collection(&self.catalogs, &principal.project, collection).await?;
        let scan = self.scans.begin(principal).await?;
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let user = match &tried.user {
            None => None,
            Some(id) => Some(find_user(&catalog, id, &scan).await?),
        };
        let tried = tried.into_principal(principal);
        let before = find_before(&collection, &trial, &scan).await?;
        let seen = match (&before, &trial) {
            (Some((_, document)), _) => Some(document.clone()),
            (None, Trial::Create { data, .. }) => Some(imagined(data.clone())),
            _ => None,
        };
        let rights = Rights::new(&self.db, Lane::Scan, catalog.clone(), &tried);
        let hidden = hidden_fields(&rights, &collection, seen.as_ref()).await?;
        let operation = match operation(&collection, trial, before.as_ref()) {
            Some(operation) => operation,
            None => {
                let document = before.map(|(_, found)| found);
                return Ok((try_read(&rights, &catalog, &collection, document).await?, hidden));
            }
        };
        let documents = before.into_iter().chain(user).map(|(key, found)| (key, Arc::new(found)));
        let base = Base { documents: documents.collect(), max_document_bytes, ..Base::default() };
        Ok((self.try_write(&tried, operation, base, &scan).await?, hidden))
    }

    async fn try_write(
        &self,
        tried: &Principal,
        operation: Operation,
        mut base: Base,
        scan: &Scan,
    ) -> Result<Verdict, ServiceError> {
        let (project, caller, session) = tried.callers();
        let operations = vec![operation];
        if let Err(refused) = self.check_writes(tried, &operations).await {
            return match refused {
                ServiceError::Forbidden(_) => {
                    Ok(Verdict { is_allowed: false, clause: None, values: Map::new() })
                }
                other => Err(other),
            };
        }
        let (documents, max_document_bytes) = (std::mem::take(&mut base.documents), base.max_document_bytes);
        for _ in 0..MAX_TRIES {
            let author = self.find_author(tried, &operations, Some(scan)).await?;
            let id = project.clone();
            let ends = scan.read(|db| async move { ends::find(&db, &id).await }).await?;
            let ends = ends.ok_or(ServiceError::UnknownCollection)?;
            let catalog = self.catalogs.get_at(&project, ends.control.sequence).await?;
            let batch = Batch::new(Base {
                log_ends: HashMap::from([(project.clone(), ends)]),
                catalogs: HashMap::from([(project.clone(), catalog)]),
                documents: documents.clone(),
                now: Timestamp::now(),
                max_document_bytes,
                ..Base::default()
            });
            let mutation = Mutation {
                project: project.clone(),
                caller: caller.clone(),
                session: session.clone(),
                author,
                operations: operations.clone(),
                idempotency: None,
                seen: None,
            };
            match batch.explain(&mutation) {
                Err(err) if err.is_behind() => {}
                verdict => return Ok(verdict?),
            }
        }
        Err(WriteError::RightsBehind.into())
    }
}

async fn try_read(
    rights: &Rights<'_>,
    catalog: &Catalog,
    collection: &Collection,
    document: Option<Document>,
) -> Result<Verdict, ServiceError> {
    let readable = rights.read_rights(collection).await?.readable;
    let is_allowed = match document {
        Some(document) => readable.admits(&document),
        None => !readable.is_nothing(),
    };
    let Some(rules) = catalog.rules_of(&collection.id) else {
        return Ok(Verdict { is_allowed, clause: None, values: Map::new() });
    };
    let clause = Clause::Action(RuleAction::Read);
    let values = rights.shown_values(rules, &clause).await?;
    Ok(Verdict { is_allowed, clause: Some(clause), values })
}

/// Returns the fields of a document that may not be read, or without one those that are hidden in some documents.
async fn hidden_fields(
    rights: &Rights<'_>,
    collection: &Collection,
    document: Option<&Document>,
) -> Result<Vec<FieldPath>, ServiceError> {
    let mask = rights.mask(collection).await?.ok_or(Forbidden::TooManyValues)?;
    Ok(match document {
        Some(document) => mask.hidden_in(document).into_iter().cloned().collect(),
        None => mask.hides().iter().map(|hide| hide.path.clone()).collect(),
    })
}

/// Returns a document that there could be.
fn imagined(data: Data) -> Document {
    let (id, now) = (DocumentId::from_stored("imagined"), Timestamp::now());
    Document { id, data, created_at: now, updated_at: now, version: 1 }
}

impl Tried {
    /// Returns the principal of a request that is allowed everything but by the rules.
    fn into_principal(self, asking: &Principal) -> Principal {
        let signed_in = |id| SignedIn {
            id,
            session: SessionId::from_stored("trial"),
            expires_at: Timestamp::now(),
            signed_in_at: Timestamp::now(),
            round: 0,
        };
        Principal {
            project: asking.project.clone(),
            key: self.key.unwrap_or_else(keyless),
            kind: KeyKind::Publishable,
            limits: Default::default(),
            scopes: Scopes::all(),
            collection: None,
            user: self.user.map(signed_in),
            params: self.params,
            seen: None,
        }
    }
}

/// Returns the operation of a request that writes.
fn operation(collection: &Collection, trial: Trial, before: Option<&Placed>) -> Option<Operation> {
    let collection = collection.id.to_string();
    Some(match trial {
        Trial::Read(_) => return None,
        Trial::Create { id: None, data } => Operation::CreateDocument { collection, data, checked: None },
        Trial::Create { id: Some(id), data } => {
            Operation::PutDocument { collection, id, data, precondition: Precondition::Free, checked: None }
        }
        Trial::Update { id, patch } => {
            Operation::MergeDocument { collection, id, patch, precondition: Precondition::None }
        }
        Trial::Delete(_) => Operation::DeleteDocument {
            collection,
            id: before.map_or_else(|| DocumentId::from_stored(""), |(key, _)| key.id.clone()),
            precondition: Precondition::None,
            missing: Missing::Refused,
        },
    })
}

/// Finds the document of a request as it is before it.
async fn find_before(
    collection: &Collection,
    trial: &Trial,
    scan: &Scan,
) -> Result<Option<Placed>, ServiceError> {
    let key = |id: &DocumentId| DocumentKey { collection: collection.id.clone(), id: id.clone() };
    match trial {
        Trial::Read(None) | Trial::Create { id: None, .. } => Ok(None),
        Trial::Create { id: Some(id), .. } => find(key(id), scan).await,
        Trial::Read(Some(Subject::Stored(id)))
        | Trial::Delete(Subject::Stored(id))
        | Trial::Update { id, .. } => {
            Ok(Some(find(key(id), scan).await?.ok_or(ServiceError::UnknownDocument)?))
        }
        Trial::Read(Some(Subject::Imagined(data))) | Trial::Delete(Subject::Imagined(data)) => {
            let document = imagined(data.clone());
            Ok(Some((key(&document.id), document)))
        }
    }
}

async fn find_user(catalog: &Catalog, id: &DocumentId, scan: &Scan) -> Result<Placed, ServiceError> {
    let unknown = ServiceError::Untried("`as.user` must be the id of a user of this project");
    let Some(users) = catalog.find(USERS) else { return Err(unknown) };
    let key = DocumentKey { collection: users.id.clone(), id: id.clone() };
    let found = find(key, scan).await?.ok_or(unknown)?;
    match UserData::from_stored(&found.1.data) {
        Ok(user) if user.disabled => Err(ServiceError::Untried(
            "the user in `as.user` is disabled, so that no request of theirs is taken",
        )),
        _ => Ok(found),
    }
}

async fn find(key: DocumentKey, scan: &Scan) -> Result<Option<Placed>, ServiceError> {
    let DocumentKey { collection, id } = key.clone();
    let found = scan.read(|db| async move { one::find(&db, &collection, &id).await }).await?;
    Ok(found.map(|document| (key, document)))
}
