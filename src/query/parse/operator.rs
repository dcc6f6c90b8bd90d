//! What a term of a filter does with its field, and how a key says so.

use serde_json::Value;

use crate::query::{
    Comparison, Field, Filter, Part,
    parse::literal::{Literal, Typing},
};

/// What a term does with its field.
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

/// The suffixes that name an operator. One that ends like another stands before it.
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
    /// Splits an operator off a key: `__` is tried before `_`, and a suffix that is no operator belongs to the field.
    pub(super) fn split(key: &str) -> Option<(&str, Self)> {
        ["__", "_"].iter().find_map(|separator| {
            OPERATORS.iter().find_map(|(suffix, operator)| {
                let name = key.strip_suffix(suffix)?.strip_suffix(separator)?;
                (!name.is_empty()).then_some((name, *operator))
            })
        })
    }
}

/// What a term asks of a field that isn't a time. The error is the rest of a sentence that names the term.
pub(super) fn comparison(
    field: Field,
    operator: Operator,
    literal: &Literal,
    typing: Typing,
) -> Result<Filter, String> {
    Ok(match operator {
        Operator::Eq => Filter::Equals(field, literal.values()?),
        Operator::Ne => Filter::Equals(field, literal.values()?).negate(),
        Operator::In => Filter::Equals(field, literal.list_values(typing)?),
        Operator::NotIn => Filter::Equals(field, literal.list_values(typing)?).negate(),
        Operator::IsNull => is_null(field, literal)?,
        Operator::HasElement => Filter::HasElement(field, literal.values()?),
        Operator::HasText(part) => Filter::HasText(field, part, literal.text_part()?),
        Operator::Compares(comparison) => {
            let mut values = literal.values()?;
            if matches!(literal, Literal::Json(_))
                && !matches!(values[..], [Value::Number(_) | Value::String(_)])
            {
                return Err("compares with a number or a string".to_owned());
            }
            values.retain(|value| matches!(value, Value::Number(_) | Value::String(_)));
            Filter::Compares(field, comparison, values)
        }
    })
}

/// Whether the field is null or missing, or that it isn't.
///
/// # Errors
/// As [`comparison`].
pub(super) fn is_null(field: Field, literal: &Literal) -> Result<Filter, String> {
    let wanted = match literal {
        Literal::Json(Value::Bool(wanted)) => Some(*wanted),
        Literal::Json(_) => None,
        Literal::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
    };
    let null = Filter::Equals(field, vec![Value::Null]);
    match wanted {
        Some(true) => Ok(null),
        Some(false) => Ok(null.negate()),
        None => Err("takes true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::parse::{
        parse_pairs, parse_value,
        tests::{equals, field, term, typed},
    };

    #[test]
    fn a_suffix_that_is_no_operator_belongs_to_the_field() {
        for key in ["user_id", "user_id__eq", "user_id_eq"] {
            assert_eq!(term(parse_pairs([(key, "x")])), equals("user_id", vec![json!("x")]), "{key}");
        }
        assert_eq!(term(parse_pairs([("checked_in__eq", "x")])), equals("checked_in", vec![json!("x")]));
        assert_eq!(term(parse_pairs([("limit__eq", "x")])), equals("limit", vec![json!("x")]));
        assert_eq!(parse_pairs([("limit", "x")]), Ok(Filter::all()));
        for (key, name) in [("tags_array_contains", "tags"), ("tags__array_contains", "tags")] {
            let expected = Filter::HasElement(field(name), vec![json!("x")]);
            assert_eq!(term(parse_pairs([(key, "x")])), expected, "{key}");
        }
    }

    #[test]
    fn operators_are_read_from_both_forms() {
        let list = equals("a", vec![json!("x"), json!("1"), json!(1)]);
        assert_eq!(term(parse_pairs([("a__in", "x, 1")])), list);
        assert_eq!(term(parse_pairs([("a_notin", "x,1")])), list.clone().negate());
        assert_eq!(term(parse_pairs([("a__in", "")])), equals("a", vec![]));
        assert_eq!(term(typed(json!({"a__in": ["x", null]}))), equals("a", vec![json!("x"), json!(null)]));
        assert_eq!(term(parse_value(json!({"a_in": "x,1"}), Typing::Text)), list);
        assert_eq!(term(parse_pairs([("a__isnull", "TRUE")])), equals("a", vec![json!(null)]));
        assert_eq!(term(typed(json!({"a__isnull": false}))), equals("a", vec![json!(null)]).negate());
        assert_eq!(
            term(typed(json!({"a__startswith": "Ä B"}))),
            Filter::HasText(field("a"), Part::Start, "Ä b".to_owned())
        );
        assert_eq!(
            term(parse_pairs([("a__gte", "1")])),
            Filter::Compares(field("a"), Comparison::GreaterOrEqual, vec![json!("1"), json!(1)])
        );
    }
}
