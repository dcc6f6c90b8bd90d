//! Filters on users, read as they are meant.

use serde_json::Value;

use super::{Field, Filter, parse::parse_field};
use crate::domain::{Email, Segment, nearest};

/// Reads a filter on users as it is meant. An address is one in every spelling, and "the roles equal `admin`" means that `admin` is one
/// of the roles, which are a list.
pub fn of_users(filter: Filter) -> Filter {
    let fields = (parse_field("email"), parse_field("roles"));
    match fields {
        (Ok(email), Ok(roles)) => read(filter, &email, &roles),
        _ => filter,
    }
}

/// The members of a user's document.
const MEMBERS: [&str; 5] = ["email", "emailVerified", "roles", "profile", "disabled"];

/// Returns a sentence about the first field of a filter that no user can have: such a filter would match nothing, and look as if
/// nobody fitted it.
pub fn unknown_field_of_users(filter: &Filter) -> Option<String> {
    let field = match filter {
        Filter::And(all) | Filter::Or(all) => return all.iter().find_map(unknown_field_of_users),
        Filter::Not(inner) => return unknown_field_of_users(inner),
        Filter::Equals(field, _)
        | Filter::Compares(field, ..)
        | Filter::HasText(field, ..)
        | Filter::HasElement(field, _) => field,
    };
    let Field::Data(path) = field else { return None };
    let Some(Segment::Key(name)) = path.segments().first() else { return None };
    if MEMBERS.contains(&&**name) {
        return None;
    }
    let shown: String = name.chars().take(60).collect();
    // `role` is a part of `roles`, and `verified` of `emailVerified`.
    let advice = match nearest(name, MEMBERS.into_iter().chain(["id", "createdAt", "updatedAt"])) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "a user has {}, and an app's own fields are in the profile: `profile.{shown}`",
            MEMBERS.join(", ")
        ),
    };
    Some(format!("no user has a field `{shown}`; {advice}"))
}

fn read(filter: Filter, email: &Field, roles: &Field) -> Filter {
    let each = |filters: Vec<Filter>| filters.into_iter().map(|filter| read(filter, email, roles)).collect();
    match filter {
        Filter::And(all) => Filter::And(each(all)),
        Filter::Or(any) => Filter::Or(each(any)),
        Filter::Not(inner) => Filter::Not(Box::new(read(*inner, email, roles))),
        Filter::Equals(field, values) if field == *email => Filter::Equals(field, as_stored(values)),
        Filter::Compares(field, comparison, values) if field == *email => {
            Filter::Compares(field, comparison, as_stored(values))
        }
        Filter::HasText(field, part, text) if field == *email => {
            Filter::HasText(field, part, text.to_lowercase())
        }
        // Null is what `isnull` asks for, and a list is compared as a whole.
        Filter::Equals(field, values)
            if field == *roles && values.iter().all(|value| value.is_string() || value.is_number()) =>
        {
            Filter::HasElement(field, values)
        }
        other => other,
    }
}

fn as_stored(values: Vec<Value>) -> Vec<Value> {
    let fold = |value| match value {
        Value::String(text) => Value::String(match Email::parse(&text) {
            Ok(email) => email.as_str().to_owned(),
            // Older versions have stored others.
            Err(_) => text.to_lowercase(),
        }),
        other => other,
    };
    values.into_iter().map(fold).collect()
}
