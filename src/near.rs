//! "Did you mean …?": the known name that an operator's misspelt one was
//! probably meant to be.

/// Names are short; a longer word was not meant to be one, and would take long
/// to compare.
const MAX_BYTES: usize = 100;

/// The known name that is near enough to the word, whatever its case.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > MAX_BYTES {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .filter(|name| name.len() <= MAX_BYTES)
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5)
        .min()
        .map(|(_, name)| name)
}

/// `; did you mean …?` behind a complaint, or nothing.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        for (word, known, expected) in [
            ("sasl_usrname", &["sasl_username", "sender"][..], Some("sasl_username")),
            ("Reject", &["reject"], Some("reject")),
            ("rjcet", &["REJECT", "REDIRECT"], Some("REJECT")),
            ("prepend", &["reject", "permit"], None),
            ("dir", &["max_keys"], None),
            ("tag", &["log"], None),
            ("a", &["c", "b"], Some("b")),
        ] {
            assert_eq!(nearest(word, known.iter().copied()), expected, "{word}");
        }
        assert_eq!(did_you_mean("rejct", ["reject"]), "; did you mean `reject`?");
        assert_eq!(did_you_mean("prepend", ["reject"]), "");
    }

    #[test]
    fn a_word_too_long_for_a_name_is_not_compared() {
        let long = "x".repeat(MAX_BYTES);
        let longer = format!("{long}x");
        assert_eq!(nearest(&long, [longer.as_str(), "x"]), None);
        assert_eq!(nearest(&longer, [long.as_str()]), None);
        assert_eq!(nearest(&long, [long.as_str()]), Some(long.as_str()));
    }
}
