//! Names of members that people put into the documents of users, and where they belong.

/// Returns where a member belongs that is no member of a user's document, but has to do with signing in. Nothing of that kind must
/// end up in a document, which everybody reads who may read the user.
pub fn place_of(name: &str) -> Option<&'static str> {
    let word: String = name.chars().filter(|c| !matches!(c, '-' | '_' | '$')).collect();
    let word = word.to_lowercase();
    let is_one_of = |words: &[&str]| words.contains(&word.as_str());
    if is_one_of(&["passwordhash", "hashedpassword", "passwordsalt", "salt", "passworddigest", "hash"]) {
        Some(
            "a password is never in a document, not even as a hash; imported users choose one by POST /users/password/forgot",
        )
    } else if word.contains("password") || is_one_of(&["pass", "passwd", "pwd", "passphrase"]) {
        Some(
            "a password is never in a document: POST /users signs up with one, POST /users/me/password changes it, and \
             POST /users/password/forgot mails a link for a new one",
        )
    } else if is_one_of(&["email", "mail", "emailaddress", "newemail"]) {
        Some(
            "a user changes the address with POST /users/me/email, and a server with PATCH /collections/_users/{id} and a secret key",
        )
    } else if word.starts_with("totp")
        || word.starts_with("mfa")
        || word.starts_with("otp")
        || is_one_of(&["2fa", "twofactor", "twofactorsecret", "recoverycodes", "backupcodes"])
    {
        Some("a second factor is never in a document; POST /users/me/totp begins one")
    } else if word.ends_with("token") || is_one_of(&["secret", "apikey", "key", "credentials", "credential"])
    {
        Some(
            "a key or an access token stands in the header `Authorization: Bearer …`, and never in a document",
        )
    } else if is_one_of(&[
        "role",
        "admin",
        "isadmin",
        "superuser",
        "issuperuser",
        "permissions",
        "permission",
        "claims",
        "customclaims",
        "appmetadata",
        "group",
        "groups",
        "labels",
    ]) {
        Some(
            "what gives a user rights stands in `roles`, which only servers set; the `profile` is the user's own to write",
        )
    } else if is_one_of(&[
        "banned",
        "isbanned",
        "blocked",
        "isblocked",
        "suspended",
        "active",
        "isactive",
        "status",
        "enabled",
    ]) {
        Some("whether a user is shut out stands in `disabled`, which only servers set")
    } else if is_one_of(&["verified", "isverified", "emailconfirmed", "emailverified"]) {
        Some("whether the address is verified stands in `emailVerified`, which only servers set")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_told_its_place_and_other_names_are_not() {
        for (name, told) in [
            ("password", "POST /users/me/password"),
            ("newPassword", "POST /users/me/password"),
            ("password_hash", "not even as a hash"),
            ("PWD", "never in a document"),
            ("totpSecret", "POST /users/me/totp"),
            ("refresh_token", "Authorization"),
            ("email", "POST /users/me/email"),
            ("is_verified", "`emailVerified`"),
        ] {
            let place = place_of(name).unwrap_or_default();
            assert!(place.contains(told), "{name}: {place}");
        }
        for name in ["name", "passport", "keyboard", "hashtag", "tokenCount", "emails"] {
            assert_eq!(place_of(name), None, "{name}");
        }
    }
}
