//! Says what is wrong with a JSON text, in the words of those who write one. The parser's own words are for programmers of it.

use super::nearest;

/// The most characters of a caller's name that a message repeats.
const MAX_SHOWN: usize = 60;

/// Returns what is wrong, what to do, and the place: `a comma must stand … (line 1, column 8)`.
pub fn explain(err: &serde_json::Error) -> String {
    match err.line() {
        0 => explain_alone(err),
        line => format!("{} (line {line}, column {})", explain_alone(err), err.column()),
    }
}

/// The same without the place.
pub fn explain_alone(err: &serde_json::Error) -> String {
    let text = err.to_string();
    let place = format!(" at line {} column {}", err.line(), err.column());
    let problem = text.strip_suffix(&place).unwrap_or(&text);
    match syntax(problem) {
        Some(sentence) => sentence.to_owned(),
        None => content(problem).unwrap_or_else(|| problem.to_owned()),
    }
}

fn syntax(problem: &str) -> Option<&'static str> {
    Some(match problem {
        "EOF while parsing a list" => "it ends within an array, so a `]` is missing",
        "EOF while parsing an object" => "it ends within an object, so a `}` is missing",
        "EOF while parsing a string" => "it ends within a string, so a `\"` is missing",
        "EOF while parsing a value" => "it ends where a value must stand",
        "expected `:`" => "a `:` must stand between a member's name and its value",
        "expected `,` or `]`" => "a `,` must stand between two items of an array, and a `]` at its end",
        "expected `,` or `}`" => "a `,` must stand between two members of an object, and a `}` at its end",
        "expected ident" => "a word without quotes must be true, false or null",
        "expected value" => {
            "a value must stand here: a string in double quotes, a number, true, false, null, an array or an object"
        }
        "expected `\"`" => "a string must begin with a double quote",
        "invalid escape" => {
            "in a string, `\\` must be followed by one of `\"\\/bfnrtu`; a backslash is written `\\\\`"
        }
        "invalid number" => {
            "a number must be written like 7, -0.5 or 1e3; no zero stands before other digits"
        }
        "number out of range" => {
            "a number must be at most 1.7976931348623157e308; a larger one can be a string"
        }
        "invalid unicode code point" => "the text must be UTF-8",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a string must not have a line break, a tab or another control character; write `\\n` or `\\t`"
        }
        "key must be a string" => "a member's name must stand in double quotes, as in {\"title\":\"Hello\"}",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "`\\u` must be followed by four hexadecimal digits, and a surrogate by its other half"
        }
        "trailing comma" => "no comma must stand before `}` or `]`",
        "trailing characters" => "something follows the end of the value; send one value",
        "recursion limit exceeded" => "it is nested too deeply; it must have at most 127 levels",
        _ => return None,
    })
}

/// Explains a text that is JSON, but not the one that is needed. `None` for a sentence of our own.
fn content(problem: &str) -> Option<String> {
    if let Some(found) = problem.strip_prefix("invalid type: ").or(problem.strip_prefix("invalid value: ")) {
        let (found, wanted) = found.rsplit_once(", expected ")?;
        return Some(format!("{} must stand here, not {}", name_wanted(wanted), name_found(found)));
    }
    if let Some(name) = problem.strip_prefix("missing field ") {
        return Some(format!("the member {name} is missing"));
    }
    if let Some(name) = problem.strip_prefix("duplicate field ") {
        return Some(twice(name.trim_matches('`')));
    }
    if let Some(rest) = problem.strip_prefix("unknown field `") {
        let (name, known) = rest.rsplit_once("`, expected ")?;
        let known = list(known);
        let advice = match nearest(name, known.split(", ")) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it may have {known}"),
        };
        return Some(format!("unknown member `{}`; {advice}", shorten(name)));
    }
    let (name, known) = problem.strip_prefix("unknown variant `")?.rsplit_once("`, expected ")?;
    let known = list(known);
    Some(format!("`{}` is not one of {known}", shorten(name)))
}

/// The sentence for a member that is there twice.
pub(super) fn twice(name: &str) -> String {
    format!("the member `{}` is there twice, so one of its values would be lost; give it once", shorten(name))
}

/// Returns names with commas between them, from `one of ..., ...` or `... or ...`.
fn list(known: &str) -> String {
    known.trim_start_matches("one of ").replace(" or ", ", ").replace('`', "")
}

/// A value is not repeated: it may be long.
fn name_found(found: &str) -> &'static str {
    match found.split(' ').next().unwrap_or_default() {
        "map" => "an object",
        "sequence" => "an array",
        "string" | "character" => "a string",
        "integer" | "floating" => "a number",
        "boolean" => "a boolean",
        "null" | "unit" => "null",
        _ => "this",
    }
}

fn name_wanted(wanted: &str) -> &str {
    match wanted {
        "a sequence" => "an array",
        "a map" => "an object",
        "u64" => "a whole number",
        "variant identifier" | "string or map" => "a string",
        _ if wanted.starts_with("struct ") => "an object",
        _ if wanted.starts_with("enum ") => "a string",
        _ => wanted,
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[serde(rename = "name")]
        _name: String,
        #[serde(rename = "count", default)]
        _count: u64,
    }

    #[test]
    fn every_mistake_has_a_sentence_and_a_place() {
        for text in [
            "",
            "{",
            "[",
            "[1",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "\"a",
            "{\"a\" 1}",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "tru",
            "'a'",
            "\"\\q\"",
            "01",
            "1e999",
            "\"\t\"",
            "{a:1}",
            "\"\\ud800\"",
            "\"\\u12\"",
            "[1,]",
            "{\"a\":1,}",
            "1 2",
            "-",
            "1.",
            "{1:2}",
            "nul",
            "truth",
            "{,}",
            "[,1]",
        ] {
            let err = serde_json::from_str::<Value>(text).unwrap_err();
            let told = explain(&err);
            assert_ne!(explain_alone(&err), err.to_string(), "{text}: {told}");
            assert!(told.contains("(line 1, column "), "{text}: {told}");
            assert!(!told.contains("EOF") && !told.contains("expected"), "{text}: {told}");
        }
    }

    #[test]
    fn members_that_are_wrong_are_told_in_words_of_json() {
        for (text, expected) in [
            ("{}", "the member `name` is missing (line 1, column 2)"),
            (r#"{"name":7}"#, "a string must stand here, not a number (line 1, column 9)"),
            (r#"{"name":{}}"#, "a string must stand here, not an object (line 1, column 8)"),
            (
                r#"{"name":"a","count":-1}"#,
                "a whole number must stand here, not a number (line 1, column 22)",
            ),
            (r#"{"nmae":"a"}"#, "unknown member `nmae`; did you mean `name`? (line 1, column 7)"),
            (r#"{"x":"a"}"#, "unknown member `x`; it may have name, count (line 1, column 4)"),
            (r#"{"nam":"a"}"#, "unknown member `nam`; did you mean `name`? (line 1, column 6)"),
        ] {
            assert_eq!(explain(&serde_json::from_str::<Wanted>(text).unwrap_err()), expected, "{text}");
        }
        let doubled = serde_json::from_str::<Wanted>(r#"{"name":"a","name":"b"}"#).unwrap_err();
        assert!(explain(&doubled).contains("`name` is there twice"), "{}", explain(&doubled));
    }
}
