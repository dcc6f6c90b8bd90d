//! Other providers of sign-ins: what is asked of them, and what is believed of their answers.
//!
//! Every request to a provider has a deadline, a bound on its answer, follows no redirect, and goes to public addresses over TLS,
//! unless the operator names the host. Documents that change seldom, such as keys, are cached.
//!
//! Never does: decide whose account an identity belongs to. Never logs a code, a token, a secret or an address.
//!
//! Reading order: [`error`], [`hosts`] and [`fetch`] (one request), [`documents`] (the cache), [`keys`] and [`token`] (what is
//! signed), [`openid`] and [`github`] (the two kinds of providers), [`state`] (what travels with the browser).

pub mod documents;
pub mod error;
pub mod fetch;
pub mod github;
pub mod hosts;
pub mod keys;
pub mod openid;
pub mod state;
pub mod token;

pub use documents::Documents;
pub use error::ProviderError;
pub use fetch::Fetcher;
pub use hosts::Hosts;
pub use state::States;

/// The parts that sign-ins with providers need. Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    pub documents: Documents,
    pub states: States,
}
