//! The document's own times in a filter: moments of any precision, compared with times that have milliseconds.

use serde_json::Value;

use crate::{
    domain::Timestamp,
    query::{
        Comparison, Field, Filter,
        parse::{
            literal::{Literal, Typing, shorten},
            operator::{Operator, is_null},
        },
    },
};

/// A moment of a filter.
struct Time {
    /// The last millisecond that isn't after it.
    millis: i64,
    /// Whether it is that millisecond.
    is_exact: bool,
}

/// What a term asks of one of the document's own times, which are always there. The error is the rest of a sentence that
/// names the term.
pub(super) fn comparison(
    field: Field,
    operator: Operator,
    literal: &Literal,
    typing: Typing,
) -> Result<Filter, String> {
    let equals = |literals: Vec<Literal>| {
        let times = literals.iter().map(time).collect::<Result<Vec<_>, _>>()?;
        // No stored time has a finer fraction than a millisecond.
        let exact =
            times.into_iter().filter(|time| time.is_exact).map(|time| Value::from(time.millis)).collect();
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
            // Between two milliseconds, what is at least as late is later than the first of them.
            let comparison = match comparison {
                Comparison::GreaterOrEqual if !time.is_exact => Comparison::Greater,
                Comparison::Less if !time.is_exact => Comparison::LessOrEqual,
                comparison => comparison,
            };
            Filter::Compares(field, comparison, vec![Value::from(time.millis)])
        }
        Operator::HasText(_) | Operator::HasElement => {
            return Err("a time is compared by eq, ne, gt, gte, lt, lte, in and notin".to_owned());
        }
    })
}

fn time(literal: &Literal) -> Result<Time, String> {
    let (Literal::Json(Value::String(text)) | Literal::Text(text)) = literal else {
        return Err("times are compared with RFC 3339 text, such as \"2026-01-31T09:30:00Z\"".to_owned());
    };
    match Timestamp::parse(text) {
        Some((moment, is_exact)) => Ok(Time { millis: moment.0, is_exact }),
        None => {
            let text = shorten(text);
            Err(format!("`{text}` is no time; write RFC 3339 (2026-01-31T09:30:00Z) or a date"))
        }
    }
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
