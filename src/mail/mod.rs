//! Mails to users: what they say, the queue in which they wait, and how they leave the server.
//!
//! No request waits for a mail server. A mail is put into a bounded queue, and a task delivers what waits there: by SMTP, or
//! into the outbox of the project, where a server reads it, if the settings name no SMTP server.
//!
//! Never does: find out who gets a mail, or make the secrets in it. Never logs an address, a link or a code.
//!
//! Reading order: [`letters`] (what a mail says), [`mailer`] with `queued` (the queue), `delivery` (the task), [`smtp`].

mod delivery;
pub mod letters;
pub mod mailer;
mod queued;
pub mod smtp;

pub use letters::Letter;
pub use mailer::{Mailer, MailsWait, Place, start};
pub use smtp::Smtp;
