//! Operators of a filter's terms, and how the key of a term names one.

use crate::query::{Comparison, Part};

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

impl Operator {
    /// Splits a key into its field and its operator. `__` is tried before `_`. Returns `None` if the suffix is not an
    /// operator: then it belongs to the field's name.
    pub(super) fn split(key: &str) -> Option<(&str, Self)> {
        ["__", "_"].iter().find_map(|separator| {
            OPERATORS.iter().find_map(|(suffix, operator)| {
                let name = key.strip_suffix(suffix)?.strip_suffix(separator)?;
                (!name.is_empty()).then_some((name, *operator))
            })
        })
    }
}

/// Returns the operator whose name is nearest to an unknown one, if it is near.
pub(super) fn nearest(unknown: &str) -> Option<&'static str> {
    let distance = |name: &str| {
        // Counts the characters to add or remove, in any order: names are short.
        let mut rest: Vec<_> = name.chars().collect();
        let extra = unknown.chars().filter(|letter| match rest.iter().position(|own| own == letter) {
            Some(place) => {
                rest.remove(place);
                false
            }
            None => true,
        });
        extra.count() + rest.len()
    };
    let names = OPERATORS.iter().map(|(name, _)| *name);
    let nearest = names.min_by_key(|name| distance(name))?;
    (distance(nearest) <= 2 && distance(nearest) < nearest.len()).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_operator_is_near_to_the_one_that_was_meant() {
        for (unknown, expected) in [
            ("gtr", Some("gt")),
            ("nin", Some("in")),
            ("not_in", Some("notin")),
            ("startsWith", Some("startswith")),
            ("regex", None),
            ("x", None),
        ] {
            assert_eq!(nearest(unknown), expected, "{unknown}");
        }
    }
}
