//! Terms on a document's own times. A caller's time may be finer than a millisecond; a stored one is not.

use serde_json::Value;

use crate::{
    domain::{Timestamp, time::ParsedTime},
    query::{
        Comparison, Field, Filter,
        parse::{
            literal::{Literal, Typing, shorten},
            operator::Operator,
            term::is_null,
        },
    },
};

/// Builds the filter of a term on `createdAt` or `updatedAt`, which every document has.
///
/// # Errors
/// The end of a sentence that names the term.
pub(super) fn comparison(
    field: Field,
    operator: Operator,
    literal: &Literal,
    typing: Typing,
) -> Result<Filter, String> {
    let equals = |literals: Vec<Literal>| {
        let times = literals.iter().map(time).collect::<Result<Vec<_>, _>>()?;
        // A stored time never equals one that is finer than a millisecond.
        let exact =
            times.into_iter().filter(|time| time.is_exact).map(|time| Value::from(time.floor.0)).collect();
        Ok::<_, String>(Filter::Equals(field.clone(), exact))
    };
    let own = |literal: &Literal| match literal {
        Literal::Json(Value::Null) => Ok(Filter::Equals(field.clone(), vec![Value::Null])),
        literal => equals(vec![literal.clone()]),
    };
    Ok(match operator {
        Operator::Eq => own(literal)?,
        Operator::Ne => own(literal)?.negate(),
        Operator::In => equals(literal.list(typing)?)?,
        Operator::NotIn => equals(literal.list(typing)?)?.negate(),
        Operator::IsNull => is_null(field, literal)?,
        Operator::Compares(comparison) => {
            let time = time(literal)?;
            // A time between two milliseconds: what is at or after it is after the first of them.
            let comparison = match comparison {
                Comparison::GreaterOrEqual if !time.is_exact => Comparison::Greater,
                Comparison::Less if !time.is_exact => Comparison::LessOrEqual,
                comparison => comparison,
            };
            Filter::Compares(field, comparison, vec![Value::from(time.floor.0)])
        }
        Operator::HasText(_) | Operator::HasElement => {
            return Err("a time takes the operators eq, ne, gt, gte, lt, lte, in and notin".to_owned());
        }
    })
}

fn time(literal: &Literal) -> Result<ParsedTime, String> {
    let (Literal::Json(Value::String(text)) | Literal::Text(text)) = literal else {
        return Err("its value must be RFC 3339 text, such as \"2026-01-31T09:30:00Z\"".to_owned());
    };
    Timestamp::parse(text).ok_or_else(|| {
        let with_plus = text.replacen(' ', "+", 1);
        if Timestamp::parse(&with_plus).is_some() {
            let encoded = with_plus.replace('+', "%2B");
            return format!("in a URL `+` is a space; write `%2B` in its place: `{encoded}`");
        }
        let text = shorten(text);
        format!("`{text}` is not a valid time; write RFC 3339 (2026-01-31T09:30:00Z) or a date (2026-01-31)")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::parse::{
        parse_pairs,
        tests::{equals, term, typed},
    };

    #[test]
    fn a_time_is_compared_in_milliseconds() {
        assert_eq!(
            term(typed(json!({"createdAt": "1970-01-02"}))),
            equals("createdAt", vec![json!(86_400_000)])
        );
        // Half a millisecond after the start of 1970.
        for (operator, comparison) in [
            ("gt", Comparison::Greater),
            ("gte", Comparison::Greater),
            ("lt", Comparison::LessOrEqual),
            ("lte", Comparison::LessOrEqual),
        ] {
            let filter =
                parse_pairs([(format!("createdAt__{operator}").as_str(), "1970-01-01T00:00:00.0005Z")]);
            assert_eq!(
                term(filter),
                Filter::Compares(Field::CreatedAt, comparison, vec![json!(0)]),
                "{operator}"
            );
        }
    }
}
