//! Operators of a filter's terms, and how the key of a term names one.

use crate::{
    domain::nearest,
    query::{Comparison, Part},
};

/// The operator of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Compares(Comparison),
    HasText(Part),
    In,
    NotIn,
    IsNull,
    HasElement,
}

/// The suffixes that name an operator. A suffix that ends like another one comes before it.
const OPERATORS: [(&str, Operator); 13] = [
    ("eq", Operator::Eq),
    ("ne", Operator::Ne),
    ("gt", Operator::Compares(Comparison::Greater)),
    ("gte", Operator::Compares(Comparison::GreaterOrEqual)),
    ("lt", Operator::Compares(Comparison::Less)),
    ("lte", Operator::Compares(Comparison::LessOrEqual)),
    ("array_contains", Operator::HasElement),
    ("contains", Operator::HasText(Part::Anywhere)),
    ("startswith", Operator::HasText(Part::Start)),
    ("endswith", Operator::HasText(Part::End)),
    ("notin", Operator::NotIn),
    ("in", Operator::In),
    ("isnull", Operator::IsNull),
];

/// Words of other query languages that are far from ours, each with ours.
const FOREIGN: [(&[&str], &str); 13] = [
    (&["gtr", "ge", "min", "from", "since", "atleast"], "gte"),
    (&["ltr", "le", "max", "until", "atmost"], "lte"),
    (&["above", "after", "greater", "greaterthan", "greater_than"], "gt"),
    (&["below", "before", "less", "lessthan", "less_than"], "lt"),
    (
        &["like", "ilike", "icontains", "icontain", "match", "matches", "regex", "iregex", "search"],
        "contains",
    ),
    (&["istartswith", "prefix", "begins", "beginswith", "starts", "begins_with"], "startswith"),
    (&["iendswith", "suffix", "ends"], "endswith"),
    (&["exact", "iexact", "is", "equal", "equals", "equalto"], "eq"),
    (&["not", "neq", "nq", "not_eq", "isnot", "is_not"], "ne"),
    (&["nin", "not_in", "exclude"], "notin"),
    (&["any", "anyof", "any_of", "oneof", "one_of"], "in"),
    (&["null", "is_null", "exists", "exist", "empty", "isempty", "notnull", "isnotnull"], "isnull"),
    (&["has", "includes", "include", "arraycontains", "array_has", "element", "all"], "array_contains"),
];

/// A key's field names and its operator.
pub(super) struct Split<'a> {
    pub(super) names: &'a str,
    pub(super) operator: Operator,
    /// Whether the operator stands after `__`, and so is meant as one for certain.
    pub(super) is_explicit: bool,
}

impl Operator {
    /// Splits a key into its field and its operator. `__` is tried before `_`. Returns `None` if the suffix is not an
    /// operator: then it belongs to the field's name.
    pub(super) fn split(key: &str) -> Option<Split<'_>> {
        [("__", true), ("_", false)].iter().find_map(|(separator, is_explicit)| {
            OPERATORS.iter().find_map(|(suffix, operator)| {
                let names = key.strip_suffix(suffix)?.strip_suffix(separator)?;
                let split = Split { names, operator: *operator, is_explicit: *is_explicit };
                (!names.is_empty()).then_some(split)
            })
        })
    }
}

/// Returns the words of all operators, with commas between them.
pub(super) fn operator_words() -> String {
    OPERATORS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

/// Returns the operator that a word means in another case or product, or was most likely meant to be.
pub(super) fn nearest_operator(unknown: &str) -> Option<&'static str> {
    let word = unknown.to_ascii_lowercase();
    if let Some((own, _)) = OPERATORS.iter().find(|(own, _)| *own == word) {
        return Some(own);
    }
    let is_foreign = |(words, _): &&(&[&str], &str)| words.contains(&word.as_str());
    if let Some((_, own)) = FOREIGN.iter().find(is_foreign) {
        return Some(own);
    }
    // One letter of two is too little to know an operator by, and numbers are those of a path: `tags__0`.
    if word.len() < 3 || word.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    nearest(&word, OPERATORS.iter().map(|(name, _)| *name))
}

/// Whether a word is an operator, here or elsewhere, and hardly anything else.
pub(super) fn is_operator_word(word: &str) -> bool {
    const ELSEWHERE: [&str; 14] = [
        "gtr",
        "ltr",
        "ge",
        "le",
        "gteq",
        "lteq",
        "neq",
        "nin",
        "not_in",
        "like",
        "ilike",
        "icontains",
        "starts_with",
        "ends_with",
    ];
    let is_it = |known: &str| known.eq_ignore_ascii_case(word);
    OPERATORS.iter().any(|(name, _)| is_it(name)) || ELSEWHERE.iter().any(|known| is_it(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_languages_are_known() {
        for (unknown, expected) in [
            ("gtr", Some("gte")),
            ("GTE", Some("gte")),
            ("icontains", Some("contains")),
            ("not_in", Some("notin")),
            ("exists", Some("isnull")),
            ("startsWith", Some("startswith")),
            ("starts_with", Some("startswith")),
            ("contain", Some("contains")),
            ("gtte", Some("gte")),
            ("id", None),
            ("0", None),
            ("name", None),
            ("", None),
        ] {
            assert_eq!(nearest_operator(unknown), expected, "{unknown}");
        }
    }
}
