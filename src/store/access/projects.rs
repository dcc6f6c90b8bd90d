//! Projects: tenants, each with its own log.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use entity::project;

use crate::{
    domain::{
        Collection, CollectionId, CollectionName, ProjectId, ProjectSettings, Timestamp, USERS, cursor::Epoch,
    },
    store::{Result, Sql, StoreError, WriteTx, collections::rows},
};

#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    /// Unique in the database.
    pub name: String,
    pub created_at: Timestamp,
    /// Whether collections without rules are open to every key of the project.
    pub is_open: bool,
}

const INSERT: Sql =
    Sql::same("INSERT INTO projects (id, name, created_at, settings) VALUES ($1, $2, $3, $4)");
const INSERT_LOG_ENDS: Sql = Sql::same(
    "INSERT INTO heads (project_id, epoch, head, head_at, floor, floor_at, control) VALUES ($1, $2, 0, 0, 0, 0, 0)",
);
const GET_SETTINGS: Sql = Sql::same("SELECT settings FROM projects WHERE id = $1");
const SET_SETTINGS: Sql = Sql::same("UPDATE projects SET settings = $2 WHERE id = $1");

/// Finds a project by its name.
///
/// # Errors
/// A database failure.
pub async fn find_by_name(db: &impl ConnectionTrait, name: &str) -> Result<Option<Project>> {
    let row = project::Entity::find().filter(project::Column::Name.eq(name)).one(db).await?;
    row.map(to_project).transpose()
}

/// Lists all projects, the oldest first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<Project>> {
    let rows = project::Entity::find().order_by_asc(project::Column::CreatedAt).all(db).await?;
    rows.into_iter().map(to_project).collect()
}

/// Adds a project with an empty log and the built-in collection of users. Deferred. A unique violation if the name is taken.
pub fn insert(tx: &mut WriteTx, project: &Project, epoch: Epoch) {
    let settings = (!project.is_open).then(|| ProjectSettings::closed().to_value().to_string());
    let values = [
        project.id.as_str().into(),
        project.name.as_str().into(),
        project.created_at.0.into(),
        settings.into(),
    ];
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

/// Reads the settings of a project.
///
/// # Errors
/// A database failure, or settings that this version can't read.
pub async fn find_settings(db: &impl ConnectionTrait, project: &ProjectId) -> Result<ProjectSettings> {
    let row = project::Entity::find_by_id(project.as_str()).one(db).await?;
    to_settings(row.and_then(|row| row.settings).as_deref())
}

/// Reads like [`find_settings`], in a write transaction.
///
/// # Errors
/// As [`find_settings`].
pub async fn find_settings_locked(tx: &mut WriteTx, project: &ProjectId) -> Result<ProjectSettings> {
    let rows = tx.query(GET_SETTINGS, [project.as_str().into()]).await?;
    let text = rows.first().map(|row| row.try_get_by_index::<Option<String>>(0)).transpose()?;
    to_settings(text.flatten().as_deref())
}

/// Writes the settings of a project. Deferred.
pub fn set_settings(tx: &mut WriteTx, project: &ProjectId, settings: &ProjectSettings) {
    tx.defer(SET_SETTINGS, [project.as_str().into(), settings.to_value().to_string().into()]);
}

fn to_settings(stored: Option<&str>) -> Result<ProjectSettings> {
    let Some(stored) = stored else { return Ok(ProjectSettings::default()) };
    let unread = |_| StoreError::custom("the settings of a project can't be read by this version");
    ProjectSettings::from_stored(stored).map_err(unread)
}

fn to_project(row: project::Model) -> Result<Project> {
    Ok(Project {
        id: ProjectId::from_stored(&row.id),
        name: row.name,
        created_at: Timestamp(row.created_at),
        is_open: to_settings(row.settings.as_deref())?.open,
    })
}
