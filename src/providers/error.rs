//! Why a sign-in with a provider failed.

/// Why a sign-in with a provider failed. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The URL leads where this server makes no requests. The sentence says why.
    #[error("the server makes no requests to `{host}`: {why}")]
    Address { host: String, why: &'static str },
    #[error("the provider cannot be reached; try again")]
    Away,
    /// Too many requests to providers are in progress.
    #[error("too many sign-ins wait for their providers; try again")]
    Crowded,
    /// The provider answered something that it must not. The sentence names it.
    #[error("the provider's answer is not valid: {0}")]
    BadAnswer(&'static str),
    #[error(
        "the provider refused the code: it was used, has expired, or belongs to another sign-in; begin the sign-in again"
    )]
    CodeRefused,
    /// The provider doesn't know the project.
    #[error("the provider refused `clientId` and `clientSecret` of this project")]
    ClientRefused,
    #[error("the token of the provider is not valid: {0}")]
    Token(#[from] TokenFault),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("`iss` names another provider than the one with which the sign-in began")]
    OtherIssuer,
    #[error("the provider sends `iss` back with the code; send it along")]
    NoIssuer,
    #[error(
        "`codeVerifier` does not fit the `codeChallenge` with which the sign-in began; it belongs to another browser"
    )]
    WrongVerifier,
    #[error("the sign-in began with a `codeChallenge`; send its `codeVerifier` along")]
    NoVerifier,
}

/// What is wrong with a token. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("it is no signed token")]
    Unreadable,
    #[error("its algorithm must be RS256, ES256 or EdDSA")]
    Algorithm,
    #[error("it is signed by a key that the provider doesn't publish")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it has expired, or has no `exp`")]
    Expired,
    #[error("it is not good yet; the clocks differ")]
    Early,
    #[error("its issuer (`iss`) is another one")]
    Issuer,
    #[error("it is for somebody else (`aud`)")]
    Audience,
    #[error("it was made for another client (`azp`)")]
    Party,
    #[error("it is good for longer than a token may be (`exp`)")]
    TooLong,
    #[error("its `nonce` is of another sign-in")]
    Nonce,
    #[error("its subject (`sub`) must be a text of 1 to 255 bytes")]
    Subject,
}

/// Why a state is good for nothing. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("this `state` is none of this server for this provider; begin the sign-in again")]
    Unknown,
    #[error("the sign-in took longer than 10 minutes; begin it again")]
    Expired,
    #[error("this sign-in began in another browser, or this one takes no cookies; begin it again")]
    OtherBrowser,
    #[error("this sign-in began for another user; begin it again")]
    OtherUser,
    #[error(
        "`codeChallenge` must be the SHA-256 hash of the code verifier, in base64 for URLs without padding"
    )]
    Challenge,
    #[error("the state could not be signed")]
    NotSigned,
}
