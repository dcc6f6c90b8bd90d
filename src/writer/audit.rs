//! The security events that operations are: their entries are written in the transaction that does what they tell.

use std::sync::Arc;

use serde_json::json;

use super::{
    batch::Batch,
    outcome::Outcome,
    staged::Staged,
    user_operation::{UserOperation, Which},
};
use crate::domain::{Collection, Data, Document, DocumentId, UserData, audit::AuditEvent};

impl Batch {
    /// Notes the event that an operation on an account is, if it is one.
    pub(super) fn audit_operation(&self, staged: &mut Staged, operation: &UserOperation, outcome: &Outcome) {
        let method = |method: &str| Some(json!({ "method": method }));
        match (operation, outcome) {
            (UserOperation::SignUp { session, .. }, Outcome::SignedIn { user, .. }) => {
                staged.audit(AuditEvent::SignUp, Some(&user.id), method(session.method));
            }
            (UserOperation::Upgrade { user, .. }, _) => {
                staged.audit(AuditEvent::SignUp, Some(user), method("upgrade"));
            }
            (UserOperation::Refresh { .. }, Outcome::Stolen { session }) => {
                staged.audit(AuditEvent::RefreshTokenReplayed, Some(&session.user), None);
            }
            // They note themselves what they find out on the way.
            (UserOperation::SignInByProvider(_) | UserOperation::Adopt { .. }, _) => {}
            (UserOperation::Refresh { .. }, _) => {}
            (_, Outcome::SignedIn { user, session }) => {
                staged.audit(AuditEvent::SignIn, Some(&user.id), method(&session.method));
            }
            (UserOperation::ChangePassword { user, .. }, _) => {
                staged.audit(AuditEvent::PasswordChanged, Some(user), None);
            }
            (UserOperation::ResetPassword { user, .. }, _) => {
                staged.audit(AuditEvent::PasswordChanged, Some(user), method("mail"));
            }
            (UserOperation::EndSessions { user, which }, _) => {
                let is_own = matches!(which, Which::One(id) if Some(id) == staged.asker.session.as_ref());
                let event = if is_own { AuditEvent::SignOut } else { AuditEvent::SessionsRevoked };
                staged.audit(event, Some(user), None);
            }
            (UserOperation::ConfirmTotp { user, recovery, .. }, Outcome::SessionsEnded { .. }) => {
                let details = json!({ "recoveryCodes": recovery.len() });
                staged.audit(AuditEvent::TotpOn, Some(user), Some(details));
            }
            (UserOperation::RemoveTotp { user, .. }, Outcome::Done) => {
                staged.audit(AuditEvent::TotpOff, Some(user), None);
            }
            (UserOperation::SetMailFactor { user, is_on }, _) => {
                let event = if *is_on { AuditEvent::TotpOn } else { AuditEvent::TotpOff };
                staged.audit(event, Some(user), method("mail"));
            }
            (UserOperation::Invite(invitation), _) if !invitation.is_sign_up => {
                staged.audit(AuditEvent::UserInvited, None, Some(json!({ "invitation": invitation.id })));
            }
            _ => {}
        }
    }

    /// Notes what a write to the document of a user changes that takes more than the user.
    pub(super) fn audit_document(
        &self,
        staged: &mut Staged,
        collection: &Collection,
        id: &DocumentId,
        before: Option<&Arc<Document>>,
        after: &Data,
    ) {
        let Some(before) = before.filter(|_| collection.name.is_users()) else { return };
        let (Ok(old), Ok(new)) = (UserData::from_stored(&before.data), UserData::from_stored(after)) else {
            return;
        };
        if old.email != new.email {
            staged.audit(AuditEvent::EmailChanged, Some(id), None);
        }
        match (old.email_verified, new.email_verified) {
            (false, true) => staged.audit(AuditEvent::EmailVerified, Some(id), None),
            // Another address is one that nobody has verified yet.
            (true, false) if old.email == new.email => {
                staged.audit(AuditEvent::EmailUnverified, Some(id), None)
            }
            _ => {}
        }
        if old.roles != new.roles {
            let details = json!({ "before": old.roles, "after": new.roles });
            staged.audit(AuditEvent::RolesChanged, Some(id), Some(details));
        }
        if old.disabled != new.disabled {
            let event = if new.disabled { AuditEvent::UserDisabled } else { AuditEvent::UserEnabled };
            staged.audit(event, Some(id), None);
        }
    }
}
