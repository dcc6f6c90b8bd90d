//! What a principal may read of a collection, found in a turn of the principal where that may take long.

use super::{
    documents::Documents,
    error::ServiceError,
    lookup::{View, get_collection, view},
};
use crate::{
    auth::{Principal, Ruling},
    query::Filter,
};

impl Documents {
    /// Does the same as [`view`] in a turn of the principal, if the rules ask other collections: that may be long reads.
    ///
    /// # Errors
    /// As [`view`]; [`ServiceError::Busy`] if the turn doesn't come in time.
    pub(super) async fn view(
        &self,
        principal: &Principal,
        name_or_id: &str,
        filter: Filter,
    ) -> Result<View, ServiceError> {
        let collection = get_collection(&self.catalogs, &principal.project, name_or_id).await?;
        let catalog = self.catalogs.get(&principal.project).await?;
        let asks_others = match Ruling::of(&catalog, &collection, principal.is_server()) {
            Ruling::Rules(rules) => rules.has_relations(),
            Ruling::Free | Ruling::Closed => false,
        };
        let _turn = if asks_others { Some(self.scans.begin(principal).await?) } else { None };
        view((&self.db, &self.catalogs), principal, name_or_id, filter).await
    }
}
