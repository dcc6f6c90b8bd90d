//! The operations on documents: what each makes of a document, and when it fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    batch::Batch,
    error::WriteError,
    indexes::check_indexes,
    judge::Judge,
    mutation::{Checked, Missing},
    outcome::Outcome,
    precondition::Precondition,
    staged::Staged,
};
use crate::domain::{
    ApplyError, Collection, Data, Document, DocumentId, DocumentKey, Entry, FieldPath, Patch, Position,
    Segment, Timestamp, audit::AuditEvent,
};

/// How long one mutation may check documents against schemas before it is refused.
const MAX_CHECKING: Duration = Duration::from_secs(1);

impl Batch {
    /// Creates a document, and the collection if it is missing. The id is made from its place in the log, so no document has it.
    pub(super) fn create_document(
        &self,
        staged: &mut Staged,
        collection: &str,
        data: &Data,
        checked: Option<&Checked>,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find_or_create(staged, collection)?;
        let judge = self.judge(staged, &collection)?;
        let (data, checked) = stamped(judge.as_ref(), true, (data, checked))?;
        check_schema(staged, &collection, &data, checked)?;
        let Position { sequence, at } = staged.next();
        let key = DocumentKey { collection: collection.id.clone(), id: DocumentId::of(sequence, at) };
        self.write_judged(staged, judge, (&collection, key), None, data)
    }

    /// Creates a document or replaces all of its data. Creates the collection if it is missing.
    pub(super) fn put_document(
        &self,
        staged: &mut Staged,
        collection: &str,
        id: &DocumentId,
        data: &Data,
        precondition: &Precondition,
        checked: Option<&Checked>,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find_or_create(staged, collection)?;
        let key = DocumentKey { collection: collection.id.clone(), id: id.clone() };
        let before = self.document(staged, &key);
        let judge = self.judge(staged, &collection)?;
        check_readable(judge.as_ref(), before.as_deref())?;
        precondition.check(before.as_deref())?;
        let whole = match (&judge, &before) {
            (Some(judge), Some(before)) => judge.keep_hidden(before, data.clone(), |_| true)?,
            _ => data.clone(),
        };
        let checked = checked.filter(|_| whole == *data);
        let (data, checked) = stamped(judge.as_ref(), before.is_none(), (&whole, checked))?;
        check_schema(staged, &collection, &data, checked)?;
        self.write_judged(staged, judge, (&collection, key), before, data)
    }

    /// Merges a patch into an existing document.
    pub(super) fn merge_document(
        &self,
        staged: &mut Staged,
        collection: &str,
        id: &DocumentId,
        patch: &Patch,
        precondition: &Precondition,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        let key = DocumentKey { collection: collection.id.clone(), id: id.clone() };
        let before = self.document(staged, &key).ok_or(WriteError::UnknownDocument)?;
        let judge = self.judge(staged, &collection)?;
        check_readable(judge.as_ref(), Some(&before))?;
        precondition.check(Some(&before))?;
        let mut data = self.merge_user(&collection, patch, &before.data)?;
        if let Some(judge) = &judge {
            // A member that is replaced may have parts that the caller can't see.
            let is_part = |path: &FieldPath| match path.segments() {
                [Segment::Key(first), _, ..] => patch.members().contains_key(first),
                _ => false,
            };
            data = judge.keep_hidden(&before, data, is_part)?;
        }
        let (data, _) = stamped(judge.as_ref(), false, (&data, None))?;
        check_schema(staged, &collection, &data, None)?;
        self.write_judged(staged, judge, (&collection, key), Some(before), data)
    }

    pub(super) fn delete_document(
        &self,
        staged: &mut Staged,
        collection: &str,
        id: &DocumentId,
        precondition: &Precondition,
        missing: Missing,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        let key = DocumentKey { collection: collection.id.clone(), id: id.clone() };
        let judge = self.judge(staged, &collection)?;
        let mut found = self.document(staged, &key);
        if let (Some(judge), Some(document)) = (&judge, &found)
            && !judge.can_read(document)?
        {
            found = None;
        }
        let Some(before) = found else {
            return match missing {
                Missing::Refused => Err(WriteError::UnknownDocument),
                Missing::Allowed => Ok(Outcome::Absent { id: id.clone() }),
            };
        };
        precondition.check(Some(&before))?;
        if let Some(judge) = &judge {
            staged.allowed_by = Some(judge.check_delete(&before)?);
        }
        // A document that is created again under this id in the same millisecond would have the old entity tag.
        if staged.at == before.created_at {
            staged.at = Timestamp(staged.at.0 + 1);
        }
        self.unstage_user(staged, &collection, id);
        if collection.name.is_users() {
            staged.audit(AuditEvent::UserDeleted, Some(id), None);
        }
        staged.log(Entry::Document { collection: collection.id.clone(), before: Some(before), after: None });
        staged.check_weight()?;
        staged.set_document(key, None);
        Ok(Outcome::Deleted { collection: collection.name.clone(), id: id.clone() })
    }

    /// Writes the next version of a document of which no rules are asked.
    pub(super) fn write(
        &self,
        staged: &mut Staged,
        collection: &Collection,
        key: DocumentKey,
        before: Option<Arc<Document>>,
        data: Data,
    ) -> Result<Outcome, WriteError> {
        self.write_judged(staged, None, (collection, key), before, data)
    }

    /// Writes the next version of a document, if the judge allows it.
    pub(super) fn write_judged(
        &self,
        staged: &mut Staged,
        judge: Option<Judge>,
        (collection, key): (&Collection, DocumentKey),
        before: Option<Arc<Document>>,
        data: Data,
    ) -> Result<Outcome, WriteError> {
        let old = before.as_ref().map(|before| &before.data);
        let data = self.stage_user(staged, collection, &key.id, old, data)?;
        self.audit_document(staged, collection, &key.id, before.as_ref(), &data);
        let (actual, limit) = (data.text().len(), self.max_document_bytes());
        if actual > limit {
            return Err(WriteError::TooLarge { actual, limit });
        }
        let document = Arc::new(Document {
            id: key.id.clone(),
            data,
            created_at: before.as_ref().map_or(staged.at, |before| before.created_at),
            updated_at: staged.at,
            version: before.as_ref().map_or(1, |before| before.version + 1),
        });
        if let Some(judge) = judge {
            let clause = judge.check_write(staged, before.as_deref(), &document)?;
            staged.allowed_by = Some(clause);
        }
        check_indexes(self.catalog(staged).indexes_of(&collection.id), &document)?;
        let is_new = before.is_none();
        staged.log(Entry::Document {
            collection: collection.id.clone(),
            before,
            after: Some(document.clone()),
        });
        staged.check_weight()?;
        staged.set_document(key, Some(document.clone()));
        let sequence = staged.ends.last.sequence;
        Ok(Outcome::Document { collection: collection.name.clone(), document, is_new, sequence })
    }
}

/// Applies a patch to the data of a document.
pub(super) fn apply_patch(patch: &Patch, before: &Data) -> Result<Data, WriteError> {
    patch.apply(before).map_err(|err| match err {
        ApplyError::Mismatch(why) => WriteError::Operator(why),
        ApplyError::Data(err) => WriteError::Data(Arc::new(err)),
    })
}

/// Returns the data with the stamps of the collection's rules. An earlier check against the schema is good without stamps only.
fn stamped<'a>(
    judge: Option<&Judge>,
    is_new: bool,
    (data, checked): (&Data, Option<&'a Checked>),
) -> Result<(Data, Option<&'a Checked>), WriteError> {
    match judge {
        Some(judge) if judge.has_stamps(is_new) => Ok((judge.stamp(is_new, data.clone())?, None)),
        _ => Ok((data.clone(), checked)),
    }
}

/// Checks that the caller may read the document that there is. Otherwise it does not exist to them.
fn check_readable(judge: Option<&Judge>, document: Option<&Document>) -> Result<(), WriteError> {
    match (judge, document) {
        (Some(judge), Some(document)) if !judge.can_read(document)? => Err(WriteError::UnknownDocument),
        _ => Ok(()),
    }
}

/// Checks new data against the schema of its collection. The time is bounded over all documents of a mutation, because every
/// write waits meanwhile; a single document may take as long as its schema makes it.
fn check_schema(
    staged: &mut Staged,
    collection: &Collection,
    data: &Data,
    checked: Option<&Checked>,
) -> Result<(), WriteError> {
    let Some(schema) = &collection.schema else { return Ok(()) };
    if staged.checking > MAX_CHECKING {
        return Err(WriteError::TooMuchChecking);
    }
    let begun = Instant::now();
    let outcome = Checked::check(checked, schema, data);
    staged.checking += begun.elapsed();
    outcome
}
