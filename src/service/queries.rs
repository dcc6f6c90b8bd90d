//! Questions about many documents that are answered without them: count, aggregate, group.

use serde_json::Value;

use super::{Documents, ServiceError, find_collection};
use crate::{
    auth::{Action, Principal, permission},
    query::{
        Field, Filter,
        aggregate::{Operation, shown},
        page::{Direction, Page, Sort},
        planner::helpful_fields,
    },
    store::{
        Lane,
        documents::aggregates::{self, Group, Grouping},
    },
};

/// What the values of an answer's groups may take, in bytes of their text.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

impl Documents {
    /// How many documents match.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn count(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
    ) -> Result<u64, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let collection = find_collection(&self.catalogs, principal, collection).await?;
        let helpful = helpful_fields(&filter, None);
        let read = move |db| async move { aggregates::count(&db, &collection.id, &filter).await };
        let count = self.db.read(Lane::Scan, read).await;
        count.map_err(|err| ServiceError::of_query(err, helpful))
    }

    /// What an operation gives over a field of the documents that match; `None` as the field counts documents.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn aggregate(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        operation: Operation,
        field: Option<Field>,
    ) -> Result<Value, ServiceError> {
        let Some(field) = field else {
            return Ok(self.count(principal, collection, filter).await?.into());
        };
        let has_value = || Filter::Equals(field.clone(), vec![Value::Null]).negate();
        let direction = match operation {
            Operation::Count => {
                return Ok(self.count(principal, collection, filter.and(has_value())).await?.into());
            }
            Operation::Least => Direction::Ascending,
            Operation::Greatest => Direction::Descending,
            Operation::Sum | Operation::Average => {
                permission::check(principal, Action::ReadDocuments)?;
                let collection = find_collection(&self.catalogs, principal, collection).await?;
                let helpful = helpful_fields(&filter, None);
                let read = move |db| async move {
                    aggregates::total(&db, &collection.id, &filter, &field, operation).await
                };
                let total = self.db.read(Lane::Scan, read).await;
                return total.map_err(|err| ServiceError::of_query(err, helpful));
            }
        };
        // The first of a list, which an index can find.
        let sort = match field {
            Field::Id => Sort { terms: Vec::new(), by_id: direction },
            _ => Sort { terms: vec![(field.clone(), direction)], by_id: direction },
        };
        let page = Page { sort, limit: 1, offset: 0, after: None };
        let list = self.list(principal, collection, filter.and(has_value()), page).await?;
        let best = list.listed.documents.first().and_then(|document| field.value_in(document));
        Ok(best.map_or(Value::Null, |value| shown(&field, value.into_owned())))
    }

    /// The documents that match, grouped by their values: the largest group first.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn group(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        grouping: Grouping,
    ) -> Result<Vec<Group>, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let collection = find_collection(&self.catalogs, principal, collection).await?;
        let helpful = helpful_fields(&filter, None);
        let read = move |db| async move {
            aggregates::group(&db, &collection.id, &filter, &grouping, MAX_GROUP_BYTES).await
        };
        let groups = self.db.read(Lane::Scan, read).await;
        let groups = groups.map_err(|err| ServiceError::of_query(err, helpful))?;
        groups.ok_or(ServiceError::TooLarge(
            "the values of these groups take too much; ask with a smaller `limit`",
        ))
    }
}
