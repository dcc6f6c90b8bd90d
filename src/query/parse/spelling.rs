//! Parameters of a URL that are no mistake of form, but would not mean what was meant: those of other products, and their
//! spellings. Each is refused with the right spelling.

use crate::{
    domain::nearest,
    query::parse::{
        foreign::advice_for,
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

/// The advice for `$or` and the like.
const GROUPS: &str =
    "groups such as `$or` stand in JSON: `filters={\"$or\":[{\"genre\":\"Fantasy\"},{\"year__lt\":1900}]}`";

/// Refuses the key of a URL's parameter that is one of another product, or is spelled like there. The key has no operator after
/// `__`, and is not one of [`PARAMETERS`].
///
/// # Errors
/// The end of a sentence that names the parameter.
pub(super) fn check_spelling(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("it must have a name, as in `genre=Fantasy`. A field whose name is empty is `data.__eq`"
            .to_owned());
    }
    let foreign = advice_for(key).map(str::to_owned);
    let Some(advice) = foreign.or_else(|| misspelt(key)) else { return Ok(()) };
    Err(format!("{} A field of this name is `{}__eq`", ended(&advice), shorten(key)))
}

/// Ends a sentence.
pub(super) fn ended(sentence: &str) -> String {
    if sentence.ends_with(['?', '.']) { sentence.to_owned() } else { format!("{sentence}.") }
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
    if let Some(advice) = bracketed_or_colon(key) {
        return Some(advice);
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
        return Some(format!("did you mean `{}__{word}`?", shorten(name.trim_end())));
    }
    None
}

/// Returns the advice for `year[gte]` and `year:gte`.
fn bracketed_or_colon(key: &str) -> Option<String> {
    if let Some((name, inner)) = key.strip_suffix(']').and_then(|key| key.split_once('[')) {
        return Some(bracketed(name, inner.trim_start_matches('$')));
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
    if let Some(advice) = advice_for(name) {
        return advice.to_owned();
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
