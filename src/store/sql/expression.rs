//! Expressions that the other files share.

use sea_orm::{
    Value as SqlValue,
    sea_query::{BinOper, Expr, ExprTrait},
};

use crate::query::Comparison;

/// Returns text that stands in the statement itself, and is not bound.
pub fn literal(text: &str) -> Expr {
    Expr::Constant(SqlValue::String(Some(text.to_owned())))
}

/// Joins conditions with AND. No condition is TRUE.
pub fn all_of(conditions: Vec<Expr>) -> Expr {
    conditions.into_iter().reduce(ExprTrait::and).unwrap_or(Expr::cust("TRUE"))
}

/// Joins conditions with OR. No condition is FALSE.
pub fn any_of(alternatives: Vec<Expr>) -> Expr {
    alternatives.into_iter().reduce(ExprTrait::or).unwrap_or(Expr::cust("FALSE"))
}

impl Comparison {
    /// Returns the operator of SQL.
    pub(super) fn operator(self) -> BinOper {
        match self {
            Self::Greater => BinOper::GreaterThan,
            Self::GreaterOrEqual => BinOper::GreaterThanOrEqual,
            Self::Less => BinOper::SmallerThan,
            Self::LessOrEqual => BinOper::SmallerThanOrEqual,
        }
    }
}
