//! Says at start which collections are open, so that nobody learns it from a stranger.

use crate::{
    auth::Ruling,
    store::{Db, Lane, Result, access::projects, collections::catalog::Catalogs},
};

/// How many projects are looked through. Each costs a read of its collections.
const MAX_PROJECTS: usize = 20;
/// How many collections of a project are named.
const MAX_NAMES: usize = 5;

/// Logs how many collections of each open project have no rules, with the first names. A failure is none of the server's.
pub(super) async fn log(db: Db, catalogs: Catalogs) {
    if let Err(err) = try_log(&db, &catalogs).await {
        tracing::debug!("the open collections could not be listed: {err}");
    }
}

async fn try_log(db: &Db, catalogs: &Catalogs) -> Result<()> {
    let all = db.read(Lane::Point, |db| async move { projects::list(&db).await }).await?;
    let open: Vec<_> = all.into_iter().filter(|project| project.is_open).collect();
    for project in open.iter().take(MAX_PROJECTS) {
        let catalog = catalogs.get(&project.id).await?;
        let is_open = |collection: &&_| matches!(Ruling::of(&catalog, collection, false), Ruling::Free);
        let names: Vec<_> = catalog.list(None).map(|collection| &**collection).filter(is_open).collect();
        if names.is_empty() {
            continue;
        }
        let shown: Vec<_> = names.iter().take(MAX_NAMES).map(|one| format!("`{}`", one.name)).collect();
        let more = if names.len() > MAX_NAMES { ", …" } else { "" };
        let (count, shown, name) = (names.len(), shown.join(", "), &project.name);
        tracing::info!(
            project = %name, count,
            "the project `{name}` is open: everybody with one of its keys reads and writes its collections without rules \
             ({count}: {shown}{more}); `coir projects close {name}` leaves them to servers"
        );
    }
    if let Some(more) = open.len().checked_sub(MAX_PROJECTS).filter(|more| *more > 0) {
        tracing::info!("{more} more projects are open; `coir projects list` shows them");
    }
    Ok(())
}
