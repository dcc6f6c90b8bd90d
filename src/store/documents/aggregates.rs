//! Counts, aggregates and groups. Numbers are added up here, because the sums of the databases depend on the order of the rows
//! and differ between them.

use std::ops::ControlFlow;

use sea_orm::{
    ConnectionTrait, DbBackend, QueryResult,
    sea_query::{
        Alias, CommonTableExpression, Expr, ExprTrait, Order, Query, SelectStatement, UnionType, WithClause,
    },
};
use serde_json::Value;

use crate::{
    domain::{CollectionId, data::canonicalise, json},
    query::{
        Field, Filter,
        aggregate::{Aggregate, Operation, shown},
    },
    store::{
        ReadConnection, Result, StoreError,
        documents::table::select_matching,
        sql::{
            filter::{condition, source_of},
            key::{Source, key_columns, postgres_value, sqlite_text},
        },
    },
};

/// Counts the documents that match.
///
/// # Errors
/// A database failure.
pub async fn count(db: &impl ConnectionTrait, collection: &CollectionId, filter: &Filter) -> Result<u64> {
    let mut select = select_matching(collection, filter, db.get_database_backend());
    select.expr(Expr::cust("COUNT(*)"));
    let row = db.query_one(&select).await?;
    let count = row.map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))?;
    Ok(count as u64)
}

/// Returns the sum or mean of a field's numbers in the documents that match.
///
/// # Errors
/// A database failure.
pub async fn total(
    db: &ReadConnection,
    collection: &CollectionId,
    filter: &Filter,
    field: &Field,
    operation: Operation,
) -> Result<Value> {
    let backend = db.get_database_backend();
    let mut select = select_matching(collection, filter, backend);
    select.expr(value_text(field, backend)).and_where(is_number(field, backend));
    let mut aggregate = Aggregate::new(operation);
    db.visit(&select, |row| {
        let text = row.try_get_by_index::<String>(0)?;
        aggregate.add(read_value(field, &text)?, "", 0);
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(aggregate.result(field))
}

/// How documents are grouped.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// Documents with equal values of this field are a group. Null and missing are equal.
    pub field: Field,
    /// The aggregate of each group.
    pub of: Option<GroupAggregate>,
    /// The most groups to return.
    pub limit: u64,
    /// How many groups are skipped first.
    pub offset: u64,
}

/// An aggregate over a field of each group.
#[derive(Clone, Debug)]
pub struct GroupAggregate {
    pub operation: Operation,
    pub field: Field,
}

/// The documents with one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The value. A time is text.
    pub value: Value,
    /// How many documents have this value.
    pub count: u64,
    /// The result of the aggregate, if one was asked for.
    pub result: Option<Value>,
}

/// Groups the documents that match. The largest group comes first. Groups of one size are in the order of their sort keys.
/// Returns `None` if the values take more than `max_bytes`.
///
/// One statement reads counts and values, so they belong together.
///
/// # Errors
/// A database failure.
pub async fn group(
    db: &ReadConnection,
    collection: &CollectionId,
    filter: &Filter,
    grouping: &Grouping,
    max_bytes: usize,
) -> Result<Option<Vec<Group>>> {
    let backend = db.get_database_backend();
    let page = page_of_groups(backend, collection, filter, grouping);
    let mut select = groups_with_texts(grouping, max_bytes, backend);
    if let Some(aggregate) = &grouping.of {
        let values = values_of_groups(backend, collection, filter, grouping, aggregate);
        select.union(UnionType::All, values);
    }
    let mut cte = CommonTableExpression::new();
    cte.table_name("page").columns(["grouped", "count", "place"].map(Alias::new)).query(page);
    let mut with = WithClause::new();
    with.cte(cte.to_owned());

    let mut found = Groups::new(grouping);
    let mut has_room = true;
    db.visit(&with.query(select), |row| {
        has_room = found.take(&row, max_bytes)?;
        Ok(if has_room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    if has_room { found.finish() } else { Ok(None) }
}

/// Collects groups from rows in any order.
struct Groups<'a> {
    grouping: &'a Grouping,
    /// Values and counts, by the place of the group.
    counts: Vec<Option<(Value, u64)>>,
    aggregates: Vec<Aggregate>,
    held_bytes: usize,
}

impl<'a> Groups<'a> {
    fn new(grouping: &'a Grouping) -> Self {
        Self { grouping, counts: Vec::new(), aggregates: Vec::new(), held_bytes: 0 }
    }

    /// Takes a row `place, count, text, id, value`, in which either the count or the value is NULL. Returns false if all values
    /// together take too much.
    fn take(&mut self, row: &QueryResult, max_bytes: usize) -> Result<bool> {
        let place = row.try_get_by_index::<i64>(0)? as usize;
        if let Some(count) = row.try_get_by_index::<Option<i64>>(1)? {
            let Some(text) = row.try_get_by_index::<Option<String>>(2)? else { return Ok(false) };
            if self.counts.len() < place {
                self.counts.resize(place, None);
            }
            let value = shown(&self.grouping.field, read_value(&self.grouping.field, &text)?);
            self.counts[place - 1] = Some((value, count as u64));
            return Ok(true);
        }
        let Some(GroupAggregate { operation, field }) = &self.grouping.of else { return Ok(true) };
        let (id, text) = (row.try_get_by_index::<String>(3)?, row.try_get_by_index::<String>(4)?);
        if self.aggregates.len() < place {
            self.aggregates.resize_with(place, || Aggregate::new(*operation));
        }
        let aggregate = &mut self.aggregates[place - 1];
        self.held_bytes -= aggregate.held_bytes();
        aggregate.add(read_value(field, &text)?, &id, text.len());
        self.held_bytes += aggregate.held_bytes();
        Ok(self.held_bytes <= max_bytes)
    }

    fn finish(self) -> Result<Option<Vec<Group>>> {
        let mut aggregates = self.aggregates.into_iter();
        let groups = self.counts.into_iter().map(|group| {
            let (value, count) = group?;
            let of = self.grouping.of.as_ref();
            let aggregate = aggregates.next();
            let result = of.map(|GroupAggregate { operation, field }| {
                aggregate.unwrap_or_else(|| Aggregate::new(*operation)).result(field)
            });
            Some(Group { value, count, result })
        });
        let groups: Option<Vec<_>> = groups.collect();
        groups.map(Some).ok_or_else(|| StoreError::custom("the database left a group out"))
    }
}

/// Selects the groups of the page with the columns `grouped, count, place`. Places count from 1.
fn page_of_groups(
    backend: DbBackend,
    collection: &CollectionId,
    filter: &Filter,
    grouping: &Grouping,
) -> SelectStatement {
    let keys = key_columns(&source_of(&grouping.field, backend), backend);
    // All arrays and objects have one key. Their texts differ between the databases, so the least id orders them.
    let names = (0..keys.len()).map(|place| format!("key{place}")).chain(["first".to_owned()]);
    let mut groups = select_matching(collection, filter, backend);
    groups
        .expr_as(group_value(&grouping.field, backend), "grouped")
        .expr_as(Expr::cust("COUNT(*)"), "count")
        .group_by_col("grouped")
        .order_by("count", Order::Desc);
    for (column, name) in keys.into_iter().chain([Expr::col("id")]).zip(names.clone()) {
        groups.expr_as(Expr::min(column), Alias::new(&name)).order_by(Alias::new(&name), Order::Asc);
    }
    groups.limit(grouping.limit).offset(grouping.offset);
    let order = format!("count DESC, {}", names.collect::<Vec<_>>().join(", "));
    Query::select()
        .columns(["grouped", "count"])
        .expr(Expr::cust(format!("ROW_NUMBER() OVER (ORDER BY {order})")))
        .from_subquery(groups, "groups")
        .take()
}

/// Selects the groups of `page` with the columns of [`Groups::take`]. All texts are NULL if they take too much together.
fn groups_with_texts(grouping: &Grouping, max_bytes: usize, backend: DbBackend) -> SelectStatement {
    let text = match (&grouping.field, backend) {
        (Field::Data(_) | Field::Masked(_), DbBackend::Postgres) => "grouped::text",
        (Field::Data(_) | Field::Masked(_), _) => "grouped",
        _ => "CAST(grouped AS text)",
    };
    let bounded = format!(
        "CASE WHEN SUM(octet_length({text})) OVER () <= {max_bytes} THEN {text} ELSE CAST(NULL AS text) END"
    );
    Query::select()
        .columns(["place", "count"])
        .expr(Expr::cust(bounded))
        .expr(Expr::cust("CAST(NULL AS text)"))
        .expr(Expr::cust("CAST(NULL AS text)"))
        .from("page")
        .take()
}

/// Selects the values to aggregate with the columns of [`Groups::take`].
fn values_of_groups(
    backend: DbBackend,
    collection: &CollectionId,
    filter: &Filter,
    grouping: &Grouping,
    aggregate: &GroupAggregate,
) -> SelectStatement {
    let GroupAggregate { operation, field: of } = aggregate;
    let wanted = if operation.is_of_numbers() {
        is_number(of, backend)
    } else {
        condition(&Filter::Equals(of.clone(), vec![Value::Null]).negate(), backend)
    };
    let mut values = select_matching(collection, filter, backend);
    values
        .column(("page", "place"))
        .expr(Expr::cust("CAST(NULL AS bigint)"))
        .expr(Expr::cust("CAST(NULL AS text)"))
        .column("id")
        .expr(value_text(of, backend))
        .inner_join("page", Expr::col(("page", "grouped")).eq(group_value(&grouping.field, backend)))
        .and_where(wanted);
    values
}

/// Returns an expression that is equal for documents of one group. It is JSON null for a missing field.
fn group_value(field: &Field, backend: DbBackend) -> Expr {
    match (source_of(field, backend), backend) {
        (Source::Data(value), DbBackend::Postgres) => {
            Expr::cust_with_exprs("COALESCE($1, 'null'::jsonb)", [postgres_value(&value)])
        }
        (Source::Data(value), _) => Expr::cust_with_exprs("COALESCE(?, 'null')", [sqlite_text(&value)]),
        (own, _) => own.own_column().unwrap_or(Expr::cust("TRUE")),
    }
}

/// Returns the text of a value, which [`read_value`] reads. NULL if the field is missing.
/// Returns the expression of a field's value as text: JSON of data, and the value itself of a document's own member.
pub(super) fn value_text(field: &Field, backend: DbBackend) -> Expr {
    match (source_of(field, backend), backend) {
        (Source::Data(value), DbBackend::Postgres) => postgres_value(&value).cast_as("text"),
        (Source::Data(value), _) => sqlite_text(&value),
        (own, _) => own.own_column().unwrap_or(Expr::val("")).cast_as("text"),
    }
}

fn is_number(field: &Field, backend: DbBackend) -> Expr {
    match (source_of(field, backend), backend) {
        (Source::Data(value), DbBackend::Postgres) => {
            Expr::cust_with_exprs("(jsonb_typeof($1) = 'number')", [postgres_value(&value)])
        }
        (Source::Data(value), _) => Expr::cust_with_exprs(
            "(json_type(?, ?) IN ('integer', 'real'))",
            [value.data(), value.path_literal()],
        ),
        _ => Expr::cust("FALSE"),
    }
}

/// Reads the text of a value in canonical form. A time is in milliseconds.
pub(super) fn read_value(field: &Field, text: &str) -> Result<Value> {
    if *field == Field::Id {
        return Ok(Value::from(text));
    }
    let refuse =
        |err: &dyn std::fmt::Display| StoreError::custom(format!("a stored value can't be read: {err}"));
    let mut value = json::parse_lenient(text.as_bytes()).map_err(|err| refuse(&err))?;
    canonicalise(&mut value, 1).map_err(|err| refuse(&err))?;
    Ok(value)
}
