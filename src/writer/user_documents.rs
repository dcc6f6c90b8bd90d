//! The documents of users, however they are written: what they may hold, and what is kept beside them goes along.

use super::{batch::Batch, documents::apply_patch, error::WriteError, staged::Staged, users::to_data};
use crate::domain::{Collection, Credentials, Data, DocumentId, Patch, UserData, UserKey};

impl Batch {
    /// Checks data that is about to be written, if the collection is that of users, and keeps the credentials beside the document
    /// as they should be. Returns the data of the document, which for a user has every member.
    pub(super) fn stage_user(
        &self,
        staged: &mut Staged,
        collection: &Collection,
        id: &DocumentId,
        before: Option<&Data>,
        data: Data,
    ) -> Result<Data, WriteError> {
        if !collection.name.is_users() {
            return Ok(data);
        }
        let mut user = UserData::parse_change(&data, before).map_err(WriteError::User)?;
        user.email_verified &= user.email.is_some();
        let data = to_data(&user)?;
        let key = UserKey { project: staged.project.clone(), user: id.clone() };
        if user.disabled {
            let sessions = self.sessions_of(staged, &key);
            self.end_sessions(staged, &sessions);
            self.drop_codes(staged, &key);
        }
        if let Some(email) = &user.email {
            self.check_free(staged, &key, email)?;
        }
        let credentials = match self.credentials(staged, &key) {
            Some(old) if old.email == user.email => return Ok(data),
            Some(old) => {
                // They went to the old address, or were asked for by who had it.
                self.drop_codes(staged, &key);
                Credentials { email: user.email, ..(*old).clone() }
            }
            None => Credentials {
                key,
                email: user.email,
                password: None,
                totp: None,
                has_mail_factor: false,
                created_at: staged.at,
            },
        };
        self.put_credentials(staged, credentials);
        Ok(data)
    }

    /// Returns what a patch makes of the data of a document. Where it changes the address of a user and doesn't say whether the
    /// new one is verified, it isn't.
    pub(super) fn merge_user(
        &self,
        collection: &Collection,
        patch: &Patch,
        before: &Data,
    ) -> Result<Data, WriteError> {
        let data = apply_patch(patch, before)?;
        if !collection.name.is_users() || patch.top_level_fields().any(|field| field == "emailVerified") {
            return Ok(data);
        }
        let mut user = UserData::parse_change(&data, Some(before)).map_err(WriteError::User)?;
        if UserData::from_stored(before).is_ok_and(|before| before.email == user.email) {
            return Ok(data);
        }
        user.email_verified = false;
        to_data(&user)
    }

    /// Deletes what is kept beside the document of a user, who is about to be deleted.
    pub(super) fn unstage_user(&self, staged: &mut Staged, collection: &Collection, user: &DocumentId) {
        if !collection.name.is_users() {
            return;
        }
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let sessions = self.sessions_of(staged, &key);
        self.end_sessions(staged, &sessions);
        self.drop_codes(staged, &key);
        self.drop_identities(staged, &key);
        if let Some(credentials) = self.credentials(staged, &key) {
            staged.accounts.remove_credentials(&credentials);
        }
    }
}
