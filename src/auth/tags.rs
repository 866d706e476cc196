//! Lists of tags as DKIM writes them (RFC 6376, 3.2): `v=DKIM1; p=…`.

use std::collections::HashSet;

/// Names and values in order, without the blanks around them.
pub(super) fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split(';').filter_map(|tag| tag.split_once('='));
    pairs.map(|(name, value)| (name.trim(), value.trim()))
}

/// The value of the first tag of that name.
pub(super) fn tag<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    tags(text).find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Whether one of them is there twice, which makes the whole list void (RFC 6376, 3.2).
pub(super) fn have_doubles(text: &str) -> bool {
    let mut seen = HashSet::new();
    tags(text).any(|(name, _)| !seen.insert(name.to_ascii_lowercase()))
}

/// The same field without its signature: what stands behind `b=` counts as empty when
/// the field signs itself (RFC 6376, 3.5), and so does the line end.
pub(super) fn without_signature(value: &[u8]) -> Vec<u8> {
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let mut bare = Vec::with_capacity(value.len());
    for (number, tag) in value.split(|byte| *byte == b';').enumerate() {
        if number > 0 {
            bare.push(b';');
        }
        let end = memchr::memchr(b'=', tag);
        let (name, _) = tag.split_at(end.unwrap_or(0));
        let kept = match name.trim_ascii().eq_ignore_ascii_case(b"b") {
            true => end.map_or(0, |end| end + 1),
            false => tag.len(),
        };
        bare.extend_from_slice(tag.get(..kept).unwrap_or(tag));
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_order_and_without_blanks() {
        let text = " v = DKIM1 ;p=a b=; ; odd; s=*";
        assert_eq!(tags(text).collect::<Vec<_>>(), [("v", "DKIM1"), ("p", "a b="), ("s", "*")]);
        assert_eq!((tag(text, "s"), tag(text, "t")), (Some("*"), None));
    }

    #[test]
    fn a_tag_may_stand_once() {
        for (text, expected) in [
            ("v=1; d=a.test; s=s", false),
            ("v=1; d=a.test; d=b.test", true),
            ("v=1; b=x; B = y", true),
            ("b=x; bh=x; odd; odd; ;;", false),
            ("", false),
        ] {
            assert_eq!(have_doubles(text), expected, "{text}");
        }
    }

    #[test]
    fn a_field_signs_itself_without_its_signature() {
        for (value, expected) in [
            (" v=1; b=abc==; d=x\r\n", " v=1; b=; d=x"),
            (" v=1;\r\n\tB = a\r\n b; bh=b=", " v=1;\r\n\tB =; bh=b="),
            (" b=abc\r\n", " b="),
            (" bb=abc; =b\r\n", " bb=abc; =b"),
            ("", ""),
        ] {
            let bare = without_signature(value.as_bytes());
            assert_eq!(String::from_utf8(bare).unwrap(), expected, "{value:?}");
        }
    }
}
