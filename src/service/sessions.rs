//! The sessions of users: list and end them.

use super::{
    ServiceError, Users,
    users::{own_key, signed_in},
};
use crate::{
    auth::{Action, Principal, permission},
    domain::{DocumentId, Session, SessionId, Timestamp},
    store::{Lane, access::sessions},
    writer::{UserOperation, WriteError, user_operation::Which},
};

impl Users {
    /// Ends the session of the request.
    pub async fn sign_out(&self, principal: &Principal) -> Result<(), ServiceError> {
        let user = signed_in(principal)?;
        self.end_sessions(principal, &user.id, Which::One(user.session.clone())).await
    }

    /// Ends one of the user's own sessions.
    pub async fn end_session(&self, principal: &Principal, session: &str) -> Result<(), ServiceError> {
        let user = signed_in(principal)?.id.clone();
        match self.end_sessions(principal, &user, Which::One(SessionId::from_stored(session))).await {
            Err(ServiceError::Write(WriteError::SessionEnded)) => Err(ServiceError::UnknownSession),
            outcome => outcome,
        }
    }

    /// Ends all sessions of any user.
    pub async fn sign_out_user(&self, principal: &Principal, user: &DocumentId) -> Result<(), ServiceError> {
        permission::check(principal, Action::ManageUsers)?;
        self.read_user(&principal.project, user).await?;
        self.end_sessions(principal, user, Which::All).await
    }

    /// Lists the user's own sessions, the last used first.
    pub async fn sessions(&self, principal: &Principal) -> Result<Vec<Session>, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let key = own_key(principal)?;
        let read = move |db| async move { sessions::list(&db, &key).await };
        let mut found = self.documents.db.read(Lane::Point, read).await?;
        found.retain(|session| session.expires_at > Timestamp::now());
        Ok(found)
    }

    async fn end_sessions(
        &self,
        principal: &Principal,
        user: &DocumentId,
        which: Which,
    ) -> Result<(), ServiceError> {
        let user = user.clone();
        self.submit(principal, UserOperation::EndSessions { user, which }).await.map(drop)
    }
}
