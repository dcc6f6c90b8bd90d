//! What mails say.

use crate::domain::{
    Email, Mail, ProjectId, Purpose, Timestamp,
    mail_templates::{Filling, MailTemplates, Template},
};

/// A reason to write to a user.
pub enum Letter {
    /// Somebody asked for a new password. Has the token of the link.
    ResetPassword { token: String },
    /// A user is to show that they read mail to their address.
    VerifyEmail { token: String },
    /// The same for the address that a user wants to have.
    ChangeEmail { token: String },
    /// A user signs in. Has six digits, and the token of the link.
    SignIn { digits: String, token: String },
    /// Somebody was invited.
    Invitation { token: String },
    /// A sign-up is to be confirmed, before which there is no account.
    ConfirmSignUp { token: String },
    /// Somebody wanted to have an address that the recipient has.
    AddressTaken,
    /// Goes to the old address when a user has another one.
    EmailChanged,
}

impl Letter {
    /// Returns the word in the outbox and in the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ResetPassword { .. } => Purpose::ResetPassword.as_str(),
            Self::VerifyEmail { .. } => Purpose::VerifyEmail.as_str(),
            Self::ConfirmSignUp { .. } => "confirm-sign-up",
            Self::Invitation { .. } => "invitation",
            Self::AddressTaken => "address-taken",
            Self::ChangeEmail { .. } => Purpose::ChangeEmail.as_str(),
            Self::SignIn { .. } => Purpose::SignIn.as_str(),
            Self::EmailChanged => "email-changed",
        }
    }

    fn token(&self) -> Option<&str> {
        match self {
            Self::ResetPassword { token }
            | Self::VerifyEmail { token }
            | Self::ChangeEmail { token }
            | Self::SignIn { token, .. }
            | Self::Invitation { token }
            | Self::ConfirmSignUp { token } => Some(token),
            Self::AddressTaken | Self::EmailChanged => None,
        }
    }

    fn template<'a>(&self, mails: &'a MailTemplates) -> &'a Template {
        match self {
            Self::ResetPassword { .. } => &mails.reset_password,
            Self::VerifyEmail { .. } => &mails.verify_email,
            Self::ChangeEmail { .. } => &mails.change_email,
            Self::SignIn { .. } => &mails.sign_in,
            Self::Invitation { .. } => &mails.invitation,
            Self::ConfirmSignUp { .. } => &mails.confirm_sign_up,
            Self::AddressTaken => &mails.address_taken,
            Self::EmailChanged => &mails.email_changed,
        }
    }

    /// Writes the mail, with the project's texts where it has any. `public_url` is where the links lead, with a path.
    /// Without a name of its own, the product is called by its host.
    pub(super) fn write(
        &self,
        project: ProjectId,
        to: Email,
        (public_url, public_host): (&str, &str),
        mails: &MailTemplates,
    ) -> Mail {
        // A browser keeps what is behind `#` to itself, so that no server's log gets the token.
        let link = |token: &str| format!("{public_url}#coir={}&token={token}", self.kind());
        let (subject, text) = match self {
            Self::ResetPassword { token } => (
                "Reset your password",
                format!(
                    "Somebody asked for a new password for your account. To choose one, follow this link within an hour:\n\n\
                     {}\n\nIf it was not you, you need not do anything.\n",
                    link(token)
                ),
            ),
            Self::VerifyEmail { token } => (
                "Confirm your e-mail address",
                format!(
                    "To confirm that this is your e-mail address, follow this link within a day:\n\n{}\n\n\
                     If you have no account with us, you need not do anything.\n",
                    link(token)
                ),
            ),
            Self::ChangeEmail { token } => (
                "Confirm your new e-mail address",
                format!(
                    "Somebody asked to use this e-mail address for their account. If it was you, follow this link within a day:\n\n\
                     {}\n\nIf it was not you, do not follow it.\n",
                    link(token)
                ),
            ),
            Self::SignIn { digits, token } => (
                "Your sign-in code",
                format!(
                    "Your code is {digits}. It is good for ten minutes. You may follow this link instead:\n\n{}\n\n\
                     If you did not want to sign in, you need not do anything. Tell nobody the code.\n",
                    link(token)
                ),
            ),
            Self::Invitation { token } => (
                "You are invited",
                format!(
                    "You are invited to have an account with us. To make it, follow this link within a week:\n\n{}\n",
                    link(token)
                ),
            ),
            Self::ConfirmSignUp { token } => (
                "Confirm your sign-up",
                format!(
                    "Somebody signed up with this e-mail address. To have the account, follow this link within a day and choose a \
                     password:\n\n{}\n\nIf you do not want it, you need not do anything.\n",
                    link(token)
                ),
            ),
            Self::AddressTaken => (
                "You have an account already",
                "Somebody wants to use this e-mail address for an account, and you have an account with it. If it was you, sign in, \
                 or ask for a new password. If it was not you, you need not do anything.\n"
                    .to_owned(),
            ),
            Self::EmailChanged => (
                "Your e-mail address was changed",
                "Your account has another e-mail address now, and this one is no longer used for it. If it was not you, \
                 please tell us.\n"
                    .to_owned(),
            ),
        };
        let own_link = self.token().map(link);
        let filling = Filling {
            link: own_link.as_deref(),
            code: if let Self::SignIn { digits, .. } = self { Some(digits) } else { None },
            email: to.as_str(),
            product: mails.product.as_deref().unwrap_or(public_host),
        };
        let template = self.template(mails);
        let own = |template: &Option<String>| template.as_deref().map(|template| filling.fill(template));
        let subject = own(&template.subject).unwrap_or_else(|| subject.to_owned());
        let text = own(&template.text).unwrap_or(text);
        Mail {
            id: uuid::Uuid::now_v7().to_string(),
            project,
            kind: self.kind().to_owned(),
            to,
            subject,
            text,
            created_at: Timestamp::now(),
        }
    }
}
