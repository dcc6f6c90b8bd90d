//! Finding a collection by the name or id in a path.

use std::sync::Arc;

use super::error::ServiceError;
use crate::{
    auth::{Forbidden, Principal, Rights, permission},
    domain::{Collection, ProjectId},
    query::{
        Field, Filter, Mask,
        page::{Page, Sort},
        unknown_field_of_users,
    },
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

/// A collection of which the principal may read something.
pub(super) struct View {
    pub(super) collection: Arc<Collection>,
    /// The documents that are wanted and that the principal may read.
    pub(super) filter: Filter,
    /// The fields of these that the principal may not read.
    pub(super) mask: Arc<Mask>,
}

/// Gets a collection of which the principal may read something, and narrows a filter to that.
///
/// # Errors
/// [`ServiceError::UnknownCollection`] and [`ServiceError::Forbidden`]; [`ServiceError::UnknownField`] if the collection can have no
/// such field.
pub(super) async fn view(
    (db, catalogs): (&Db, &Catalogs),
    principal: &Principal,
    name_or_id: &str,
    filter: Filter,
) -> Result<View, ServiceError> {
    let collection = get_collection(catalogs, &principal.project, name_or_id).await?;
    if collection.name.is_users()
        && let Some(told) = unknown_field_of_users(&filter)
    {
        return Err(ServiceError::UnknownField(told));
    }
    let rights = Rights::new(db, Lane::Scan, catalogs.get(&principal.project).await?, principal);
    let filter = permission::meant(&collection, filter);
    let rights = rights.read_rights(&collection).await?;
    Ok(View { filter: rights.narrow(filter)?, mask: rights.mask, collection })
}

impl View {
    /// Returns a field as the principal sees it.
    ///
    /// # Errors
    /// [`Forbidden::HiddenField`].
    pub(super) fn field(&self, field: Field) -> Result<Field, Forbidden> {
        self.mask.check(&field)?;
        Ok(self.mask.field(field))
    }

    /// Returns a page of the documents as the principal sees them.
    ///
    /// # Errors
    /// [`Forbidden::HiddenField`].
    pub(super) fn page(&self, page: Page) -> Result<Page, Forbidden> {
        Ok(Page { sort: self.sort(page.sort)?, ..page })
    }

    /// Returns a sort of the documents as the principal sees them.
    ///
    /// # Errors
    /// [`Forbidden::HiddenField`].
    pub(super) fn sort(&self, sort: Sort) -> Result<Sort, Forbidden> {
        Ok(self.mask.sort(sort)?)
    }
}
