//! Finding a collection by the name or id in a path.

use std::sync::Arc;

use super::error::ServiceError;
use crate::{
    auth::{Principal, Rights, permission},
    domain::{Collection, ProjectId},
    query::{Filter, unknown_field_of_users},
    store::{Db, Lane, collections::catalog::Catalogs},
};

/// Gets a collection of a project by its name or id.
///
/// # Errors
/// [`ServiceError::UnknownCollection`].
pub(super) async fn get_collection(
    catalogs: &Catalogs,
    project: &ProjectId,
    name_or_id: &str,
) -> Result<Arc<Collection>, ServiceError> {
    catalogs.find(project, name_or_id).await?.ok_or(ServiceError::UnknownCollection)
}

/// Gets a collection of which the principal may read something, and narrows a filter to that.
///
/// # Errors
/// [`ServiceError::UnknownCollection`] and [`ServiceError::Forbidden`]; [`ServiceError::UnknownField`] if the collection can have no
/// such field.
pub(super) async fn get_readable(
    (db, catalogs): (&Db, &Catalogs),
    principal: &Principal,
    name_or_id: &str,
    filter: Filter,
) -> Result<(Arc<Collection>, Filter), ServiceError> {
    let collection = get_collection(catalogs, &principal.project, name_or_id).await?;
    if collection.name.is_users()
        && let Some(told) = unknown_field_of_users(&filter)
    {
        return Err(ServiceError::UnknownField(told));
    }
    let rights = Rights::new(db, Lane::Scan, catalogs.get(&principal.project).await?, principal);
    let filter = permission::meant(&collection, filter);
    let filter = rights.readable(&collection).await?.narrow(filter)?;
    Ok((collection, filter))
}
