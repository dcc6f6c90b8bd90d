//! The ways to an account: sign-up, with an address or without one.

use super::{
    ServiceError,
    users::{Users, Welcome},
};
use crate::{
    auth::{Action, Principal, limits::Class, permission},
    domain::{Email, PasswordHash, Seen, UserData},
    writer::{UserOperation, WriteError, user_operation::Admission},
};

impl Users {
    /// Creates a user with a password, and signs them in.
    ///
    /// # Errors
    /// [`WriteError::EmailTaken`], and the errors of passwords; [`ServiceError::Concealed`].
    pub async fn sign_up(
        &self,
        principal: &Principal,
        user: UserData,
        password: String,
        seen: Seen,
    ) -> Result<Welcome, ServiceError> {
        self.check_sign_up(principal, user.email.as_ref()).await?;
        if self.conceals(principal).await? {
            return Err(ServiceError::Concealed);
        }
        let password = self.passwords.hash(&principal.visitor_account(), password).await?;
        self.create(principal, user, Some(password), "password", seen).await
    }

    /// Creates a user without an address, and signs them in.
    pub async fn sign_up_anonymously(
        &self,
        principal: &Principal,
        user: UserData,
        seen: Seen,
    ) -> Result<Welcome, ServiceError> {
        self.check_sign_up(principal, None).await?;
        self.create(principal, user, None, "anonymous", seen).await
    }

    /// Checks that the settings of the project let the principal make an account, before that costs anything. The writer checks it
    /// once more.
    ///
    /// # Errors
    /// [`WriteError::SignUp`].
    pub(super) async fn check_sign_up(
        &self,
        principal: &Principal,
        email: Option<&Email>,
    ) -> Result<(), ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::SignUp, principal)?;
        if admission(principal) == Admission::Settings {
            let settings = self.settings(principal).await?;
            settings.signup.check(email).map_err(WriteError::SignUp)?;
        }
        Ok(())
    }

    async fn create(
        &self,
        principal: &Principal,
        user: UserData,
        password: Option<PasswordHash>,
        method: &'static str,
        seen: Seen,
    ) -> Result<Welcome, ServiceError> {
        let session = self.new_session(principal, method, seen)?;
        let operation = UserOperation::SignUp {
            user: Box::new(user),
            password,
            session,
            admission: admission(principal),
        };
        self.welcome(self.submit(principal, operation).await?)
    }
}

fn admission(principal: &Principal) -> Admission {
    if principal.is_server() { Admission::Server } else { Admission::Settings }
}
