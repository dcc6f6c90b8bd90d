//! Members of a JSON filter that most likely mean something else.

use serde_json::Value;

use crate::query::parse::{
    foreign::{AROUND_FILTERS, BESIDE_FILTERS},
    literal::shorten,
    operator::{is_operator_word, nearest_operator, operator_words},
};

/// Refuses a member of a JSON filter that most likely means something else. Its key has no operator after `__`.
///
/// # Errors
/// The end of a sentence that names the member.
pub(super) fn check_json_member(key: &str, value: &Value) -> Result<(), String> {
    let shown = shorten(key);
    let is_filter = matches!(value, Value::Array(_) | Value::Object(_));
    let advice = if is_filter && ["or", "and", "not"].contains(&key) {
        format!("did you mean `${key}`?")
    } else if is_filter && key == "nor" {
        "did you mean `{\"$not\":{\"$or\":[…]}}`?".to_owned()
    } else if value.is_object() && AROUND_FILTERS.contains(&key) {
        format!("write its members in place of `{key}`, as in {{\"year__gte\":1968}}.")
    } else if BESIDE_FILTERS.contains(&key) {
        "a filter has terms only; what a list takes besides, such as `orderBy` and `limit`, stands beside `filters`."
            .to_owned()
    } else if let Some(word) = operator_inside(value) {
        // An object with a member that begins with `$` is never a value.
        let is_value = value.as_object().is_some_and(|value| !value.keys().any(|name| name.starts_with('$')));
        let other =
            if is_value { format!(" A whole object is compared by `{shown}__eq`") } else { String::new() };
        return Err(format!("an operator ends the field's name: did you mean `{shown}__{word}`?{other}"));
    } else if let Some((name, word)) = sign_at_the_end(key).or_else(|| word_at_the_end(key)) {
        format!("did you mean `{}__{word}`?", shorten(name))
    } else {
        return Ok(());
    };
    Err(format!("{advice} A field of this name is `{shown}__eq`"))
}

/// Returns the operator that the first member of an object means, if all of its members are named like operators.
fn operator_inside(value: &Value) -> Option<&'static str> {
    let Value::Object(members) = value else { return None };
    let is_operator = |name: &String| name.starts_with('$') || is_operator_word(name);
    let first = members.keys().next()?.trim_start_matches('$');
    members.keys().all(is_operator).then(|| nearest_operator(first)).flatten()
}

/// Splits `year[gte]` and `year:gte` into the field and the operator.
fn word_at_the_end(key: &str) -> Option<(&str, &'static str)> {
    let (name, word) = match key.strip_suffix(']') {
        Some(key) => key.split_once('[').map(|(name, word)| (name, word.trim_start_matches('$')))?,
        None => {
            key.rsplit_once(':').filter(|(_, word)| operator_words().split(", ").any(|own| own == *word))?
        }
    };
    let word = is_operator_word(word).then(|| nearest_operator(word)).flatten()?;
    (!name.is_empty()).then_some((name, word))
}

/// Splits `year >=` into the field and the operator.
fn sign_at_the_end(key: &str) -> Option<(&str, &'static str)> {
    const SIGNS: [(&str, &str); 8] = [
        (">=", "gte"),
        ("<=", "lte"),
        ("!=", "ne"),
        ("<>", "ne"),
        ("==", "eq"),
        (">", "gt"),
        ("<", "lt"),
        ("=", "eq"),
    ];
    let split = |(sign, word): &(&str, &'static str)| Some((key.strip_suffix(sign)?.trim_end(), *word));
    // A name with other signs in it is somebody's text, such as markup.
    SIGNS.iter().find_map(split).filter(|(name, _)| !name.is_empty() && !name.contains(['<', '>', '=']))
}
