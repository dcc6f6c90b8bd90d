//! Relations: which documents are joined to a document.

use super::{
    page::split_names,
    parse::{FilterError, Names},
};
use crate::domain::{FieldPath, Segment, USERS};

/// The most relations of one request, all levels together.
const MAX_RELATIONS: usize = 10;
/// The most levels of relations.
const MAX_DEPTH: usize = 3;

/// The relations to follow, on each level in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Populate {
    pub relations: Vec<Relation>,
    /// Whether a relation that neither a field nor a collection has is refused.
    pub names: Names,
}

/// A relation. `author` joins the documents that `author_id` or `author_ids` name. If a document has neither field, it joins
/// the documents of the collection that name the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The name, under which the documents are returned.
    pub name: String,
    /// The collection, if the name does not tell it.
    pub source: Option<String>,
    /// Whether the words that the client libraries have for users mean the collection of users.
    pub knows_users: bool,
    /// The relations of the joined documents.
    pub nested: Populate,
}

impl Populate {
    /// Parses `author,post.author:people`: relations with commas between them, dots for nesting, and a collection after a
    /// colon if the name does not tell it. All texts together are one list.
    ///
    /// # Errors
    /// [`FilterError`], which names the relation.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, names: Names) -> Result<Self, FilterError> {
        let none = || Self { relations: Vec::new(), names };
        let mut all = none();
        for text in texts.into_iter().flat_map(split_names) {
            let refuse = |why: &str| FilterError::new(format!("populate `{text}`: {why}"));
            let path = FieldPath::parse(&text).map_err(|err| refuse(&err.to_string()))?;
            if path.segments().len() > MAX_DEPTH {
                return Err(refuse(&format!("relations must be nested at most {MAX_DEPTH} levels deep")));
            }
            let mut level = &mut all;
            for segment in path.segments() {
                let Segment::Key(step) = segment else {
                    return Err(refuse("a relation must be a name, not a position in a list"));
                };
                let (name, source) = match step.rsplit_once(':') {
                    Some((name, source)) => (name, Some(source)),
                    None => (step.as_str(), None),
                };
                if name.is_empty() || source == Some("") || step == "*" {
                    return Err(refuse(
                        "each relation must have a name, as in `populate=author,comments.author:people`",
                    ));
                }
                let place = level.relations.iter().position(|relation| relation.name == name);
                let place = place.unwrap_or_else(|| {
                    level.relations.push(Relation {
                        name: name.to_owned(),
                        source: None,
                        knows_users: names == Names::Lenient,
                        nested: none(),
                    });
                    level.relations.len() - 1
                });
                let relation = &mut level.relations[place];
                match (&relation.source, source) {
                    (Some(one), Some(two)) if one != two => {
                        return Err(refuse("a relation must come from one collection"));
                    }
                    (None, Some(source)) => relation.source = Some(source.to_owned()),
                    _ => {}
                }
                level = &mut relation.nested;
            }
            if all.count() > MAX_RELATIONS {
                return Err(FilterError::new(format!(
                    "`populate` must have at most {MAX_RELATIONS} relations"
                )));
            }
        }
        Ok(all)
    }

    /// Refuses no relation any more.
    pub fn accept_all(&mut self) {
        self.names = Names::Lenient;
        self.relations.iter_mut().for_each(|relation| relation.nested.accept_all());
    }

    fn count(&self) -> usize {
        self.relations.iter().map(|relation| 1 + relation.nested.count()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }
}

impl Relation {
    /// Returns the names of the collections that it may mean, the likeliest first.
    ///
    /// The client libraries call users `appuser`. They also call them `users`, which a project's own collection of this name
    /// comes before.
    pub fn sources(&self) -> Vec<String> {
        let mut names = match &self.source {
            Some(source) => vec![source.clone()],
            None => plurals(&self.name).to_vec(),
        };
        let has = |words: &[&str]| names.iter().any(|name| words.contains(&name.as_str()));
        if !self.knows_users {
            return names;
        }
        if has(&["appuser", "appusers", "app_user", "app_users"]) {
            return vec![USERS.to_owned()];
        }
        if has(&["users"]) {
            names.push(USERS.to_owned());
        }
        names
    }
}

/// Returns the names of the collections that a relation may mean, the likeliest first: `authors` and `author` for `author`,
/// `categories` and `category` for `category`.
pub fn plurals(name: &str) -> [String; 2] {
    let before_last = name.chars().rev().nth(1);
    let plural = match name.strip_suffix('y') {
        Some(stem) if before_last.is_some_and(|letter| !"aeiou".contains(letter)) => format!("{stem}ies"),
        _ if ["s", "x", "z", "ch", "sh"].iter().any(|end| name.ends_with(end)) => format!("{name}es"),
        _ => format!("{name}s"),
    };
    [plural, name.to_owned()]
}

/// Returns what a document of a collection may be called by a field that names it: `comment` for `comments`, `category` for
/// `categories`, `box` and `boxe` for `boxes`.
pub fn singulars(name: &str) -> Vec<String> {
    let mut singulars = Vec::new();
    if let Some(stem) = name.strip_suffix("ies") {
        singulars.push(format!("{stem}y"));
    } else if let Some(stem) = name.strip_suffix("es")
        && ["s", "x", "z", "ch", "sh"].iter().any(|end| stem.ends_with(end))
    {
        singulars.push(stem.to_owned());
    }
    singulars.push(name.strip_suffix('s').unwrap_or(name).to_owned());
    singulars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(populate: &Populate) -> Vec<String> {
        let shown = |relation: &Relation| {
            let source = relation.source.as_deref().map(|source| format!(":{source}")).unwrap_or_default();
            match names(&relation.nested).join(" ") {
                nested if nested.is_empty() => format!("{}{source}", relation.name),
                nested => format!("{}{source}({nested})", relation.name),
            }
        };
        populate.relations.iter().map(shown).collect()
    }

    #[test]
    fn relations_are_read_as_the_client_libraries_write_them() {
        for (texts, expected) in [
            (vec!["author"], "author"),
            (vec!["author,category"], "author category"),
            (vec!["author", "category"], "author category"),
            (vec!["post.author"], "post(author)"),
            (vec!["post", "post.author,post.tag"], "post(author tag)"),
            (vec!["author:people"], "author:people"),
            (vec!["post:entries.author:people"], "post:entries(author:people)"),
        ] {
            assert_eq!(
                names(&Populate::parse(texts.clone(), Names::Strict).unwrap()).join(" "),
                expected,
                "{texts:?}"
            );
        }
        for text in ["", "a,,b", "a.", "*", "a:", ":b", "a.0", "a.b.c.d", "a:x,a:y", "a,b,c,d,e,f,g,h,i,j,k"]
        {
            assert!(Populate::parse([text], Names::Strict).is_err(), "{text:?}");
        }
    }

    #[test]
    fn common_nouns_have_a_plural_and_a_singular() {
        for (one, many) in [
            ("author", "authors"),
            ("category", "categories"),
            ("day", "days"),
            ("box", "boxes"),
            ("class", "classes"),
            ("branch", "branches"),
        ] {
            assert_eq!(plurals(one)[0], many);
            assert_eq!(singulars(many)[0], one);
        }
        assert_eq!(singulars("series"), ["sery", "serie"]);
        assert_eq!(singulars("sheep"), ["sheep"]);
    }
}
