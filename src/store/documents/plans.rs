//! How the database does a list: whether an index serves it, asked of the database itself and remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sea_orm::{
    ConnectionTrait, DbBackend,
    sea_query::{PostgresQueryBuilder, SqliteQueryBuilder},
};

use crate::{
    query::page::Page,
    store::{
        Result,
        documents::{
            explain::{ListPlan, explain_statement},
            list::{ListQuery, Listing, list_statement},
        },
    },
};

/// Statements that are remembered; with one more, all are forgotten.
const MAX_REMEMBERED: usize = 1000;

/// Remembers plans by the text of their statements. Cheap to clone.
#[derive(Clone, Default)]
pub struct Plans(Arc<Mutex<HashMap<String, (u64, ListPlan)>>>);

impl Plans {
    /// How a list is done. Every page counts as the first: what narrows the others is only where the last one ended.
    ///
    /// # Errors
    /// The database's own, if it has to be asked.
    pub async fn get(
        &self,
        db: &impl ConnectionTrait,
        query: ListQuery<'_>,
        control: u64,
    ) -> Result<ListPlan> {
        let backend = db.get_database_backend();
        let page = Page { after: None, offset: 0, ..query.listing.page.clone() };
        let query = ListQuery { listing: Listing { page: &page, ..query.listing }, ..query };
        let statement = list_statement(query, backend);
        let text = match backend {
            DbBackend::Postgres => statement.build(PostgresQueryBuilder).0,
            _ => statement.build(SqliteQueryBuilder).0,
        };
        if let Some(plan) = self.find(&text, control) {
            return Ok(plan);
        }
        let accesses = explain_statement(db, &statement, query.listing.indexes).await?;
        let plan = ListPlan::of(&accesses, query.listing.filter);
        // An index that is no longer declared is gone in a moment, and no entry of the log will say so.
        let is_declared = |name: &String| query.listing.indexes.iter().any(|index| index.name() == *name);
        let is_ours = |name: &String| name.starts_with("coir_");
        if accesses
            .iter()
            .filter_map(|access| access.index.as_ref())
            .all(|name| !is_ours(name) || is_declared(name))
        {
            self.remember(text, control, plan);
        }
        Ok(plan)
    }

    /// The plan that was remembered at the same `control` sequence of the project, so since indexes last changed.
    fn find(&self, statement: &str, control: u64) -> Option<ListPlan> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.get(statement).filter(|(at, _)| *at == control).map(|(_, plan)| *plan)
    }

    /// Remembers a plan.
    fn remember(&self, statement: String, control: u64, plan: ListPlan) {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= MAX_REMEMBERED {
            plans.clear();
        }
        plans.insert(statement, (control, plan));
    }
}
