//! The texts that a project gives its mails.

use serde_json::{Value, json};

use super::{digits_of, linking::mail_to, post, sign_up, token_of};
use crate::harness::on_both_databases;

on_both_databases! {
    async fn mails_say_what_the_project_wants_them_to(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        let mails = json!({
            "product": "Bücher & Co",
            "reset-password": { "subject": "{{product}}: neues Passwort", "text": "{{email}}, hier: {{ link }}\n" },
            "sign-in": { "subject": "{{code}} is your code", "text": "Your code is {{code}}. {{link}}" },
            "invitation": { "subject": "Welcome to {{product}}" },
            "confirm-sign-up": { "text": "Confirm: {{link}}" },
            "address-taken": { "text": "{{email}} has an account at {{product}}." },
        });
        let changed = app.patch("/settings", json!({ "mails": mails, "signup": { "conceal": true } })).await;
        assert_eq!(changed.data()["mails"]["sign-in"], mails["sign-in"], "{changed:?}");
        post(app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        let mail = mail_to(app, "ada@example.com", "reset-password").await;
        let text = format!("ada@example.com, hier: {}/#coir=reset-password&token={}\n", app.url, token_of(&mail));
        assert_eq!((&mail["subject"], &mail["text"]), (&json!("Bücher & Co: neues Passwort"), &json!(text)));
        post(app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
        let mail = mail_to(app, "ada@example.com", "sign-in").await;
        let digits = digits_of(&mail);
        assert_eq!(mail["subject"], format!("{digits} is your code"));
        let login = json!({ "email": "ada@example.com", "code": digits });
        assert_eq!(post(app, "/users/login/code/verify", login).await.status, 200);
        app.post("/users/invitations", json!({ "email": "bob@example.com" })).await;
        let mail = mail_to(app, "bob@example.com", "invitation").await;
        assert_eq!(mail["subject"], "Welcome to Bücher & Co");
        assert!(mail["text"].as_str().unwrap().starts_with("You are invited"), "{mail}");
        for email in ["ada@example.com", "eve@example.com"] {
            let body = json!({ "email": email, "password": "correct horse" });
            assert_eq!(post(app, "/users", body).await.status, 201);
        }
        let mail = mail_to(app, "ada@example.com", "address-taken").await;
        assert_eq!(mail["text"], "ada@example.com has an account at Bücher & Co.");
        let mail = mail_to(app, "eve@example.com", "confirm-sign-up").await;
        assert!(mail["text"].as_str().unwrap().starts_with("Confirm: "), "{mail}");
        let body = json!({ "invitation": token_of(&mail), "password": "correct horse" });
        let confirmed = post(app, "/users", body).await;
        assert_eq!(confirmed.status, 201, "{confirmed:?}");
        // Null brings the server's own back.
        let reset = app.patch("/settings", json!({ "mails": { "invitation": null, "product": null } })).await;
        assert_eq!(reset.data()["mails"]["invitation"], json!({ "subject": null, "text": null }));
        app.post("/users/invitations", json!({ "email": "dan@example.com" })).await;
        assert_eq!(mail_to(app, "dan@example.com", "invitation").await["subject"], "You are invited");
        let text = json!({ "mails": { "address-taken": { "text": "At {{product}}" } } });
        app.patch("/settings", text).await;
        let body = json!({ "email": "eve@example.com", "password": "correct horse" });
        assert_eq!(post(app, "/users", body).await.status, 201);
        assert_eq!(mail_to(app, "eve@example.com", "address-taken").await["text"], "At 127.0.0.1");
    }

    async fn a_template_that_would_make_a_useless_mail_is_refused_with_its_place(app: &TestApp) {
        let before = app.get("/settings").await.data().clone();
        let kind = |kind: &str, template: Value| json!({ kind: template });
        for (mails, told) in [
            (kind("reset-password", json!({ "text": "Hi {{email}}" })), "`mails.reset-password.text` is not valid: it must have `{{link}}`"),
            (kind("sign-in", json!({ "text": "Hi" })), "it must have `{{code}}` or `{{link}}`"),
            (kind("verify-email", json!({ "text": "{{lnik}}" })), "unknown placeholder `{{lnik}}`; did you mean `{{link}}`?"),
            (kind("verify-email", json!({ "subject": "{{link}}" })), "`mails.verify-email.subject`"),
            (kind("invitation", json!({ "subject": "A\r\nBcc: eve@example.com" })), "one line"),
            (kind("invitation", json!({ "subject": "a".repeat(201) })), "at most 200 bytes"),
            (kind("invitation", json!({ "text": "{{link}}".repeat(1000) })), "at most 6144 bytes"),
            (kind("invitation", json!({ "title": "a" })), "unknown setting `mails.invitation.title`"),
            (kind("invitations", json!({ "text": "{{link}}" })), "did you mean `invitation`?"),
            (json!({ "product": "A\nBcc: eve@example.com" }), "`mails.product`"),
            (json!({ "from": "eve@example.com" }), "unknown setting `mails.from`"),
        ] {
            let answer = app.patch("/settings", json!({ "mails": mails })).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{mails}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(told), "{told}: {message}");
        }
        assert_eq!(app.get("/settings").await.data(), &before);
    }
}
