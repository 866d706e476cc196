//! What is odd about the names of one part, beside what they are: that readers
//! would not agree on the ending, or that a person does not see it.

/// An ending that is longer is no ending.
const MAX_ENDING_CHARS: usize = 16;
/// Blanks in a row that push the end of a name out of sight.
const HIDING_BLANKS: &str = "          ";

/// Whether one of them ends otherwise than another, to a system that goes by endings.
pub(super) fn differ(names: &[String]) -> bool {
    let mut endings = names.iter().map(|name| ending(name));
    let first = endings.next();
    endings.any(|ending| Some(ending) != first)
}

fn ending(name: &str) -> String {
    let name = name.trim_end_matches(['.', ' ']);
    let Some((_, ending)) = name.rsplit_once('.') else { return String::new() };
    ending.chars().take(MAX_ENDING_CHARS).flat_map(char::to_lowercase).collect()
}

/// Whether there is something in one of them that is not shown.
pub(super) fn has_hidden(names: &[String]) -> bool {
    names.iter().any(|name| name.contains(is_hidden) || name.contains(HIDING_BLANKS))
}

fn is_hidden(c: char) -> bool {
    matches!(c,
        // No character of its own, or turns others around. Names in Persian, Hebrew and with
        // some faces have joiners and marks of direction.
        '\u{00AD}' | '\u{034F}' | '\u{180E}' | '\u{200B}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E001F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_differ_by_their_ending() {
        for (found, expected) in [
            (&["a.txt", "a.exe"][..], true),
            (&["a", "a.exe"], true),
            (&["a.exe", "b.EXE"], false),
            (&["a.exe.", "a.exe"], false),
            (&["a.exe"], false),
            (&[], false),
        ] {
            assert_eq!(differ(&names(found)), expected, "{found:?}");
        }
    }

    #[test]
    fn what_is_not_seen_is_told() {
        for (name, expected) in [
            ("a\u{202E}txt.exe", true),
            ("a\u{200B}.exe", true),
            ("a.txt                     .exe", true),
            ("é ä.exe", false),
        ] {
            assert_eq!(has_hidden(&names(&[name])), expected, "{name:?}");
        }
    }
}
