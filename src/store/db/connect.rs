//! Opens the pools of either database.

use std::time::Duration;

use crate::store::db::{
    durability::Durability,
    pools::{ConnectError, Pools},
    postgres::{self, url::PostgresUrl},
    sqlite,
    url::{is_postgres, is_sqlite},
};

/// Opens the pools of the database that a URL names.
pub(super) async fn connect(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> Result<Pools, ConnectError> {
    if is_postgres(url) {
        let url = PostgresUrl::parse(url).map_err(ConnectError::BadUrl)?;
        Ok(postgres::connect(url, durability, query_limit).await?)
    } else if is_sqlite(url) {
        sqlite::connect(url, durability).await
    } else {
        Err(ConnectError::BadUrl("unknown scheme".to_owned()))
    }
}
