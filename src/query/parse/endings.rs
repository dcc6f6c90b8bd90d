//! Names that end like an operator, where one was meant.

use crate::query::parse::{
    foreign::ENDINGS,
    literal::shorten,
    operator::{Operator, Split, nearest_operator, operator_words},
    spelling::ended,
};

/// Refuses a field whose name ends like an operator, where one was meant.
///
/// `key` is a term's key without its group, and `split` its parts, if it has an operator.
///
/// # Errors
/// The end of a sentence that names the term.
pub(super) fn check_endings(key: &str, split: Option<&Split<'_>>) -> Result<(), String> {
    let explicit = split.filter(|split| split.is_explicit);
    let names = match explicit {
        Some(Split { operator: Operator::Eq, .. }) => return Ok(()),
        Some(split) => split.names,
        None => key,
    };
    for name in names.split("__or__").filter(|name| !name.starts_with("data.")) {
        let Some((field, ending)) = name.rsplit_once("__") else { continue };
        // `__v` and the like are names.
        if field.trim_matches('_').is_empty() {
            continue;
        }
        let (shown, field_shown) = (shorten(name), shorten(field));
        if explicit.is_some() {
            return Err(format!(
                "a dot enters an object, as in `{}`; a field whose own name is `{shown}` is written `data.{shown}`",
                shorten(&name.replace("__", "."))
            ));
        }
        if ending.is_empty() {
            return Err(format!("an operator must follow `__`, as in `{field_shown}__gte`"));
        }
        let advice = match nearest_operator(ending) {
            Some(near) => format!("did you mean `{field_shown}__{near}`?"),
            None => format!(
                "the operators are {}; a dot enters an object, as in `{field_shown}.{}`",
                operator_words(),
                shorten(ending)
            ),
        };
        return Err(unknown_operator(ending, &advice, name));
    }
    match split {
        Some(split) if !split.is_explicit => check_negation(key, split),
        Some(_) => Ok(()),
        None => check_single_endings(key),
    }
}

fn unknown_operator(ending: &str, advice: &str, name: &str) -> String {
    format!(
        "unknown operator `{}`; {} A field of this name is `{}__eq`",
        shorten(ending),
        ended(advice),
        shorten(name)
    )
}

/// Refuses `genre_not_in`, which would be an `in` on a field `genre_not`.
fn check_negation(key: &str, split: &Split<'_>) -> Result<(), String> {
    let stem = |name: &&str| name.strip_suffix("_not").is_some_and(|stem| !stem.is_empty());
    let names = split.names.split("__or__").filter(|name| !name.starts_with("data."));
    let Some(name) = names.into_iter().find(stem) else { return Ok(()) };
    let field = shorten(name.trim_end_matches("_not"));
    let advice = match split.operator {
        Operator::Eq => format!("did you mean `{field}__ne`?"),
        Operator::In => format!("did you mean `{field}__notin`?"),
        _ => "`$not` in JSON takes a filter that must not hold, as in `filters={\"$not\":{\"title__contains\":\"x\"}}`".to_owned(),
    };
    let ending = &key[split.names.len() - "not".len()..];
    Err(unknown_operator(ending, &advice, key))
}

/// Refuses an ending after a single `_` that no field's name has.
fn check_single_endings(key: &str) -> Result<(), String> {
    for name in key.split("__or__").filter(|name| !name.starts_with("data.")) {
        let stem =
            |ending: &str| name.strip_suffix(ending)?.strip_suffix('_').filter(|stem| !stem.is_empty());
        let Some((ending, field)) = ENDINGS.iter().find_map(|ending| Some((*ending, stem(ending)?))) else {
            continue;
        };
        let near = nearest_operator(ending).unwrap_or("eq");
        return Err(unknown_operator(ending, &format!("did you mean `{}__{near}`?", shorten(field)), name));
    }
    Ok(())
}
