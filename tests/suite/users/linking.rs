//! Whose account an identity joins: a table of who came first, and the ways around it.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask, digits_of, post,
    providers::{ada, assert_refused, begin, data_of, enter, finish, local, provide, url_of},
    second_factor::Guarded,
    sign_up, status_of,
};
use crate::harness::{
    Answer, Database, PUBLISHABLE_KEY, TestApp, on_both_databases,
    provider::{TestProvider, merged},
};

/// How the account with the address came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Password,
    VerifiedPassword,
    Code,
    Provider,
    /// Somebody made it with another one's address, and linked their own account of the provider.
    Trap,
}

/// Who comes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Password,
    Code,
    Reset,
    Provider,
    UnverifiedProvider,
    GitHub,
    /// Somebody else at the same provider, who has the address now.
    OtherSubject,
    /// The user of the account, who is signed in.
    Link,
    UnverifiedLink,
    /// The same, with an account of the provider that has another address.
    OtherLink,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    status: u16,
    /// Whether it is the account that was there.
    is_same: bool,
    /// Whether the password and the session of before are good.
    password: bool,
    session: bool,
    verified: bool,
    identities: usize,
}

#[rustfmt::skip]
const MATRIX: [(First, Then, Left); 24] = {
    const fn left(status: u16, is_same: bool, password: bool, session: bool, verified: bool, identities: usize) -> Left {
        Left { status, is_same, password, session, verified, identities }
    }
    [
        //                                                      status  same   password session verified identities
        (First::Password,         Then::Password,           left(409, true,  true,  true,  false, 0)),
        (First::Password,         Then::Code,               left(200, true,  false, false, true,  0)),
        (First::Password,         Then::Provider,           left(200, true,  false, false, true,  1)),
        (First::Password,         Then::GitHub,             left(200, true,  false, false, true,  1)),
        (First::Password,         Then::UnverifiedProvider, left(403, true,  true,  true,  false, 0)),
        (First::Password,         Then::Link,               left(200, true,  true,  true,  true,  1)),
        (First::Password,         Then::UnverifiedLink,     left(200, true,  true,  true,  false, 1)),
        (First::Password,         Then::OtherLink,          left(200, true,  true,  true,  false, 1)),
        (First::VerifiedPassword, Then::Password,           left(409, true,  true,  true,  true,  0)),
        (First::VerifiedPassword, Then::Code,               left(200, true,  true,  true,  true,  0)),
        (First::VerifiedPassword, Then::Provider,           left(200, true,  true,  true,  true,  1)),
        (First::VerifiedPassword, Then::UnverifiedProvider, left(403, true,  true,  true,  true,  0)),
        (First::VerifiedPassword, Then::Link,               left(200, true,  true,  true,  true,  1)),
        (First::Code,             Then::Provider,           left(200, true,  false, true,  true,  1)),
        (First::Code,             Then::UnverifiedProvider, left(403, true,  false, true,  true,  0)),
        (First::Provider,         Then::Password,           left(409, true,  false, true,  true,  1)),
        (First::Provider,         Then::Code,               left(200, true,  false, true,  true,  1)),
        (First::Provider,         Then::Reset,              left(200, true,  false, false, true,  1)),
        (First::Provider,         Then::Provider,           left(200, true,  false, true,  true,  1)),
        (First::Provider,         Then::GitHub,             left(200, true,  false, true,  true,  2)),
        (First::Provider,         Then::OtherSubject,       left(409, true,  false, true,  true,  1)),
        (First::Trap,             Then::Code,               left(200, true,  false, false, true,  0)),
        (First::Trap,             Then::Reset,              left(200, true,  false, false, true,  0)),
        (First::Trap,             Then::GitHub,             left(200, true,  false, false, true,  1)),
    ]
};

/// Links a person's account at the provider to a user who is signed in.
pub async fn link(app: &TestApp, provider: &TestProvider, user: &Signed, person: &Value) -> Answer {
    let url = url_of(&begin(app, &user.access, "acme", &[]).await);
    finish(app, &user.access, "acme", &provider.approve(&url, person)).await
}

async fn login(app: &TestApp, email: &str) -> u16 {
    post(app, "/users/login", json!({ "email": email, "password": PASSWORD })).await.status.as_u16()
}

pub async fn unlink(app: &TestApp, user: &Signed, provider: &str) -> Answer {
    let path = format!("/users/me/identities/{provider}");
    ask(app, &user.access, Method::DELETE, &path, Value::Null).await
}

async fn identities_of(app: &TestApp, user: &str) -> usize {
    let sql = format!("SELECT COUNT(*) FROM identities WHERE user_id = '{user}'");
    app.sql().await.integers(&sql).await[0] as usize
}

/// Waits for a mail of this kind to an address, and returns it.
pub async fn mail_to(app: &TestApp, email: &str, kind: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let mails = app.get("/outbox").await.data().as_array().unwrap().clone();
        if let Some(mail) = mails.into_iter().find(|mail| mail["to"] == email && mail["kind"] == kind) {
            return mail;
        }
        assert!(begun.elapsed().as_secs() < 20, "no mail to {email}");
        tokio::task::yield_now().await;
    }
}

pub async fn by_code(app: &TestApp, email: &str) -> Answer {
    post(app, "/users/login/code", json!({ "email": email })).await;
    let code = digits_of(&mail_to(app, email, "sign-in").await);
    post(app, "/users/login/code/verify", json!({ "email": email, "code": code })).await
}

/// Makes the account of a row.
async fn come_first(app: &TestApp, provider: &TestProvider, first: First, email: &str) -> Signed {
    match first {
        First::Password => sign_up(app, email).await,
        First::VerifiedPassword => {
            let user = sign_up(app, email).await;
            app.patch(&format!("/users/{}", user.id), json!({ "emailVerified": true })).await;
            user
        }
        First::Code => {
            sign_up(app, email).await;
            Signed::read(&by_code(app, email).await)
        }
        First::Provider => Signed::read(&enter(app, provider, &person(email)).await),
        First::Trap => {
            let user = sign_up(app, email).await;
            let eve = json!({ "sub": format!("eve of {email}"), "email": format!("eve-{email}"), "email_verified": true });
            assert_eq!(link(app, provider, &user, &eve).await.status, 200);
            user
        }
    }
}

fn person(email: &str) -> Value {
    json!({ "sub": format!("subject of {email}"), "email": email, "email_verified": true })
}

/// Lets the second one of a row come. The address of GitHub is verified.
async fn come_then(
    app: &TestApp,
    provider: &TestProvider,
    then: Then,
    first: &Signed,
    email: &str,
) -> Answer {
    let unverified = merged(&person(email), &json!({ "email_verified": false }));
    match then {
        Then::Password => post(app, "/users", json!({ "email": email, "password": "another horse" })).await,
        Then::Code => by_code(app, email).await,
        Then::Reset => {
            post(app, "/users/password/forgot", json!({ "email": email })).await;
            let token = super::token_of(&mail_to(app, email, "reset-password").await);
            post(app, "/users/password/reset", json!({ "token": token, "password": "another horse" })).await
        }
        Then::Provider => enter(app, provider, &person(email)).await,
        Then::UnverifiedProvider => enter(app, provider, &unverified).await,
        Then::OtherSubject => enter(app, provider, &merged(&person(email), &json!({ "sub": email }))).await,
        Then::GitHub => {
            provider.behaviour().emails = json!([{ "email": email, "primary": true, "verified": true }]);
            let url = url_of(&begin(app, PUBLISHABLE_KEY, "github", &[]).await);
            let id = email.bytes().fold(7u64, |id, byte| id * 31 % 1_000_003 + u64::from(byte));
            finish(app, PUBLISHABLE_KEY, "github", &provider.approve(&url, &json!({ "id": id }))).await
        }
        Then::Link => link(app, provider, first, &person(email)).await,
        Then::UnverifiedLink => link(app, provider, first, &unverified).await,
        Then::OtherLink => {
            let other = merged(&person(email), &json!({ "email": format!("other-{email}") }));
            link(app, provider, first, &other).await
        }
    }
}

on_both_databases! {
    async fn an_identity_joins_the_account_that_the_table_says(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        for (row, (first, then, expected)) in MATRIX.into_iter().enumerate() {
            let email = format!("user-{row}@example.com");
            let before = come_first(app, &provider, first, &email).await;
            let answer = come_then(app, &provider, then, &before, &email).await;
            let found = app.get(&format!("/users?email={email}")).await.data().clone();
            let owner = found[0]["id"].as_str().unwrap_or_else(|| panic!("{row}: {found}")).to_owned();
            let answered = answer.body["data"]["user"]["id"].as_str();
            assert!(answered.is_none_or(|id| id == owner), "{row} {first:?} {then:?}: {answer:?}");
            let left = Left {
                status: answer.status.as_u16(),
                is_same: owner == before.id,
                password: login(app, &email).await == 200,
                session: status_of(app, &before.access).await == 200,
                verified: found[0]["data"]["emailVerified"] == true,
                identities: identities_of(app, &owner).await,
            };
            assert_eq!(left, expected, "{row}: {first:?}, then {then:?}: {answer:?}");
            if first == First::Trap {
                // Who set the trap is somebody else now.
                let eve = json!({ "sub": format!("eve of {email}"), "email": format!("eve-{email}"), "email_verified": true });
                assert_ne!(Signed::read(&enter(app, &provider, &eve).await).id, owner);
            }
        }
    }

    async fn an_anonymous_user_keeps_the_id_and_gets_an_address_that_is_verified_and_free(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let taken = sign_up(app, "bob@example.com").await;
        for (n, (email, verified, got)) in
            [("ada@example.com", true, true), ("eve@example.com", false, false), ("bob@example.com", true, false)]
                .into_iter()
                .enumerate()
        {
            let guest = Signed::read(&post(app, "/users/anonymous", json!({})).await);
            // A guest has no way to sign in again.
            app.sql().await.execute(&format!("UPDATE sessions SET signed_in_at = 0 WHERE user_id = '{}'", guest.id)).await;
            let person = json!({ "sub": format!("{n}"), "email": email, "email_verified": verified });
            let linked = link(app, &provider, &guest, &person).await;
            assert_eq!((linked.status.as_u16(), &linked.data()["user"]["id"]), (200, &json!(guest.id)), "{linked:?}");
            assert_eq!(linked.data()["identities"][0]["subject"], json!(format!("{n}")));
            let data = data_of(app, &guest.id).await;
            let expected = if got { json!([email, true]) } else { json!([null, false]) };
            assert_eq!(json!([data["email"], data["emailVerified"]]), expected, "{email}");
            assert_eq!(Signed::read(&enter(app, &provider, &person).await).id, guest.id);
        }
        assert_eq!(data_of(app, &taken.id).await["emailVerified"], false);
    }

    async fn only_the_user_who_asked_for_it_recently_links_and_unlinks(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let (bob, eve) = (sign_up(app, "bob@example.com").await, sign_up(app, "eve@example.com").await);
        // Eve's sign-in, which she has somebody else finish, and the other way round.
        let url = url_of(&begin(app, &eve.access, "acme", &[]).await);
        for token in [PUBLISHABLE_KEY, &bob.access] {
            let answer = finish(app, token, "acme", &provider.approve(&url, &ada())).await;
            assert_refused(&answer, (401, "UNAUTHORIZED"), "another user");
        }
        let linked = finish(app, &eve.access, "acme", &provider.approve(&url, &ada())).await;
        assert_eq!(linked.status, 200, "{linked:?}");
        assert_refused(&link(app, &provider, &bob, &ada()).await, (409, "CONFLICT"), "another user has");
        let second = merged(&ada(), &json!({ "sub": "1843" }));
        assert_refused(&link(app, &provider, &eve, &second).await, (409, "CONFLICT"), "linked to another account");
        assert_eq!(link(app, &provider, &eve, &ada()).await.status, 200, "the same once more changes nothing");
        // A sign-in that began without a user signs in, whoever is signed in.
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let answer = finish(app, &bob.access, "acme", &provider.approve(&url, &ada())).await;
        assert_eq!(Signed::read(&answer).id, eve.id);
        assert_eq!(unlink(app, &eve, "github").await.error(), (404, "NOT_FOUND"));
        assert_eq!(unlink(app, &eve, "acme").await.status, 200);
        let alone = Signed::read(&enter(app, &provider, &json!({ "sub": "alone" })).await);
        assert_refused(&unlink(app, &alone, "acme").await, (409, "CONFLICT"), "last way");
        let old = sign_up(app, "old@example.com").await;
        app.sql().await.execute(&format!("UPDATE sessions SET signed_in_at = 0 WHERE user_id = '{}'", old.id)).await;
        for answer in [begin(app, &old.access, "acme", &[]).await, unlink(app, &old, "acme").await] {
            assert_refused(&answer, (403, "FORBIDDEN"), "last 10 minutes");
        }
    }

    async fn a_second_factor_is_asked_for_after_a_sign_in_with_a_provider(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let mut guarded = Guarded::new(app).await;
        let answer = enter(app, &provider, &ada()).await;
        let ticket = answer.data()["mfa"]["ticket"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        assert!(answer.data().get("accessToken").is_none());
        let done = post(app, "/users/login/mfa", json!({ "ticket": ticket, "code": guarded.code() })).await;
        assert_eq!(Signed::read(&done).id, guarded.user.id);
    }

    async fn sign_ins_at_once_make_one_user(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let answers = join_all((0..12).map(|_| async { enter(app, &provider, &ada()).await })).await;
        let ids: std::collections::HashSet<_> = answers.iter().map(|answer| Signed::read(answer).id).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(app.sql().await.integers("SELECT COUNT(*) FROM identities").await, [1]);
    }

    async fn the_settings_say_who_may_sign_up_with_a_provider(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let known = Signed::read(&enter(app, &provider, &ada()).await);
        app.patch("/settings", json!({ "signup": { "mode": "closed" } })).await;
        let other = json!({ "sub": "1843", "email": "bob@example.com", "email_verified": true });
        assert_eq!(enter(app, &provider, &other).await.error(), (403, "FORBIDDEN"));
        assert_eq!(Signed::read(&enter(app, &provider, &ada()).await).id, known.id);
        app.patch("/settings", json!({ "signup": { "mode": "open", "domains": ["example.org"] } })).await;
        assert_eq!(enter(app, &provider, &other).await.error(), (403, "FORBIDDEN"));
        app.patch("/settings", json!({ "signup": { "domains": ["example.com"] } })).await;
        assert_eq!(enter(app, &provider, &other).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_finishes_a_sign_in_and_each_state_is_good_on_one_of_them() {
    let app = TestApp::start_with(Database::Postgres, local).await;
    let second = app.start_second_node().await;
    let provider = TestProvider::start().await;
    provide(&app, &provider).await;
    provider.behaviour().is_careless = true;
    let url = url_of(&begin(&app, PUBLISHABLE_KEY, "acme", &[]).await);
    let returned = provider.approve(&url, &ada());
    // The second node hears of the settings a moment later.
    let begun = std::time::Instant::now();
    let done = loop {
        let answer = finish(&second, PUBLISHABLE_KEY, "acme", &returned).await;
        if answer.status != 404 {
            break answer;
        }
        assert!(begun.elapsed().as_secs() < 10);
    };
    assert_eq!(done.status, 200, "{done:?}");
    let again = finish(&app, PUBLISHABLE_KEY, "acme", &returned).await;
    assert_refused(&again, (401, "UNAUTHORIZED"), "finished before");
    second.stop().await;
    app.stop().await;
}
