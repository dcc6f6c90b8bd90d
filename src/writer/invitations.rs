//! The operations on accounts that wait for their owners.

use std::{collections::HashSet, sync::Arc};

use super::{batch::Batch, error::WriteError, outcome::Outcome, staged::Staged};
use crate::domain::{
    Credentials, DocumentId, Invitation, USERS, UserData, UserKey,
    code::{MAX_RECENT, RECENT},
};

impl Batch {
    /// Notes an account that waits. An invitation replaces the one before. A sign-up is noted also if the address is taken, so that
    /// it takes as long.
    pub(super) fn invite(&self, staged: &mut Staged, new: &Invitation) -> Result<Outcome, WriteError> {
        let nobody = UserKey { project: staged.project.clone(), user: DocumentId::from_stored("") };
        let is_free = self.check_free(staged, &nobody, &new.email);
        let (is_sign_up, now) = (new.password.is_some(), self.now());
        let others = self.invitations_of(staged, |other| {
            other.email == new.email && other.password.is_some() == is_sign_up
        });
        if is_sign_up {
            self.catalog(staged).settings().signup.check(Some(&new.email))?;
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

    /// Makes the account of a sign-up whose owner has shown that they read mail to the address.
    pub(super) fn confirm_sign_up(&self, staged: &mut Staged, hash: &str) -> Result<Outcome, WriteError> {
        let invitation = self.take_invitation(staged, hash)?;
        let password = invitation.password.clone().ok_or(WriteError::WrongCode)?;
        self.catalog(staged).settings().signup.check(Some(&invitation.email))?;
        let user = UserData {
            email: Some(invitation.email.clone()),
            email_verified: true,
            ..invitation.user.clone()
        };
        let created = self.create_document(staged, USERS, &user.to_data().map_err(Arc::new)?, None)?;
        if let Outcome::Document { document, .. } = &created {
            let key = UserKey { project: staged.project.clone(), user: document.id.clone() };
            if let Some(credentials) = self.credentials(staged, &key) {
                self.put_credentials(
                    staged,
                    Credentials { password: Some(password), ..(*credentials).clone() },
                );
            }
        }
        Ok(created)
    }

    /// Returns what an invited user begins with: the address is verified, and what the user gives wins over the profile of the
    /// invitation. The invitation is used up.
    pub(super) fn accept_invitation(
        &self,
        staged: &mut Staged,
        hash: &str,
        user: &UserData,
    ) -> Result<UserData, WriteError> {
        let invitation = self.take_invitation(staged, hash)?;
        if invitation.password.is_some() || Some(&invitation.email) != user.email.as_ref() {
            return Err(WriteError::WrongCode);
        }
        self.catalog(staged).settings().signup.check_invited()?;
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
