//! Joins related documents to the documents of an answer, with one query for each relation and level.
//!
//! The relation `author` follows `author_id` or `author_ids` in the data. If a document has neither, the relation is followed
//! in reverse: to the documents of the collection `author` that name this document. With a source collection of another name,
//! reverse only works if the relation is a plural. A document that cannot be found or read is null, or missing from the list.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::Arc,
};

use serde_json::Value;

use super::{
    documents::Documents,
    error::ServiceError,
    scans::{NO_ROOM, Scan},
};
use crate::{
    auth::{
        Action, Principal, Rights,
        permission::{self, Readable},
        rights::ReadRights,
    },
    domain::{Collection, Document, DocumentId, FieldPath, nearest},
    query::{
        Field, Filter, Mask,
        parse::Names,
        populate::{Populate, Relation, singulars},
    },
    store::{
        Lane,
        collections::catalog::Catalog,
        documents::{
            relations::{self, Referring},
            several,
        },
    },
};

/// The most documents that one relation may name on one level.
const MAX_IDS: usize = 10_000;
/// The most documents that are joined to one document in reverse; the newest are taken.
const MAX_REFERRING: u64 = 100;
/// The most collections whose names are compared with one that is not there.
const MAX_COMPARED: usize = 1000;
/// The most that the joined documents of one answer may take in memory, and the most that they may take as text. A document
/// that several others name is in memory once, but in the text several times.
const MAX_BYTES: usize = 32 * 1024 * 1024;

const TOO_LARGE: ServiceError = ServiceError::TooLarge(
    "the documents that `populate` joins take too much memory; ask with a smaller `limit`, or for fewer relations",
);

/// The documents that are joined to one document, by the name of the relation, in the order of the request.
pub type Relations = Vec<(String, Related)>;

/// The documents at the other end of a relation.
#[derive(Clone, Debug)]
pub enum Related {
    One(Option<Arc<Joined>>),
    Many(Vec<Arc<Joined>>),
}

/// A document that is joined to another.
#[derive(Debug)]
pub struct Joined {
    pub collection: Arc<Collection>,
    pub document: Document,
    /// The documents that are joined to this one.
    pub relations: Relations,
}

/// The documents that are joined to those of one answer.
pub struct Populated {
    /// The relations of each document, in the order of the documents.
    pub relations: Vec<Relations>,
    /// The most bytes that the joined documents take in the answer.
    pub text_bytes: usize,
}

impl Documents {
    /// Joins related documents to documents of one collection, which were read with `scan`.
    ///
    /// # Errors
    /// [`ServiceError::TooLarge`] if the joined documents take too much memory; [`ServiceError::Busy`] if they find no room.
    pub async fn populate(
        &self,
        principal: &Principal,
        (collection, documents): (&Arc<Collection>, &[Document]),
        populate: &Populate,
        scan: &Scan,
    ) -> Result<Populated, ServiceError> {
        if populate.is_empty() {
            let relations = documents.iter().map(|_| Vec::new()).collect();
            return Ok(Populated { relations, text_bytes: 0 });
        }
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let mut join = Join {
            principal,
            rights: Rights::new(&self.db, Lane::Scan, catalog.clone(), principal),
            catalog,
            scan,
            bytes: MAX_BYTES,
        };
        let documents: Vec<_> = documents.iter().collect();
        let relations = join.level(collection, &documents, populate).await?;
        let mut text_bytes = 0;
        for relations in &relations {
            add_text_bytes(relations, &mut text_bytes)?;
        }
        Ok(Populated { relations, text_bytes })
    }
}

/// Adds the text of joined documents to `bytes`. A document counts as often as it is named.
fn add_text_bytes(relations: &Relations, bytes: &mut usize) -> Result<(), ServiceError> {
    const ENVELOPE: usize = 300;
    for (_, related) in relations {
        let joined = match related {
            Related::One(joined) => joined.as_slice(),
            Related::Many(joined) => joined.as_slice(),
        };
        for joined in joined {
            *bytes += joined.document.data.text().len() + ENVELOPE;
            if *bytes > MAX_BYTES {
                return Err(TOO_LARGE);
            }
            add_text_bytes(&joined.relations, bytes)?;
        }
    }
    Ok(())
}

/// The joins of one answer.
struct Join<'a> {
    principal: &'a Principal,
    rights: Rights<'a>,
    catalog: Arc<Catalog>,
    scan: &'a Scan,
    /// How much may still be read, by `Data::weight`.
    bytes: usize,
}

/// The ids that a document itself names for a relation.
enum Named {
    One(Option<DocumentId>),
    Many(Vec<DocumentId>),
    Nothing,
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, ServiceError>> + Send + 'a>>;

impl Join<'_> {
    /// Joins all relations of one level to documents of one collection, and the next level to the joined documents.
    fn level<'b>(
        &'b mut self,
        collection: &'b Arc<Collection>,
        documents: &'b [&'b Document],
        populate: &'b Populate,
    ) -> Pending<'b, Vec<Relations>> {
        Box::pin(async move {
            let mut joined: Vec<Relations> = documents.iter().map(|_| Vec::new()).collect();
            for relation in &populate.relations {
                if populate.names == Names::Strict {
                    self.check_relation(documents, relation)?;
                }
                let related = self.relation(collection, documents, relation).await?;
                for (relations, related) in joined.iter_mut().zip(related) {
                    relations.push((relation.name.clone(), related));
                }
            }
            Ok(joined)
        })
    }

    /// Refuses a relation that no document of a level has, where no collection has its name either.
    fn check_relation(&self, documents: &[&Document], relation: &Relation) -> Result<(), ServiceError> {
        let name = &relation.name;
        let is_there = |document: &&Document| !matches!(named(document, name), Named::Nothing);
        if documents.is_empty() || documents.iter().any(is_there) {
            return Ok(());
        }
        let wanted = relation.sources();
        if wanted.iter().any(|name| self.catalog.find(name).is_some()) {
            return Ok(());
        }
        let fields = documents.iter().flat_map(|document| document.data.fields().keys());
        let fields = fields.filter_map(|field| field.strip_suffix("_id").or(field.strip_suffix("_ids")));
        let collections =
            self.catalog.list(None).take(MAX_COMPARED).map(|collection| collection.name.as_str());
        let advice = match nearest(name, fields.chain(collections)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the field holds the id of a document of that collection".to_owned(),
        };
        let wanted = wanted.join("` or `");
        Err(ServiceError::UnknownRelation(format!(
            "populate `{name}`: no document here has the field `{name}_id` or `{name}_ids`, and there is no collection `{wanted}`; {advice}"
        )))
    }

    async fn relation(
        &mut self,
        collection: &Arc<Collection>,
        documents: &[&Document],
        relation: &Relation,
    ) -> Result<Vec<Related>, ServiceError> {
        let named: Vec<_> = documents.iter().map(|document| named(document, &relation.name)).collect();
        let mut ids = BTreeSet::new();
        for named in &named {
            match named {
                Named::One(id) => ids.extend(id.as_slice()),
                Named::Many(many) => ids.extend(many),
                Named::Nothing => {}
            }
        }
        let found = self.named_documents(ids.into_iter().cloned().collect(), relation).await?;

        let nothing = documents.iter().zip(&named).filter(|(_, named)| matches!(named, Named::Nothing));
        let ends: Vec<_> = nothing.map(|(document, _)| document.id.clone()).collect();
        let referring = self.referring_documents(collection, ends, relation).await?;

        let related = documents.iter().zip(named).map(|(document, named)| match (named, &referring) {
            (Named::One(id), _) => Related::One(id.and_then(|id| found.get(&id).cloned())),
            (Named::Many(ids), _) => {
                Related::Many(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
            }
            (Named::Nothing, Some(referring)) => {
                Related::Many(referring.get(&document.id).cloned().unwrap_or_default())
            }
            (Named::Nothing, None) => Related::One(None),
        });
        Ok(related.collect())
    }

    /// Reads documents by their ids.
    async fn named_documents(
        &mut self,
        ids: Vec<DocumentId>,
        relation: &Relation,
    ) -> Result<HashMap<DocumentId, Arc<Joined>>, ServiceError> {
        let Some((collection, rights)) = self.find_readable(&relation.sources()).await? else {
            return Ok(HashMap::new());
        };
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        if ids.len() > MAX_IDS {
            return Err(TOO_LARGE);
        }
        let (id, bytes) = (collection.id.clone(), self.most_bytes());
        let read = move |db| async move { several::find_many(&db, &id, &ids, bytes).await };
        let mut found = self.scan.read(read).await?;
        if let Some(found) = &mut found {
            found.retain(|document| rights.readable.admits(document));
        }
        let joined = self.joined((collection, &rights.mask), found, relation).await?;
        Ok(joined.into_iter().map(|joined| (joined.document.id.clone(), joined)).collect())
    }

    /// Reads the documents that name one of `ends`, by the id of that one. `None` if the relation has no reverse.
    async fn referring_documents(
        &mut self,
        collection: &Arc<Collection>,
        ends: Vec<DocumentId>,
        relation: &Relation,
    ) -> Result<Option<HashMap<DocumentId, Vec<Arc<Joined>>>>, ServiceError> {
        let name = match &relation.source {
            Some(source) if singulars(&relation.name)[0] != relation.name => source,
            // A singular asks for one document, and reverse gives a list.
            Some(_) => return Ok(None),
            None => &relation.name,
        };
        let Some((source, rights)) = self.find_readable(std::slice::from_ref(name)).await? else {
            return Ok(None);
        };
        // It is narrowed where the newest are chosen, so that documents which may not be read take no place.
        let Ok(rule) = rights.narrow(Filter::all()) else { return Ok(None) };
        if ends.is_empty() {
            return Ok(Some(HashMap::new()));
        }
        let mut fields: Vec<Field> = Vec::new();
        for name in singulars(collection.name.as_str()).into_iter().chain(singulars(name)) {
            let Ok(path) = FieldPath::parse(&format!("{name}_id")) else { continue };
            if !fields.contains(&Field::Data(path.clone())) {
                fields.push(Field::Data(path));
            }
        }
        let asked: Vec<_> = fields.iter().map(|field| rights.mask.field(field.clone())).collect();
        let (id, bytes) = (source.id.clone(), self.most_bytes());
        let wanted: BTreeSet<_> = ends.iter().cloned().collect();
        let read = move |db| async move {
            let (collection, fields, most) = (&id, &*asked, MAX_REFERRING);
            let referring = Referring { collection, fields, ids: &ends, rule: &rule, most };
            relations::find_referring(&db, &referring, bytes).await
        };
        let found = self.scan.read(read).await?;
        let mut by_end: HashMap<_, Vec<_>> = HashMap::new();
        for joined in self.joined((source, &rights.mask), found, relation).await? {
            let ends = fields.iter().filter_map(|field| match field.value_in(&joined.document).as_deref() {
                Some(Value::String(id)) => Some(DocumentId::from_stored(id)),
                _ => None,
            });
            if let Some(end) = ends.into_iter().find(|end| wanted.contains(end)) {
                by_end.entry(end).or_default().push(joined);
            }
        }
        Ok(Some(by_end))
    }

    /// Joins the next level to documents that were read.
    async fn joined(
        &mut self,
        (collection, mask): (Arc<Collection>, &Mask),
        found: Option<Vec<Document>>,
        relation: &Relation,
    ) -> Result<Vec<Arc<Joined>>, ServiceError> {
        let found = found.ok_or(if self.most_bytes() < self.bytes { NO_ROOM } else { TOO_LARGE })?;
        let weight: usize = found.iter().map(|document| document.data.weight()).sum();
        self.scan.count(weight)?;
        self.bytes = self.bytes.checked_sub(weight).ok_or(TOO_LARGE)?;
        let found: Vec<_> = found.into_iter().map(|document| mask.strip(document)).collect();
        let next: Vec<_> = found.iter().collect();
        let relations = self.level(&collection, &next, &relation.nested).await?;
        let joined = found.into_iter().zip(relations).map(|(document, relations)| {
            Arc::new(Joined { collection: collection.clone(), document, relations })
        });
        Ok(joined.collect())
    }

    /// Returns how much a statement may read: what is left of the bound, if there is room for as much.
    fn most_bytes(&self) -> usize {
        self.bytes.min(self.scan.room().free_bytes())
    }

    /// Finds the first of these collections that exists, and what the principal may read of it, if that is anything.
    async fn find_readable(
        &self,
        names: &[String],
    ) -> Result<Option<(Arc<Collection>, ReadRights)>, ServiceError> {
        if permission::check(self.principal, Action::ReadDocuments).is_err() {
            return Ok(None);
        }
        let Some(found) = names.iter().find_map(|name| self.catalog.find(name)) else { return Ok(None) };
        let rights = self.rights.read_rights(found).await?;
        Ok(match rights.readable {
            Readable::Nothing(_) => None,
            _ => Some((found.clone(), rights)),
        })
    }
}

fn named(document: &Document, relation: &str) -> Named {
    let fields = document.data.fields();
    if let Some(value) = fields.get(&format!("{relation}_id")) {
        return Named::One(id_of(value));
    }
    match fields.get(&format!("{relation}_ids")) {
        Some(Value::Array(items)) => Named::Many(items.iter().filter_map(id_of).collect()),
        Some(_) => Named::Many(Vec::new()),
        None => Named::Nothing,
    }
}

/// Reads an id in a document's data. A number stands for its decimal text.
fn id_of(value: &Value) -> Option<DocumentId> {
    match value {
        Value::String(text) => DocumentId::parse(text).ok(),
        Value::Number(number) => DocumentId::parse(&number.to_string()).ok(),
        _ => None,
    }
}
