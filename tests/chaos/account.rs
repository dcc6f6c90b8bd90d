//! What a writer knows of its documents. It is the only one who writes them, so that it knows what each write must leave.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A collection and an id.
pub type Place = (&'static str, String);

/// Documents as their acknowledged writes left them.
#[derive(Clone, Debug, Default)]
pub struct Account {
    documents: BTreeMap<Place, Known>,
}

/// A document as its last write left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub data: Value,
    /// The number of writes since the document was created.
    pub version: i64,
    /// The entity tag, if the last write was answered with one.
    pub tag: Option<String>,
}

/// A part of a write: what it does to one document.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The document has this data afterwards. Without an id the server chooses one.
    Store {
        collection: &'static str,
        id: Option<String>,
        data: Value,
    },
    Delete {
        place: Place,
    },
}

impl Account {
    pub fn find(&self, collection: &'static str, id: &str) -> Option<&Known> {
        self.documents.get(&(collection, id.to_owned()))
    }

    /// The ids of the documents of a collection.
    pub fn ids(&self, collection: &str) -> Vec<String> {
        let own = self.documents.keys().filter(|(own, _)| *own == collection);
        own.map(|(_, id)| id.clone()).collect()
    }

    /// Takes the effect of an acknowledged write. `answered` is the document of the answer.
    ///
    /// # Errors
    /// A sentence, if the answer is not what the write must leave.
    pub fn take(&mut self, effect: &Effect, answered: &Value, tag: Option<String>) -> Result<(), String> {
        let id = answered["id"].as_str().ok_or_else(|| format!("no id: {answered}"))?.to_owned();
        match effect {
            Effect::Delete { place } => {
                let was = self.documents.remove(place);
                if id != place.1 || was.is_none() {
                    return Err(format!("{place:?} was deleted: {answered}, before: {was:?}"));
                }
            }
            Effect::Store { collection, id: wanted, data } => {
                let place = (*collection, id);
                let version = 1 + self.documents.get(&place).map_or(0, |known| known.version);
                let expected = Known { data: data.clone(), version, tag: tag.clone() };
                let known = Known {
                    data: answered["data"].clone(),
                    version: answered["version"].as_i64().unwrap_or_default(),
                    tag,
                };
                let is_expected =
                    known == expected && wanted.as_ref().is_none_or(|wanted| *wanted == place.1);
                // A writer that may lose writes goes on with what it was told.
                let told =
                    format!("{place:?} must be {expected:?} after the write, and the answer is {known:?}");
                self.documents.insert(place, known);
                if !is_expected {
                    return Err(told);
                }
            }
        }
        Ok(())
    }

    /// Forgets the document of an effect.
    pub fn forget(&mut self, effect: &Effect) {
        match effect {
            Effect::Delete { place } => self.documents.remove(place),
            Effect::Store { collection, id: Some(id), .. } => {
                self.documents.remove(&(*collection, id.clone()))
            }
            Effect::Store { id: None, .. } => None,
        };
    }

    /// Compares with the list of a collection, which may have documents of other writers.
    ///
    /// # Errors
    /// A sentence that names what is missing, is there though it was deleted or never written, or differs.
    pub fn compare(
        &self,
        collection: &str,
        writer: usize,
        listed: &BTreeMap<String, Value>,
    ) -> Result<(), String> {
        let listed = listed.iter().filter(|(_, document)| document["data"]["writer"] == writer);
        let mut listed: BTreeMap<_, _> =
            listed.map(|(id, document)| (id, json!([document["version"], document["data"]]))).collect();
        for ((_, id), known) in self.documents.iter().filter(|((own, _), _)| *own == collection) {
            let expected = json!([known.version, known.data]);
            match listed.remove(id) {
                Some(found) if found == expected => {}
                found => return Err(format!("{collection}/{id} must be {expected}, and is {found:?}")),
            }
        }
        match listed.first_key_value() {
            None => Ok(()),
            Some((id, document)) => Err(format!("nobody left {collection}/{id}, and it is {document}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let mut account = Account::default();
        for n in 1..=2 {
            let effect = Effect::Store {
                collection: "posts",
                id: Some("a".to_owned()),
                data: json!({ "writer": 1, "n": n }),
            };
            let answered = json!({ "id": "a", "version": n, "data": { "writer": 1, "n": n } });
            account.take(&effect, &answered, None).unwrap();
        }
        account
    }

    fn listed(documents: &[(&str, i64, i64)]) -> BTreeMap<String, Value> {
        let document = |(id, version, n): &(&str, i64, i64)| {
            ((*id).to_owned(), json!({ "version": version, "data": { "writer": 1, "n": n } }))
        };
        documents.iter().map(document).collect()
    }

    #[test]
    fn a_lost_a_doubled_and_a_changed_write_are_noticed() {
        let account = account();
        account.compare("posts", 1, &listed(&[("a", 2, 2)])).unwrap();
        account.compare("notes", 1, &listed(&[])).unwrap();
        account.compare("posts", 1, &listed(&[])).unwrap_err();
        account.compare("posts", 1, &listed(&[("a", 1, 1)])).unwrap_err();
        account.compare("posts", 1, &listed(&[("a", 3, 2)])).unwrap_err();
        account.compare("posts", 1, &listed(&[("a", 2, 2), ("b", 1, 2)])).unwrap_err();
    }

    #[test]
    fn an_answer_that_does_not_fit_is_noticed() {
        let store =
            |n: i64| Effect::Store { collection: "posts", id: None, data: json!({ "writer": 1, "n": n }) };
        let answer = |version: i64| json!({ "id": "a", "version": version, "data": { "writer": 1, "n": 3 } });
        account().take(&store(3), &answer(3), None).unwrap();
        account().take(&store(3), &answer(4), None).unwrap_err();
        account().take(&store(4), &answer(3), None).unwrap_err();
        let delete = Effect::Delete { place: ("posts", "b".to_owned()) };
        account().take(&delete, &json!({ "id": "b" }), None).unwrap_err();
    }
}
