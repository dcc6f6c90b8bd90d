//! Names of fields in terms, sorts and selections that would not be the field that was meant: a document's own members in another
//! spelling, words for a direction, and what other products write there.

use crate::query::parse::{literal::shorten, spelling::ended};

/// Refuses the name of a field that is one of a document's own members, and can't be compared or is spelled in another way.
///
/// # Errors
/// A sentence about it.
pub fn check_own_member(name: &str) -> Result<(), String> {
    const OWN: [&str; 5] = ["id", "createdAt", "updatedAt", "created_at", "updated_at"];
    let advice = match name {
        "version" => "lists and streams can't compare the `version` of a document.".to_owned(),
        "collection" => "the path of the request names the collection.".to_owned(),
        "_id" => "did you mean `id`?".to_owned(),
        _ => {
            let meant = |own: &&&str| own.eq_ignore_ascii_case(name) && **own != name;
            if OWN.contains(&name) {
                return Ok(());
            }
            let Some(own) = OWN.iter().find(meant) else { return Ok(()) };
            format!("did you mean `{own}`?")
        }
    };
    Err(format!("{advice} A field of this name in the data is `data.{name}`"))
}

/// Refuses the name of a field to select that is spelled like in another product.
///
/// # Errors
/// The end of a sentence that names it.
pub(in crate::query) fn check_selected(name: &str) -> Result<(), String> {
    if name == "*" {
        return Err("without `select` a document has all of its fields".to_owned());
    }
    if let Some(field) = name.strip_prefix('-') {
        return Err(format!(
            "`select` names the fields to keep, and none to leave out. A field of this name is `data.-{}`",
            shorten(field)
        ));
    }
    if name.starts_with(['{', '[', '"']) {
        return Err(
            "write the names of fields with commas between them, as in `select=title,author.name`".to_owned()
        );
    }
    // They are always there.
    if matches!(name, "version" | "collection") { Ok(()) } else { check_own_member(name) }
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
    if let Err(why) = check_own_member(term) {
        return Err(format!("`{}` is not a valid field to sort by: {why}", shorten(written)));
    }
    if let Some((name, word)) = term.rsplit_once([' ', ':', '+', '|', '.'])
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
            ("year.desc", Some("`-year`")),
            ("data.meta.desc", None),
            ("createdat", Some("`createdAt`")),
            ("-version", Some("`data.version`")),
        ] {
            let refused = check_sort_term(term).err();
            assert_eq!(refused.is_some(), expected.is_some(), "{term}: {refused:?}");
            assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{term}");
        }
    }
}
