//! Creates the functions of sort keys on PostgreSQL. On SQLite a sort key is an expression.
//!
//! `coir_num` is the number. It is -Infinity for null and missing, Infinity for a string, and NaN, which PostgreSQL sorts last,
//! for the rest. `coir_txt` is the string. It is `0` for false, `1` for true, `2` for arrays and objects, and empty for the
//! rest. Together they sort values of any type. `src/store/sql/key.rs` writes them into queries and indexes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261124_000003_create_key_functions"
    }
}

const FUNCTIONS: &str = r#"
CREATE OR REPLACE FUNCTION coir_num(value jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'number' THEN value::numeric
        WHEN 'string' THEN 'Infinity'::numeric
        WHEN 'boolean' THEN 'NaN'::numeric
        WHEN 'array' THEN 'NaN'::numeric
        WHEN 'object' THEN 'NaN'::numeric
        ELSE '-Infinity'::numeric
    END
$$;
CREATE OR REPLACE FUNCTION coir_txt(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'string' THEN value #>> '{}'
        WHEN 'boolean' THEN CASE WHEN value = 'true'::jsonb THEN '1' ELSE '0' END
        WHEN 'array' THEN '2'
        WHEN 'object' THEN '2'
        ELSE ''
    END
$$;
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::Postgres => manager.get_connection().execute_unprepared(FUNCTIONS).await.map(|_| ()),
            _ => Ok(()),
        }
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::Postgres => {
                let drop = "DROP FUNCTION coir_num(jsonb), coir_txt(jsonb)";
                manager.get_connection().execute_unprepared(drop).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }
}
