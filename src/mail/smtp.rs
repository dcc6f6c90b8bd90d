//! Mails by SMTP.

use std::{fmt, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox as Address, header::ContentType},
    transport::smtp,
};

use crate::domain::Mail;

/// How long the mail server may take for one answer.
const ANSWER: Duration = Duration::from_secs(15);

/// A mail server and a sender, checked.
#[derive(Clone)]
pub struct Smtp {
    url: String,
    from: Address,
}

impl fmt::Debug for Smtp {
    /// Does not show the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").finish_non_exhaustive()
    }
}

/// Why a setting can't be used. The message does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    #[error(
        "is not valid; write smtps://user:password@host, smtp://user:password@host:587?tls=required, or smtp://host:25"
    )]
    Url,
    #[error("is not valid; write an address such as noreply@example.com, or App <noreply@example.com>")]
    From,
}

/// Why a mail was not sent. Nothing of what the mail server said is in the message, which may name the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the mail server refuses it (SMTP status {0}); its own log says why")]
    Refused(u16),
    #[error("the mail server can't take it at the moment (SMTP status {0})")]
    Later(u16),
    #[error("the mail server does not answer")]
    NoAnswer,
    #[error("the TLS connection to the mail server failed")]
    Tls,
    #[error("the mail server can't be reached, or breaks the connection")]
    Connection,
    #[error("the mail could not be written for this recipient")]
    NotWritten,
}

impl SendError {
    /// Whether another try may have another outcome.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Later(_) | Self::NoAnswer | Self::Connection | Self::Tls)
    }
}

impl Smtp {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub fn parse(url: &str, from: &str) -> Result<Self, SmtpError> {
        AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|_| SmtpError::Url)?;
        let from = from.parse().map_err(|_| SmtpError::From)?;
        Ok(Self { url: url.to_owned(), from })
    }

    /// Makes what sends. No connection is opened before the first mail.
    pub(super) fn open(&self) -> Mailbox {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&self.url);
        Mailbox {
            // It was checked.
            transport: builder.ok().map(|builder| builder.timeout(Some(ANSWER)).build()),
            from: self.from.clone(),
        }
    }
}

/// Sends mails, each over a connection of its own.
pub(super) struct Mailbox {
    transport: Option<AsyncSmtpTransport<Tokio1Executor>>,
    from: Address,
}

impl Mailbox {
    pub(super) async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let transport = self.transport.as_ref().ok_or(SendError::NotWritten)?;
        let to = mail.to.to_sendable().and_then(|to| to.parse::<lettre::Address>().ok());
        let to = to.ok_or(SendError::NotWritten)?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Address::new(None, to))
            .subject(mail.subject.as_str())
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|_| SendError::NotWritten)?;
        transport.send(message).await.map(drop).map_err(|err| classify(&err))
    }
}

fn classify(err: &smtp::Error) -> SendError {
    let status = err.status().map(u16::from);
    match status {
        Some(status) if err.is_permanent() => SendError::Refused(status),
        Some(status) => SendError::Later(status),
        None if err.is_timeout() => SendError::NoAnswer,
        None if err.is_tls() => SendError::Tls,
        None => SendError::Connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_told_without_being_repeated() {
        assert!(Smtp::parse("smtp://127.0.0.1:25", "App <noreply@example.com>").is_ok());
        assert!(Smtp::parse("smtps://user:pass@mail.example.com", "noreply@example.com").is_ok());
        for (url, from, expected) in [
            ("http://127.0.0.1", "noreply@example.com", SmtpError::Url),
            ("mail.example.com", "noreply@example.com", SmtpError::Url),
            ("smtp://127.0.0.1:25", "noreply", SmtpError::From),
        ] {
            assert_eq!(Smtp::parse(url, from).err(), Some(expected), "{url} {from}");
        }
    }
}
