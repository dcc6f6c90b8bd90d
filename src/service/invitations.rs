//! Accounts that wait for their owners: a server invites, and where a project conceals which addresses are taken, a sign-up is
//! confirmed by mail before there is an account.

use super::{
    ServiceError,
    users::{Users, Welcome},
};
use crate::{
    auth::{Action, Passwords, Principal, codes::Secret, limits::Class, permission, tokens::hash_token},
    domain::{Email, Invitation, Seen, UserData},
    mail::Letter,
    store::{Lane, access::invitations},
    writer::{Outcome, UserOperation, WriteError, user_operation::Admission},
};

impl Users {
    /// Invites somebody, who gets a mail with a link. An earlier invitation of the address is good for nothing then.
    ///
    /// # Errors
    /// [`WriteError::EmailTaken`]; [`ServiceError::Mails`] if the queue of mails is full.
    pub async fn invite(
        &self,
        principal: &Principal,
        email: Email,
        user: UserData,
    ) -> Result<Invitation, ServiceError> {
        permission::check(principal, Action::ManageUsers)?;
        self.settings(principal).await?.signup.check_invited().map_err(WriteError::SignUp)?;
        let place = self.place_of_mail(principal).await?;
        let Secret { text: token, hash } = Secret::token().map_err(ServiceError::Token)?;
        let invitation = Invitation::new(principal.project.clone(), hash, email.clone(), user);
        self.submit(principal, UserOperation::Invite(Box::new(invitation.clone()))).await?;
        place.send(principal.project.clone(), email, &Letter::Invitation { token });
        Ok(invitation)
    }

    /// Lists the invitations that nobody has accepted, the newest first.
    pub async fn invitations(&self, principal: &Principal) -> Result<Vec<Invitation>, ServiceError> {
        permission::check(principal, Action::ManageUsers)?;
        let project = principal.project.clone();
        let read = move |db| async move { invitations::list(&db, &project).await };
        Ok(self.documents.db.read(Lane::Point, read).await?)
    }

    /// Takes an invitation away.
    ///
    /// # Errors
    /// [`ServiceError::UnknownInvitation`].
    pub async fn withdraw_invitation(&self, principal: &Principal, id: &str) -> Result<(), ServiceError> {
        let found = self.invitations(principal).await?.into_iter().find(|invitation| invitation.id == id);
        let hash = found.ok_or(ServiceError::UnknownInvitation)?.hash;
        match self.submit(principal, UserOperation::Withdraw { hash }).await {
            Err(ServiceError::Write(WriteError::WrongCode)) => Err(ServiceError::UnknownInvitation),
            outcome => outcome.map(drop),
        }
    }

    /// Creates a user who has the link of an invitation, or of a sign-up that is to be confirmed, and signs them in. The address is
    /// verified, since only its owner has the link. Without an address it is the one that the link was sent to.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`] for a token that is not good, or is for another address; [`WriteError::EmailTaken`].
    pub async fn sign_up_by_link(
        &self,
        principal: &Principal,
        user: UserData,
        password: String,
        token: &str,
        seen: Seen,
    ) -> Result<Welcome, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::SignUp, principal)?;
        Passwords::check(&password)?;
        let hash = hash_token(token);
        // The writer judges it. Before that, it is not worth a hash.
        let found = self.find_invitation(principal, &hash).await?.ok_or(WriteError::WrongCode)?;
        let password = self.passwords.hash(&principal.visitor_account(), password).await?;
        let method = if found.is_sign_up { "password" } else { "invitation" };
        let session = self.new_session(principal, method, seen)?;
        let user = Box::new(UserData { email: user.email.or(Some(found.email)), ..user });
        let admission = Admission::Invited(hash);
        let operation = UserOperation::SignUp { user, password: Some(password), session, admission };
        self.welcome(self.submit(principal, operation).await?)
    }

    /// Whether the answer to a sign-up must not tell whether an address is taken.
    pub async fn conceals(&self, principal: &Principal) -> Result<bool, ServiceError> {
        Ok(!principal.is_server() && self.settings(principal).await?.signup.conceal)
    }

    /// Sends a link by which a sign-up is confirmed. If the address is taken, its owner is told instead. The answer comes before
    /// anyone looks, so neither it nor its time says which.
    ///
    /// Nothing else of the request is kept: whoever sends it may be a stranger, so the holder of the link chooses the password and the
    /// profile.
    ///
    /// # Errors
    /// The errors of passwords, if there is one, and of limits.
    pub async fn sign_up_concealed(
        &self,
        principal: &Principal,
        email: Email,
        password: Option<String>,
    ) -> Result<(), ServiceError> {
        if let Some(password) = &password {
            Passwords::check(password)?;
        }
        self.check_sign_up(principal, Some(&email)).await?;
        self.limits.check(Class::Mail, principal)?;
        let place = self.place_of_mail(principal).await?;
        let Secret { text: token, hash } = Secret::token().map_err(ServiceError::Token)?;
        let (users, principal) = (self.clone(), principal.clone());
        tokio::spawn(async move {
            let project = principal.project.clone();
            let waiting = Invitation::sign_up(project.clone(), hash, email.clone());
            match users.submit(&principal, UserOperation::Invite(Box::new(waiting))).await {
                Ok(Outcome::EmailTaken) => place.send(project, email, &Letter::AddressTaken),
                Ok(_) => place.send(project, email, &Letter::ConfirmSignUp { token }),
                // The mails of the last hour are enough.
                Err(ServiceError::Write(WriteError::TooManyCodes | WriteError::SignUp(_))) => {}
                Err(_) => tracing::warn!(
                    "a mail (confirm-sign-up) could not be prepared, because the database is away or busy; whoever waits for it must sign up again"
                ),
            }
        });
        Ok(())
    }

    async fn find_invitation(
        &self,
        principal: &Principal,
        hash: &str,
    ) -> Result<Option<Invitation>, ServiceError> {
        let (project, hash) = (principal.project.clone(), hash.to_owned());
        let read = move |db| async move { invitations::find(&db, &project, &hash).await };
        Ok(self.documents.db.read(Lane::Point, read).await?)
    }
}
