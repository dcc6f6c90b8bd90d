//! Counts, aggregates and groups documents, without returning them.

use serde_json::Value;

use super::{documents::Documents, error::ServiceError, lookup::View};
use crate::{
    auth::{Action, Principal, permission},
    query::{
        Field, Filter,
        aggregate::{Operation, shown},
        page::{Direction, Page, Sort, SortTerm},
        planner::helpful_fields,
    },
    store::documents::aggregates::{self, Group, GroupAggregate, Grouping},
};

/// The most that the values of an answer's groups may take, in bytes of their text.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

impl Documents {
    /// Counts the documents that match.
    pub async fn count(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
    ) -> Result<u64, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let helpful = helpful_fields(&filter, None);
        let View { collection, filter, .. } = self.view(principal, collection, filter).await?;
        let read = move |db| async move { aggregates::count(&db, &collection.id, &filter).await };
        let count = self.scans.begin(principal).await?.read(read).await;
        count.map_err(|err| ServiceError::of_query(err, helpful))
    }

    /// Computes an operation over a field of the documents that match. Without a field it counts documents.
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
                let helpful = helpful_fields(&filter, None);
                let view = self.view(principal, collection, filter).await?;
                let field = view.field(field)?;
                let View { collection, filter, .. } = view;
                let read = move |db| async move {
                    aggregates::total(&db, &collection.id, &filter, &field, operation).await
                };
                let total = self.scans.begin(principal).await?.read(read).await;
                return total.map_err(|err| ServiceError::of_query(err, helpful));
            }
        };
        // The least and the greatest are the first of a sorted list, which an index can find.
        let sort = match field {
            Field::Id => Sort { terms: Vec::new(), by_id: direction },
            _ => Sort { terms: vec![SortTerm { field: field.clone(), direction }], by_id: direction },
        };
        let page = Page { sort, limit: 1, offset: 0, after: None };
        let list = self.list(principal, collection, filter.and(has_value()), page).await?;
        let best = list.listed.documents.first().and_then(|document| field.value_in(document));
        Ok(best.map_or(Value::Null, |value| shown(&field, value.into_owned())))
    }

    /// Groups the documents that match by the value of a field, the largest group first.
    ///
    /// # Errors
    /// [`ServiceError::TooLarge`] if the values of the groups take too much memory together.
    pub async fn group(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        grouping: Grouping,
    ) -> Result<Vec<Group>, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let helpful = helpful_fields(&filter, None);
        let view = self.view(principal, collection, filter).await?;
        let aggregate =
            |of: GroupAggregate| Ok::<_, ServiceError>(GroupAggregate { field: view.field(of.field)?, ..of });
        let of = grouping.of.map(aggregate).transpose()?;
        let grouping = Grouping { field: view.field(grouping.field)?, of, ..grouping };
        let View { collection, filter, .. } = view;
        let read = move |db| async move {
            aggregates::group(&db, &collection.id, &filter, &grouping, MAX_GROUP_BYTES).await
        };
        let groups = self.scans.begin(principal).await?.read(read).await;
        let groups = groups.map_err(|err| ServiceError::of_query(err, helpful))?;
        groups.ok_or(ServiceError::TooLarge(
            "the values of these groups take too much memory; ask with a smaller `limit`",
        ))
    }
}
