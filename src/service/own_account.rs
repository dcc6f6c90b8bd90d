//! Changes of one's own account that come all at once, as the client libraries send them, and tokens that last as these expect.

use serde_json::json;

use super::{
    ServiceError, Users,
    users::{Lifetimes, is_recent, own_key, signed_in},
};
use crate::{
    auth::{Action, Passwords, Principal, permission},
    domain::{Data, Document, Email, Patch, USERS},
    store::{Lane, access::credentials},
    writer::{Mutation, Operation, Outcome, Precondition, UserOperation, WriteError},
};

/// A change of one's own account. What is `None` stays as it is.
#[derive(Default)]
pub struct AccountChange {
    /// Merged into the profile.
    pub profile: Option<Patch>,
    pub email: Option<Email>,
    pub password: Option<String>,
}

impl Users {
    /// Returns the same use cases with other lifetimes for the tokens that they give.
    pub fn with_lifetimes(&self, lifetimes: Lifetimes) -> Self {
        Self { lifetimes, ..self.clone() }
    }

    /// Changes the user's own profile, address and password in one write, and returns the document. A new address is not
    /// verified, and a new password ends the other sessions.
    ///
    /// # Errors
    /// [`ServiceError::RecentSignIn`] for another address or password if the sign-in is older than 10 minutes, because the
    /// current password isn't asked for; [`WriteError::EmailTaken`]; the errors of passwords.
    pub async fn change_account(
        &self,
        principal: &Principal,
        change: AccountChange,
    ) -> Result<Document, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let signed_in = signed_in(principal)?;
        let before = self.me(principal).await?;
        let address = before.data.fields().get("email").and_then(|email| email.as_str());
        let email = change.email.filter(|email| Some(email.as_str()) != address);
        if (email.is_some() || change.password.is_some()) && !is_recent(principal) {
            return Err(ServiceError::RecentSignIn);
        }
        let user = signed_in.id.clone();
        let mut operations = Vec::new();
        if let Some(profile) = change.profile {
            let (user, profile) = (user.clone(), Some(profile));
            let operation = UserOperation::ChangeProfile { user, profile, operators: None };
            operations.push(Operation::User(Box::new(operation)));
        }
        if let Some(email) = email {
            let members = Data::from_value(json!({ "email": email.as_str(), "emailVerified": false }));
            let members = members.map_err(|err| WriteError::Data(err.into()))?;
            let patch = Patch::from_data(members).map_err(|err| WriteError::Operator(err.to_string()))?;
            operations.push(Operation::MergeDocument {
                collection: USERS.to_owned(),
                id: user.clone(),
                patch,
                precondition: Precondition::None,
            });
        }
        if let Some(new) = change.password {
            Passwords::check(&new)?;
            let key = own_key(principal)?;
            let read = |db| async move { credentials::find(&db, &key).await };
            let stored = self.documents.db.read(Lane::Point, read).await?;
            let current = stored.ok_or(ServiceError::UnknownDocument)?.password;
            let new = self.passwords.hash(&principal.account(), new).await?;
            let keep = Some(signed_in.session.clone());
            let operation = UserOperation::ChangePassword { user, current, new, keep };
            operations.push(Operation::User(Box::new(operation)));
        }
        if operations.is_empty() {
            return Ok(before);
        }
        let (project, caller, session) = principal.callers();
        let mutation = Mutation { project, caller, session, operations, idempotency: None };
        let committed = self.documents.writer.submit(mutation).await?;
        let written = committed.outcomes.into_iter().rev().find_map(|outcome| match outcome {
            Outcome::Document { document, .. } => Some(Document::clone(&document)),
            _ => None,
        });
        Ok(written.unwrap_or(before))
    }
}
