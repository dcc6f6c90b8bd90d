//! The texts of a project's mails.
//!
//! A template has placeholders such as `{{link}}`. It is checked when it is set, so that no mail lacks what it is sent for.

use serde::{Deserialize, Serialize};

use super::nearest;

/// Bytes of the name of a product.
const MAX_PRODUCT_BYTES: usize = 100;
/// Bytes of a subject, before its placeholders are filled.
const MAX_SUBJECT_BYTES: usize = 200;
/// Bytes of a text, before its placeholders are filled.
const MAX_TEXT_BYTES: usize = 6 * 1024;
/// The most characters of an unknown placeholder that an error repeats.
const MAX_SHOWN: usize = 30;

const LINK: &str = "link";
const CODE: &str = "code";
const EMAIL: &str = "email";
const PRODUCT: &str = "product";

/// What the mails of a project say. A text that is missing is the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct MailTemplates {
    /// What `{{product}}` stands for.
    pub product: Option<String>,
    pub reset_password: Template,
    pub verify_email: Template,
    pub change_email: Template,
    pub sign_in: Template,
    pub invitation: Template,
    pub confirm_sign_up: Template,
    pub address_taken: Template,
    pub email_changed: Template,
}

/// What one kind of mail says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Template {
    pub subject: Option<String>,
    pub text: Option<String>,
}

/// What the placeholders of a mail stand for.
#[derive(Clone, Copy)]
pub struct Filling<'a> {
    pub link: Option<&'a str>,
    pub code: Option<&'a str>,
    pub email: &'a str,
    pub product: &'a str,
}

impl MailTemplates {
    /// Checks the texts.
    ///
    /// # Errors
    /// The path of the first one that is not valid, and why.
    pub fn check(&self) -> Result<(), (String, String)> {
        if let Some(product) = &self.product {
            check_line(product, MAX_PRODUCT_BYTES)
                .map_err(|problem| ("mails.product".to_owned(), problem))?;
        }
        // A text needs one of the placeholders in the last column, if there are any.
        let kinds: [(&str, &Template, &[&str]); 8] = [
            ("reset-password", &self.reset_password, &[LINK]),
            ("verify-email", &self.verify_email, &[LINK]),
            ("change-email", &self.change_email, &[LINK]),
            ("sign-in", &self.sign_in, &[CODE, LINK]),
            ("invitation", &self.invitation, &[LINK]),
            ("confirm-sign-up", &self.confirm_sign_up, &[LINK]),
            ("address-taken", &self.address_taken, &[]),
            ("email-changed", &self.email_changed, &[]),
        ];
        for (kind, template, needed) in kinds {
            let at = |member: &str| {
                let path = format!("mails.{kind}.{member}");
                move |problem| (path, problem)
            };
            if let Some(subject) = &template.subject {
                // A link is too long for it, and no mail program lets anybody follow it there.
                let secrets = needed.iter().copied().filter(|name| *name == CODE);
                let known: Vec<_> = secrets.chain([EMAIL, PRODUCT]).collect();
                let checked =
                    check_line(subject, MAX_SUBJECT_BYTES).and_then(|()| check_placeholders(subject, &known));
                checked.map_err(at("subject"))?;
            }
            if let Some(text) = &template.text {
                let known: Vec<_> = needed.iter().copied().chain([EMAIL, PRODUCT]).collect();
                check_text(text, &known, needed).map_err(at("text"))?;
            }
        }
        Ok(())
    }
}

impl Filling<'_> {
    /// Returns a template with what its placeholders stand for. What is put in has no placeholders of its own.
    pub fn fill(&self, template: &str) -> String {
        let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, behind)) = after.split_once("}}") else { break };
            filled.push_str(before);
            filled.push_str(match name.trim() {
                LINK => self.link.unwrap_or_default(),
                CODE => self.code.unwrap_or_default(),
                EMAIL => self.email,
                PRODUCT => self.product,
                _ => "",
            });
            rest = behind;
        }
        filled.push_str(rest);
        filled
    }
}

/// Checks what stands in a header: a line break there would begin another one.
fn check_line(line: &str, limit: usize) -> Result<(), String> {
    check_size(line, limit)?;
    if line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err("it must be one line, without control characters".to_owned());
    }
    Ok(())
}

fn check_text(text: &str, known: &[&str], needed: &[&str]) -> Result<(), String> {
    check_size(text, MAX_TEXT_BYTES)?;
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err("it must have no control characters but line breaks and tabs".to_owned());
    }
    check_placeholders(text, known)?;
    let mut names = placeholders(text).flatten();
    if !needed.is_empty() && !names.any(|name| needed.contains(&name)) {
        return Err(format!("it must have {}, or the mail is of no use", shown(needed, " or ")));
    }
    Ok(())
}

fn check_size(text: &str, limit: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("it must not be empty; null brings the server's own back".to_owned());
    }
    if text.len() > limit { Err(format!("it may have at most {limit} bytes")) } else { Ok(()) }
}

fn check_placeholders(text: &str, known: &[&str]) -> Result<(), String> {
    for name in placeholders(text) {
        let name = name.ok_or("a `{{` has no `}}`")?;
        if !known.contains(&name) {
            let advice = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
                None => format!("here may be {}", shown(known, ", ")),
            };
            let name: String = name.chars().take(MAX_SHOWN).collect();
            return Err(format!("unknown placeholder `{{{{{name}}}}}`; {advice}"));
        }
    }
    Ok(())
}

/// Returns the names of the placeholders; `None` for one that doesn't end.
fn placeholders(text: &str) -> impl Iterator<Item = Option<&str>> {
    text.split("{{").skip(1).map(|after| after.split_once("}}").map(|(name, _)| name.trim()))
}

fn shown(names: &[&str], separator: &str) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{{{{{name}}}}}`")).collect();
    names.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let filling = Filling { link: Some("https://a/#{{code}}"), code: None, email: "a@b", product: "P" };
        let filled = filling.fill("{{product}}: {{ link }} for {{email}}, {{email}}{{code}} {}");
        assert_eq!(filled, "P: https://a/#{{code}} for a@b, a@b {}");
    }

    #[test]
    fn a_template_is_refused_with_its_place() {
        type Change = fn(&mut MailTemplates);
        let with = |change: Change| {
            let mut mails = MailTemplates::default();
            change(&mut mails);
            mails.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|mails| mails.sign_in.text = Some("{{link}}".to_owned())), Ok(()));
        assert_eq!(with(|mails| mails.sign_in.subject = Some("{{ code }}".to_owned())), Ok(()));
        let cases: [(Change, &str, &str); 9] = [
            (
                |mails| mails.invitation.text = Some("Hi {{email}}".into()),
                "invitation.text",
                "must have `{{link}}`",
            ),
            (|mails| mails.sign_in.text = Some("Hi".into()), "sign-in.text", "`{{code}}` or `{{link}}`"),
            (
                |mails| mails.verify_email.text = Some("{{lnik}}".into()),
                "verify-email.text",
                "did you mean `{{link}}`?",
            ),
            (
                |mails| mails.verify_email.text = Some("{{link}} {{".into()),
                "verify-email.text",
                "has no `}}`",
            ),
            (
                |mails| mails.verify_email.subject = Some("{{link}}".into()),
                "verify-email.subject",
                "unknown placeholder",
            ),
            (
                |mails| mails.address_taken.text = Some("{{link}}".into()),
                "address-taken.text",
                "unknown placeholder",
            ),
            (
                |mails| mails.email_changed.subject = Some("A\r\nBcc: e@e".into()),
                "email-changed.subject",
                "one line",
            ),
            (|mails| mails.product = Some("A\nBcc: e@e".into()), "product", "one line"),
            (|mails| mails.invitation.text = Some(" ".into()), "invitation.text", "must not be empty"),
        ];
        for (change, place, told) in cases {
            let (path, problem) = with(change).unwrap_err();
            assert_eq!(path, format!("mails.{place}"));
            assert!(problem.contains(told), "{path}: {problem}");
        }
        let long = |mails: &mut MailTemplates| mails.invitation.text = Some("{{link}}".repeat(1000));
        assert_eq!(with(long).unwrap_err().1, "it may have at most 6144 bytes");
    }
}
