//! The known word that a mistyped one was meant to be.

/// Returns the known word that is nearest to an unknown one, if it is near: at most a third of its characters are wrong, missing,
/// doubled or exchanged, or it begins or ends with the other. Upper and lower case are the same.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Comparing takes time by the product of the lengths.
    const MAX_BYTES: usize = 64;
    if unknown.len() > MAX_BYTES {
        return None;
    }
    let unknown = unknown.to_lowercase();
    let distance = |word: &&str| {
        let word = word.to_lowercase();
        let wrong = strsim::damerau_levenshtein(&unknown, &word);
        let is_part = |part: &str, whole: &str| {
            part.chars().count() >= 3 && (whole.starts_with(part) || whole.ends_with(part))
        };
        let is_near =
            wrong * 3 <= word.chars().count().max(3) || is_part(&unknown, &word) || is_part(&word, &unknown);
        is_near.then_some(wrong)
    };
    known
        .into_iter()
        .filter_map(|word| Some((distance(&word)?, word)))
        .min_by_key(|(wrong, _)| *wrong)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_is_near_to_the_one_that_was_meant() {
        let known = ["collection", "filters", "since", "snapshot", "orderBy", "books"];
        for (unknown, expected) in [
            ("filter", Some("filters")),
            ("Filters", Some("filters")),
            ("collections", Some("collection")),
            ("colection", Some("collection")),
            ("snapshto", Some("snapshot")),
            ("orderby", Some("orderBy")),
            ("bokks", Some("books")),
            ("order", Some("orderBy")),
            ("where", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), expected, "{unknown}");
        }
    }
}
