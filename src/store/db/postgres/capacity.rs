//! Compares the connections that a node opens with those that the server allows.

use sqlx::Row;

use super::{connections::ALL, session::Session, settings::ask};

/// Warns if the server, the database or the role allows fewer connections than a node may open. Nodes with little to do open
/// fewer, so this is no error.
pub(super) async fn check(session: &mut Session) {
    let limits = [
        (
            "max_connections",
            "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int",
        ),
        (
            "the CONNECTION LIMIT of the role",
            "(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user)",
        ),
        (
            "the CONNECTION LIMIT of the database",
            "(SELECT datconnlimit FROM pg_database WHERE datname = current_database())",
        ),
    ];
    let row = match ask(&mut session.connection, &limits.map(|(_, expression)| expression.to_owned())).await {
        Ok(row) => row,
        Err(err) => return tracing::debug!("the limits of connections are unknown: {err}"),
    };
    for (at, (name, _)) in limits.iter().enumerate() {
        // -1 stands for no limit.
        let allowed = row.try_get::<i32, _>(at).ok().and_then(|limit| usize::try_from(limit).ok());
        if let Some(allowed) = allowed.filter(|allowed| *allowed < ALL) {
            tracing::warn!(
                allowed,
                needed = ALL,
                "{name} allows {allowed} connections, and each node of Coir opens up to {ALL}; beyond the limit requests \
                 are answered with 503, so raise it"
            );
        }
    }
}
