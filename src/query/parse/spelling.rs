//! Names of terms that are no mistake of form, but would not mean what was meant: an unknown operator, and the parameters and
//! spellings of other products. Each is refused with the right spelling.

use crate::{
    domain::nearest,
    query::parse::{
        literal::shorten,
        operator::{nearest_operator, operator_words},
    },
};

/// Parameters of a URL that are not filters. A filter on a field with such a name ends with `__eq`.
pub const PARAMETERS: [&str; 21] = [
    "limit",
    "offset",
    "after",
    "orderBy",
    "order",
    "sort",
    "sort_by",
    "sort_order",
    "select",
    "populate",
    "filters",
    "field",
    "operation",
    "of",
    "format",
    "ticket",
    "token",
    "since",
    "snapshot",
    "lastEventId",
    "Last-Event-ID",
];

/// How strictly the names of terms are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A name that most likely means something else is refused. A field that really has such a name takes `__eq`.
    Strict,
    /// Everything that is no operator belongs to the field's name: the client libraries send it so.
    Lenient,
}

/// Parameters of other products, each with the advice for it.
const FOREIGN: [(&[&str], &str); 14] = [
    (
        &["page", "_page", "pageNumber", "page_number"],
        "pages are asked for by `limit` and `offset`, or by `after` with the `nextCursor` of the page before",
    ),
    (
        &[
            "per_page",
            "perPage",
            "per-page",
            "pageSize",
            "page_size",
            "pagesize",
            "max_results",
            "maxResults",
            "take",
            "_limit",
        ],
        "did you mean `limit`?",
    ),
    (&["skip", "_start"], "did you mean `offset`?"),
    (
        &["cursor", "page_token", "pageToken", "nextCursor", "next_cursor", "starting_after", "startAfter"],
        "did you mean `after`, or in a stream `since`?",
    ),
    (
        &["filter", "where", "query", "conditions"],
        "write a parameter for each field, as in `year__gte=1968`, or `filters={\"year__gte\":1968}`",
    ),
    (&["q", "search"], "`title__contains=text` looks for a text in a field"),
    (&["fields", "columns", "projection"], "did you mean `select`?"),
    (
        &["order_by", "sortBy", "sort-by", "order-by", "sortby", "_sort", "ordering"],
        "did you mean `orderBy`?",
    ),
    (
        &["sortOrder", "sort_direction", "sortDirection", "orderDirection", "order_direction", "_order"],
        "did you mean `order`? It takes `asc` or `desc`",
    ),
    (&["include", "expand", "embed"], "did you mean `populate`?"),
    (
        &["groupBy", "group_by", "distinct"],
        "`GET /collections/{collection}/query/group-by?field=…` counts the values of a field",
    ),
    (
        &["or", "and"],
        "alternatives are written `[or]genre=Fantasy&[or]year__lt=1900`; all other terms must hold anyway",
    ),
    (
        &[
            "api_key",
            "apikey",
            "apiKey",
            "api-key",
            "x-api-key",
            "access_token",
            "accessToken",
            "authorization",
            "Authorization",
        ],
        "the key is sent in the header `Authorization: Bearer <key>` or `x-api-key: <key>`",
    ),
    (&["_", "_t", "nocache", "cachebust"], "leave it out: answers are not cached"),
];

/// The advice for `$or` and the like.
const GROUPS: &str =
    "groups such as `$or` stand in JSON: `filters={\"$or\":[{\"genre\":\"Fantasy\"},{\"year__lt\":1900}]}`";

/// Refuses a field whose name has `__` in it, where an operator was meant.
///
/// `key` is a term's key without its group. `explicit` is the part before an operator that stands after `__`, if there is one.
///
/// # Errors
/// The end of a sentence that names the term.
pub(super) fn check_endings(key: &str, explicit: Option<Explicit<'_>>) -> Result<(), String> {
    let names = match explicit {
        Some(Explicit { is_equality: true, .. }) => return Ok(()),
        Some(Explicit { names, .. }) => names,
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
        let advice = ended(&advice);
        return Err(format!(
            "unknown operator `{}`; {advice} A field of this name is `{shown}__eq`",
            shorten(ending)
        ));
    }
    Ok(())
}

/// The part of a key before an operator that stands after `__`.
#[derive(Clone, Copy)]
pub(super) struct Explicit<'a> {
    pub(super) names: &'a str,
    pub(super) is_equality: bool,
}

/// Refuses the key of a URL's parameter that is one of another product, or is spelled like there. The key has no operator after
/// `__`, and is not one of [`PARAMETERS`].
///
/// # Errors
/// The end of a sentence that names the parameter.
pub(super) fn check_spelling(key: &str) -> Result<(), String> {
    let Some(advice) = foreign(key).or_else(|| misspelt(key)) else { return Ok(()) };
    Err(format!("{} A field of this name is `{}__eq`", ended(&advice), shorten(key)))
}

/// Ends a sentence.
fn ended(sentence: &str) -> String {
    if sentence.ends_with(['?', '.']) { sentence.to_owned() } else { format!("{sentence}.") }
}

fn foreign(key: &str) -> Option<String> {
    let (_, advice) = FOREIGN.iter().find(|(names, _)| names.contains(&key))?;
    Some((*advice).to_owned())
}

fn misspelt(key: &str) -> Option<String> {
    if let Some(own) = PARAMETERS.iter().find(|own| own.eq_ignore_ascii_case(key)) {
        return Some(format!("did you mean `{own}`?"));
    }
    if let Some(name) = key.strip_prefix('$').filter(|name| !["or", "and", "not", "nor"].contains(name)) {
        let known =
            PARAMETERS.iter().copied().chain(["top", "skip", "expand", "orderby", "search", "filter"]);
        let own = match nearest(name, known) {
            Some("top") => Some("limit"),
            Some("skip") => Some("offset"),
            Some("expand") => Some("populate"),
            Some("orderby") => Some("orderBy"),
            Some("filter") | Some("search") => Some("filters"),
            own => own,
        };
        return Some(match own {
            Some(own) => format!("did you mean `{own}`?"),
            None => GROUPS.to_owned(),
        });
    }
    if let Some(name) = key.strip_prefix("amp;") {
        return Some(format!("write `&{}` and not `&amp;{}`", shorten(name), shorten(name)));
    }
    if key.starts_with('$') {
        return Some(GROUPS.to_owned());
    }
    if key.starts_with('[') {
        return Some("a group is written `[or]field=value` or `[or:name]field=value`".to_owned());
    }
    if let Some((name, inner)) = key.strip_suffix(']').and_then(|key| key.split_once('[')) {
        return Some(bracketed(name, inner.trim_start_matches('$')));
    }
    if let Some(name) = key.strip_suffix('!') {
        return Some(format!("did you mean `{}__ne`?", shorten(name)));
    }
    if let Some(place) = key.find(['<', '>']) {
        let (name, rest) = key.split_at(place);
        let word = match rest {
            ">" => "gte",
            "<" => "lte",
            "<>" => "ne",
            _ if rest.starts_with('>') => "gt",
            _ => "lt",
        };
        return Some(format!("did you mean `{}__{word}`?", shorten(name)));
    }
    let (name, word) = key.rsplit_once(':')?;
    operator_words().split(", ").find(|known| *known == word)?;
    Some(format!("did you mean `{}__{word}`?", shorten(name)))
}

/// Returns the advice for `name[inner]`.
fn bracketed(name: &str, inner: &str) -> String {
    let name_shown = shorten(name);
    if ["filters", "filter", "where", "query", "q"].contains(&name) {
        return "write a parameter for each field, as in `year__gte=1968`, or `filters={\"year__gte\":1968}`"
            .to_owned();
    }
    if let Some(own) = PARAMETERS.iter().find(|own| **own == name) {
        return format!("`{own}` takes no brackets, as in `{own}=…`");
    }
    if let Some((_, advice)) = FOREIGN.iter().find(|(names, _)| names.contains(&name)) {
        return (*advice).to_owned();
    }
    if inner.is_empty() {
        return format!("did you mean `{name_shown}__in=a,b`, or `{name_shown}__array_contains=a`?");
    }
    match nearest_operator(inner) {
        Some(word) => format!("did you mean `{name_shown}__{word}`?"),
        None => format!(
            "did you mean `{name_shown}.{}`? A dot enters an object",
            shorten(&inner.replace("][", "."))
        ),
    }
}

/// Refuses a term of a sort that has a word for its direction, or is spelled like in another product. A name that begins with
/// `data.` is always a field.
///
/// # Errors
/// A sentence that names the term.
pub(in crate::query) fn check_sort_term(written: &str) -> Result<(), String> {
    let term = written.strip_prefix('-').unwrap_or(written);
    if term.starts_with("data.") {
        return Ok(());
    }
    let direction = |word: &str| match word.to_ascii_lowercase().as_str() {
        "asc" | "ascending" => Some(""),
        "desc" | "descending" => Some("-"),
        _ => None,
    };
    let refuse = |advice: String| {
        let shown = shorten(written);
        let advice = ended(&advice);
        Err(format!(
            "`{shown}` is not a valid field to sort by: {advice} A field of this name is `data.{shown}`"
        ))
    };
    if direction(term).is_some() {
        return refuse("a direction is `-` before the field's name, as in `orderBy=-year`, or `order=desc` for all fields".to_owned());
    }
    if let Some((name, word)) = term.rsplit_once([' ', ':', '+', '|'])
        && let Some(sign) = direction(word.trim())
    {
        return refuse(format!("did you mean `{sign}{}`?", shorten(name.trim())));
    }
    if let Some((word, name)) = term.split_once('(')
        && let Some(sign) = direction(word.trim())
    {
        return refuse(format!("did you mean `{sign}{}`?", shorten(name.trim_end_matches(')'))));
    }
    // In a URL, `+` is a space.
    if let Some(name) = term.strip_prefix([' ', '+']) {
        return refuse(format!("ascending is the field's name alone: `{}`", shorten(name.trim())));
    }
    if term.starts_with(['{', '[', '"']) {
        return refuse(
            "write the names of fields with commas between them, as in `orderBy=status,-createdAt`"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_with_a_direction_word_is_told_the_sign() {
        for (term, expected) in [
            ("year desc", Some("`-year`")),
            ("year:DESC", Some("`-year`")),
            ("year asc", Some("`year`")),
            ("desc(year)", Some("`-year`")),
            (" year", Some("`year`")),
            ("desc", Some("`orderBy=-year`")),
            ("-year ASC", Some("`year`")),
            ("{\"year\":1}", Some("orderBy=status,-createdAt")),
            ("data.year desc", None),
            ("Major Genre", None),
            ("description", None),
            ("meta.desc", None),
        ] {
            let refused = check_sort_term(term).err();
            assert_eq!(refused.is_some(), expected.is_some(), "{term}: {refused:?}");
            assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{term}");
        }
    }
}
