//! Names of zones without the key that some providers put into them: whoever reads
//! it asks at its owner's expense.

use std::borrow::Cow;

/// Below these the label next to the end says which zone it is, the ones before it
/// whose key is used.
const KEYED: [&str; 2] = ["dq.spamhaus.net", "mail.abusix.zone"];

/// A label that nobody would choose for a name: shorter ones are words.
const MIN_KEY_BYTES: usize = 20;

/// Labels behind a key: a zone of somebody's.
const MIN_LABELS_BEHIND: usize = 2;

/// What may be shown of a zone's name, in lower-case.
pub fn shown(name: &str) -> &str {
    let end = key_end(name);
    name.get(end..).unwrap_or(name)
}

/// A text in which keys have become `KEY`, for lines of rule files.
pub fn without_keys(text: &str) -> Cow<'_, str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let mut hidden = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(start) = rest.find(is_name) {
        let (before, behind) = rest.split_at(start);
        let (name, after) = behind.split_at(behind.find(|c| !is_name(c)).unwrap_or(behind.len()));
        hidden.push_str(before);
        let folded = name.to_ascii_lowercase();
        match name.get(key_end(&folded)..).filter(|kept| kept.len() < name.len()) {
            Some(kept) => {
                found = true;
                hidden.push_str("KEY.");
                hidden.push_str(kept);
            }
            None => hidden.push_str(name),
        }
        rest = after;
    }
    if !found {
        return Cow::from(text);
    }
    hidden.push_str(rest);
    Cow::from(hidden)
}

/// Where what is no key begins: 0 without one.
fn key_end(name: &str) -> usize {
    let bare = name.trim_end_matches('.');
    for suffix in KEYED {
        let before = bare.strip_suffix(suffix).and_then(|before| before.strip_suffix('.'));
        if let Some(at) = before.and_then(|before| before.rfind('.')) {
            return at + 1;
        }
    }
    let mut end = 0;
    let mut at = 0;
    let labels = bare.split('.').count();
    for (index, label) in bare.split('.').enumerate() {
        at += label.len() + 1;
        let digits = label.bytes().filter(u8::is_ascii_digit).count();
        let is_odd = digits > 0 && digits < label.len() && label.bytes().all(|b| b.is_ascii_alphanumeric());
        if label.len() >= MIN_KEY_BYTES && is_odd && labels - index > MIN_LABELS_BEHIND {
            end = at;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        for (name, expected) in [
            ("zen.spamhaus.org", "zen.spamhaus.org"),
            ("abcdefgh.zen.dq.spamhaus.net", "zen.dq.spamhaus.net"),
            ("_email.abcdefgh.hbl.dq.spamhaus.net", "hbl.dq.spamhaus.net"),
            ("zen.dq.spamhaus.net", "zen.dq.spamhaus.net"),
            ("k3y.combined.mail.abusix.zone", "combined.mail.abusix.zone"),
            ("0123456789abcdef01234567.bl.example", "bl.example"),
            ("averylongwordwithoutdigits.bl.example", "averylongwordwithoutdigits.bl.example"),
            ("0123456789012345678901234.bl.example", "0123456789012345678901234.bl.example"),
            ("bl.example", "bl.example"),
        ] {
            assert_eq!(shown(name), expected);
        }
    }

    #[test]
    fn a_line_is_shown_without_its_keys() {
        for (line, expected) in [
            ("- bl.example*3", "- bl.example*3"),
            (
                "- abcdefgh.zen.dq.spamhaus.net=127.0.0.[2..11]*8",
                "- KEY.zen.dq.spamhaus.net=127.0.0.[2..11]*8",
            ),
            ("{zone: ABCDEFGH.Zen.DQ.spamhaus.net, x: 1}", "{zone: KEY.Zen.DQ.spamhaus.net, x: 1}"),
            ("a: 0123456789abcdef01234567.bl.example # bücher", "a: KEY.bl.example # bücher"),
            ("bücher 0123456789abcdef01234567 alone", "bücher 0123456789abcdef01234567 alone"),
        ] {
            assert_eq!(without_keys(line), expected);
        }
    }
}
