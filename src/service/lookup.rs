//! Finding a collection by the name or id in a path.

use std::sync::Arc;

use super::error::ServiceError;
use crate::{auth::Principal, domain::Collection, store::collections::catalog::Catalogs};

/// Gets a collection of the principal's project by its name or id.
///
/// # Errors
/// [`ServiceError::UnknownCollection`].
pub(super) async fn get_collection(
    catalogs: &Catalogs,
    principal: &Principal,
    name_or_id: &str,
) -> Result<Arc<Collection>, ServiceError> {
    catalogs.find(&principal.project, name_or_id).await?.ok_or(ServiceError::UnknownCollection)
}
