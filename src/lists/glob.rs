//! Patterns with `*`, which stands for any text, dots and nothing included.
//! Matching takes time proportional to the text: no part is tried twice.

#[derive(Clone, Debug)]
pub(super) struct Glob {
    first: String,
    /// What must follow, each behind the one before.
    middle: Vec<String>,
    last: String,
}

impl Glob {
    /// None for a text without `*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('*')?;
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Some(Self { first: first.to_owned(), middle, last: last.to_owned() })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let inner = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&*self.last));
        let Some(mut rest) = inner else {
            return false;
        };
        for part in &self.middle {
            let Some((_, behind)) = rest.split_once(&**part) else {
                return false;
            };
            rest = behind;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (glob, text, expected) in [
            ("mail-*.example.com", "mail-7.example.com", true),
            ("mail-*.example.com", "mail-.a.b.example.com", true),
            ("mail-*.example.com", "mail.example.com", false),
            ("*@example.com", "a@example.com", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*a*b*", "xbxa", false),
            ("*a*b*", "xaxbx", true),
            ("a*bc*c", "abc", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().matches(text), expected, "{glob} {text}");
        }
        assert!(Glob::parse("abc").is_none());
    }
}
