//! The route about users that was probably meant: people bring paths from other products.

use super::route_hints::{ABOUT_USERS, PREFIXES, is_of};
use crate::domain::nearest;

/// The most parts of a path that is looked at.
const MAX_PARTS: usize = 8;

const SESSIONS: &str = "GET /users/me/sessions";
const ME: &str = "GET /users/me";
const OAUTH: &str = "GET /users/oauth/{provider}/start";

/// Words that other products have in paths about users, without `-` and `_` and in lower case, each with the route that was meant.
const WORDS: [(&[&str], &str); 22] = [
    (&["register", "registration", "signup", "create", "new", "records"], "POST /users"),
    (&["anonymous", "guest", "signinanonymously", "sessionsanonymous"], "POST /users/anonymous"),
    (
        &[
            "login",
            "signin",
            "session",
            "sessions",
            "sessionsemail",
            "authenticate",
            "password",
            "authwithpassword",
            "signinwithpassword",
            "signinwithemail",
        ],
        "POST /users/login",
    ),
    (
        &["loginmfa", "mfa", "2fa", "totp", "twofactor", "verifytotp", "factorsverify"],
        "POST /users/login/mfa",
    ),
    (&["factors", "mfafactors", "totpsetup", "mfaauthenticatorstotp"], "POST /users/me/totp"),
    (
        &[
            "otp",
            "magiclink",
            "passwordless",
            "logincode",
            "sendcode",
            "requestotp",
            "tokensemail",
            "tokensmagicurl",
        ],
        "POST /users/login/code",
    ),
    (
        &["verifyotp", "verifycode", "logincodeverify", "authwithotp", "sessionstoken"],
        "POST /users/login/code/verify",
    ),
    (&["refresh", "tokenrefresh", "refreshtoken", "authrefresh", "sessionrefresh"], "POST /users/refresh"),
    (&["token"], "POST /users/refresh`, or with a password `POST /users/login"),
    (&["logout", "signout", "sessionscurrent", "sessioncurrent"], "POST /users/logout"),
    (
        &[
            "forgotpassword",
            "forgot",
            "recover",
            "recovery",
            "passwordforgot",
            "requestpasswordreset",
            "sendpasswordreset",
            "sendoobcode",
        ],
        "POST /users/password/forgot",
    ),
    (&["resetpassword", "passwordreset", "confirmpasswordreset"], "POST /users/password/reset"),
    (
        &["verifyemail", "verify", "emailverify", "confirmemail", "confirm", "confirmverification"],
        "POST /users/email/verify",
    ),
    (
        &[
            "sendverification",
            "resendverification",
            "resend",
            "requestverification",
            "verification",
            "emailverifysend",
            "verificationemailrequest",
        ],
        "POST /users/email/verify/send",
    ),
    (&["changepassword", "updatepassword", "mepassword"], "POST /users/me/password"),
    (&["changeemail", "updateemail", "meemail", "requestemailchange", "email"], "POST /users/me/email"),
    (&["invite", "invites", "invitation", "adminsinvite", "admininvite"], "POST /users/invitations"),
    (
        &["authwithoauth2", "authorize", "signinwithidp", "sessionsoauth2", "google", "github", "callback"],
        OAUTH,
    ),
    (&["authmethods", "providers", "settings"], "GET /users/oauth"),
    (&["lookup", "current", "self", "user", "whoami", "profile", "currentuser", "userinfo", "get"], ME),
    (&["update", "updateprofile", "prefs", "name"], "PATCH /users/me"),
    (&["delete", "deleteaccount"], "DELETE /users/me"),
];

/// The routes behind `/users/`, with the methods that are usual, for those that are mistyped.
const ROUTES: [(&str, &str); 18] = [
    ("GET", "me"),
    ("GET", "me/sessions"),
    ("GET", "me/identities"),
    ("POST", "me/password"),
    ("POST", "me/email"),
    ("POST", "me/upgrade"),
    ("POST", "me/totp"),
    ("POST", "me/totp/confirm"),
    ("POST", "login"),
    ("POST", "login/mfa"),
    ("POST", "login/code"),
    ("POST", "login/code/verify"),
    ("POST", "refresh"),
    ("POST", "logout"),
    ("POST", "anonymous"),
    ("POST", "password/forgot"),
    ("POST", "password/reset"),
    ("GET", "invitations"),
];

/// Returns what to tell the sender of a request about users that no route answers; `None` if nothing is likely.
pub fn account_hint(method: &str, path: &str) -> Option<String> {
    // One product has a colon before its verbs: `accounts:signUp`.
    let path = path.replace(':', "/");
    let mut all: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if all.is_empty() || all.len() > MAX_PARTS {
        return None;
    }
    all.retain(|segment| !is_of(&PREFIXES, segment));
    // Another keeps users in a collection, which has verbs.
    if matches!(all[..], ["collections", "users" | "_users", _, ..]) {
        let verb = all[2];
        if is_of(&["records"], verb) && (method != "POST" || all.len() > 3) {
            return None;
        }
        all.remove(0);
    }
    if !all.first().is_some_and(|first| is_of(&ABOUT_USERS, first))
        || matches!(all[..], ["users" | "user" | "_users"])
    {
        return None;
    }
    let mistyped = all.clone();
    while all.len() > 1 && is_of(&["auth", "user", "users", "_users", "account", "accounts"], all[0]) {
        all.remove(0);
    }
    let word: String = all.concat().chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let known = |word: &str| Some(WORDS.iter().find(|(words, _)| words.contains(&word))?.1.to_owned());
    let route = match (method, word.to_ascii_lowercase().as_str()) {
        ("PUT" | "POST", "me") => "PATCH /users/me".to_owned(),
        (_, "me") => ME.to_owned(),
        ("GET", "account" | "accounts" | "auth") => ME.to_owned(),
        (_, "account" | "accounts" | "auth") => "POST /users".to_owned(),
        ("GET", "session" | "sessions" | "mesession") => SESSIONS.to_owned(),
        (_, "adminusers") => "GET /users".to_owned(),
        (_, word) => known(word).or_else(|| nearest_route(&mistyped))?,
    };
    Some(format!("did you mean `{route}`? docs/reference/users.md lists the routes"))
}

/// Returns the route that is meant by a path behind `users` with a mistake in it.
fn nearest_route(all: &[&str]) -> Option<String> {
    let ["users", rest @ ..] = all else { return None };
    let typed = rest.join("/");
    let near = nearest(&typed, ROUTES.iter().map(|(_, route)| *route))?;
    // `login` is near to `login/x`, where something else was meant.
    if near.split('/').count() != rest.len() {
        return None;
    }
    let (method, route) = ROUTES.iter().find(|(_, route)| *route == near)?;
    Some(format!("{method} /users/{route}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_other_products_lead_to_the_routes_about_users() {
        for (method, path, route) in [
            ("POST", "/users/invite", "`POST /users/invitations`"),
            ("GET", "/users/me/sesions", "`GET /users/me/sessions`"),
            ("GET", "/users/me/session", "`GET /users/me/sessions`"),
            ("GET", "/users/sessions", "`GET /users/me/sessions`"),
            ("POST", "/users/logn", "`POST /users/login`"),
            ("POST", "/api/collections/users/auth-with-password", "`POST /users/login`"),
            ("POST", "/api/collections/users/auth-refresh", "`POST /users/refresh`"),
            ("POST", "/api/collections/users/request-password-reset", "`POST /users/password/forgot`"),
            ("POST", "/api/collections/users/records", "`POST /users`"),
            ("POST", "/api/collections/users/auth-with-oauth2", "`GET /users/oauth/{provider}/start`"),
            ("POST", "/auth/v1/token", "`POST /users/login`"),
            ("POST", "/auth/v1/signup", "`POST /users`"),
            ("POST", "/auth/v1/otp", "`POST /users/login/code`"),
            ("GET", "/auth/v1/authorize", "`GET /users/oauth/{provider}/start`"),
            ("GET", "/auth/v1/admin/users", "`GET /users`"),
            ("POST", "/v1/accounts:signInWithPassword", "`POST /users/login`"),
            ("POST", "/v1/accounts:signUp", "`POST /users`"),
            ("POST", "/v1/accounts:sendOobCode", "`POST /users/password/forgot`"),
            ("POST", "/v1/accounts:lookup", "`GET /users/me`"),
            ("POST", "/v1/account/sessions/email", "`POST /users/login`"),
            ("POST", "/v1/account/sessions/anonymous", "`POST /users/anonymous`"),
            ("DELETE", "/v1/account/sessions/current", "`POST /users/logout`"),
            ("POST", "/v1/account", "`POST /users`"),
            ("GET", "/v1/account", "`GET /users/me`"),
            ("GET", "/parse/login", "`POST /users/login`"),
            ("GET", "/parse/users/me", "`GET /users/me`"),
            ("POST", "/parse/requestPasswordReset", "`POST /users/password/forgot`"),
        ] {
            let hint = account_hint(method, path).unwrap_or_default();
            assert!(hint.contains(route), "{method} {path}: {hint}");
        }
        for path in
            ["/users", "/api/collections/users/records/17", "/users/01a21a4f-e625-75d6", "/books", "/"]
        {
            assert_eq!(account_hint("GET", path), None, "{path}");
        }
    }
}
