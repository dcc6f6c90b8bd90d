//! Terms on fields that are not the document's own times.

use serde_json::Value;

use crate::query::{
    Field, Filter,
    parse::{
        literal::{Literal, Typing},
        operator::Operator,
    },
};

/// Builds the filter of a term on a field that is not one of the document's own times.
///
/// # Errors
/// The end of a sentence that names the term.
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
                return Err("its value must be a number or a string".to_owned());
            }
            values.retain(|value| matches!(value, Value::Number(_) | Value::String(_)));
            Filter::Compares(field, comparison, values)
        }
    })
}

/// Builds the filter of `isnull`.
///
/// # Errors
/// The end of a sentence that names the term.
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
        None => Err("its value must be true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::{
        Comparison, Part,
        parse::{
            parse_pairs, parse_value,
            tests::{equals, field, term, typed},
        },
    };

    #[test]
    fn a_suffix_that_is_not_an_operator_belongs_to_the_field() {
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
