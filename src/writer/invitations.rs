//! The operations on accounts that wait for their owners.

use std::{collections::HashSet, sync::Arc};

use super::{batch::Batch, error::WriteError, outcome::Outcome, staged::Staged};
use crate::domain::{
    DocumentId, Invitation, UserData, UserKey,
    code::{MAX_RECENT, RECENT},
};

impl Batch {
    /// Notes an account that waits. An invitation replaces the one before. A sign-up is noted also if the address is taken, so that
    /// it takes as long, and so that few mails say so.
    pub(super) fn invite(&self, staged: &mut Staged, new: &Invitation) -> Result<Outcome, WriteError> {
        let nobody = UserKey { project: staged.project.clone(), user: DocumentId::from_stored("") };
        let is_free = self.check_free(staged, &nobody, &new.email);
        let now = self.now();
        let others = self
            .invitations_of(staged, |other| other.email == new.email && other.is_sign_up == new.is_sign_up);
        if new.is_sign_up {
            self.catalog(staged).settings().signup.check(Some(&new.email))?;
            // Whoever asked for the links that were sent, each of them is good for the owner of the address.
            let recent = others.iter().filter(|other| other.created_at.0 > now.0 - RECENT).count();
            if recent >= MAX_RECENT {
                return Err(WriteError::TooManyCodes);
            }
        } else {
            is_free.clone()?;
            for other in others {
                staged.accounts.invitations.insert(other.hash.clone(), None);
            }
        }
        staged.accounts.invitations.insert(new.hash.clone(), Some(Arc::new(new.clone())));
        Ok(if is_free.is_ok() { Outcome::Done } else { Outcome::EmailTaken })
    }

    /// Takes an invitation away, which is then good for nothing.
    pub(super) fn withdraw(&self, staged: &mut Staged, hash: &str) -> Result<Outcome, WriteError> {
        self.take_invitation(staged, hash)?;
        Ok(Outcome::Done)
    }

    /// Returns what the user begins with whose link this is: the address is verified, and what the user gives wins over the profile
    /// of an invitation. The link is used up, and so are other sign-ups with the address.
    pub(super) fn accept_invitation(
        &self,
        staged: &mut Staged,
        hash: &str,
        user: &UserData,
    ) -> Result<UserData, WriteError> {
        let invitation = self.take_invitation(staged, hash)?;
        if Some(&invitation.email) != user.email.as_ref() {
            return Err(WriteError::WrongCode);
        }
        let signup = &self.catalog(staged).settings().signup;
        if invitation.is_sign_up { signup.check(user.email.as_ref()) } else { signup.check_invited() }?;
        let others = self.invitations_of(staged, |other| other.is_sign_up && other.email == invitation.email);
        for other in others {
            staged.accounts.invitations.insert(other.hash.clone(), None);
        }
        let mut profile = invitation.user.profile.clone();
        profile.extend(user.profile.clone());
        Ok(UserData {
            email: user.email.clone(),
            email_verified: true,
            roles: invitation.user.roles.clone(),
            profile,
            disabled: false,
        })
    }

    fn take_invitation(&self, staged: &mut Staged, hash: &str) -> Result<Arc<Invitation>, WriteError> {
        let now = self.now();
        let mut found = self.invitations_of(staged, |invitation| invitation.hash == hash);
        let found = found.pop().filter(|invitation| now < invitation.expires_at);
        let found = found.ok_or(WriteError::WrongCode)?;
        staged.accounts.invitations.insert(found.hash.clone(), None);
        Ok(found)
    }

    fn invitations_of(
        &self,
        staged: &Staged,
        is_wanted: impl Fn(&Invitation) -> bool,
    ) -> Vec<Arc<Invitation>> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for layer in [&staged.accounts, self.next_accounts(), self.base_accounts()] {
            for (hash, invitation) in &layer.invitations {
                if seen.insert(hash)
                    && let Some(invitation) = invitation
                    && invitation.project == staged.project
                    && is_wanted(invitation)
                {
                    found.push(invitation.clone());
                }
            }
        }
        found
    }
}
