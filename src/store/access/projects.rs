//! Projects: tenants, each with its own log.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use entity::project;

use crate::{
    domain::{Collection, CollectionId, CollectionName, ProjectId, Timestamp, USERS, cursor::Epoch},
    store::{Result, Sql, WriteTx, collections::rows},
};

#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    /// Unique in the database.
    pub name: String,
    pub created_at: Timestamp,
}

const INSERT: Sql = Sql::same("INSERT INTO projects (id, name, created_at) VALUES ($1, $2, $3)");
const INSERT_LOG_ENDS: Sql = Sql::same(
    "INSERT INTO heads (project_id, epoch, head, head_at, floor, floor_at, control) VALUES ($1, $2, 0, 0, 0, 0, 0)",
);

/// Finds a project by its name.
///
/// # Errors
/// A database failure.
pub async fn find_by_name(db: &impl ConnectionTrait, name: &str) -> Result<Option<Project>> {
    let row = project::Entity::find().filter(project::Column::Name.eq(name)).one(db).await?;
    Ok(row.map(to_project))
}

/// Lists all projects, the oldest first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<Project>> {
    let rows = project::Entity::find().order_by_asc(project::Column::CreatedAt).all(db).await?;
    Ok(rows.into_iter().map(to_project).collect())
}

/// Adds a project with an empty log and the built-in collection of users. Deferred. A unique violation if the name is taken.
pub fn insert(tx: &mut WriteTx, project: &Project, epoch: Epoch) {
    let values = [project.id.as_str().into(), project.name.as_str().into(), project.created_at.0.into()];
    tx.defer(INSERT, values);
    tx.defer(INSERT_LOG_ENDS, [project.id.as_str().into(), epoch.to_text().into()]);
    let users = Collection {
        id: CollectionId::generate(),
        name: CollectionName::from_stored(USERS),
        created_at: project.created_at,
        schema: None,
    };
    rows::insert_many(tx, &[(project.id.clone(), users)]);
}

fn to_project(row: project::Model) -> Project {
    Project { id: ProjectId::from_stored(&row.id), name: row.name, created_at: Timestamp(row.created_at) }
}
