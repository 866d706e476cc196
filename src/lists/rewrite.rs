//! What to write instead of the constructs of PCRE that a linear-time engine has not:
//! only where the other pattern matches the same texts for sure, but for atomic groups,
//! which are written for speed.

/// For a group that begins with `(?` and `start`, behind `before`; `inner` is all that
/// follows.
pub(super) fn of_group(start: &str, before: &str, inner: &str) -> Option<String> {
    let (inner, after) = split_group(inner)?;
    // A branch of its own has its own beginning and end.
    if has_branches(before) || has_branches(after) || before.contains('(') && start != ">" {
        return None;
    }
    let opposite = opposite(inner);
    let pattern = match start {
        ">" => format!("{before}(?:{inner}){after}"),
        "=" if after.is_empty() => format!("{before}(?:{inner})"),
        "<=" if before.is_empty() => format!("(?:{inner}){after}"),
        "!" if after.is_empty() && opposite.is_some() => format!("{before}(?:{}|$)", opposite?),
        "<!" if before.is_empty() && opposite.is_some() => format!("(?:^|{}){after}", opposite?),
        "=" | "!" if is_fixed(before) && !has_branches(inner) => {
            let (other, rest) = (format!("{before}{inner}"), format!("{before}{after}"));
            return Some(if start == "=" {
                format!(
                    "let `/{rest}/` match and also `/{other}/`: in a table `if /{other}/` above it and `endif` \
                     below, in a rule both under `when`"
                )
            } else {
                format!(
                    "let `/{rest}/` match but not `/{other}/`: in a table `if !/{other}/` above it and `endif` \
                     below, in a rule `unless`"
                )
            });
        }
        _ => return None,
    };
    Some(format!("write `/{pattern}/`"))
}

/// What stands to the group's end, and what follows.
fn split_group(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    for (at, c) in signs(text) {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}

fn has_branches(text: &str) -> bool {
    let mut depth = 0_usize;
    signs(text).any(|(_, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '|' && depth == 0
    })
}

/// The signs that mean something: not behind a backslash, not in brackets.
fn signs(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut escaped = false;
    let mut class = None;
    text.char_indices().filter(move |&(at, c)| {
        if escaped {
            escaped = false;
            return false;
        }
        escaped = c == '\\';
        match (class, c) {
            (None, '[') => class = Some(at),
            // The first sign of a class, with a `^` before it, does not end it.
            (Some(from), ']') if at > from + 1 && text.get(from + 1..at) != Some("^") => class = None,
            (None, _) => return !escaped,
            _ => {}
        }
        false
    })
}

/// From the start of the text, and always as long: what follows is at one place only.
fn is_fixed(before: &str) -> bool {
    let Some(text) = before.strip_prefix('^') else {
        return false;
    };
    !text.contains(['*', '+', '?', '{', '[', '(', ')', '.', '$', '^', '|'])
}

/// Of one sign or class all others.
fn opposite(inner: &str) -> Option<String> {
    let mut chars = inner.chars();
    match (chars.next()?, chars.next(), chars.next()) {
        ('\\', Some(c), None) if c.is_ascii_punctuation() => Some(format!("[^\\{c}]")),
        ('\\', Some(c @ ('d' | 's' | 'w')), None) => Some(format!("\\{}", c.to_ascii_uppercase())),
        ('\\', Some(c @ ('D' | 'S' | 'W')), None) => Some(format!("\\{}", c.to_ascii_lowercase())),
        (c, None, None) if c.is_alphanumeric() || matches!(c, '-' | '@' | '/' | ' ' | ':' | '<' | '>') => {
            Some(format!("[^{c}]"))
        }
        ('[', Some(first), Some(_)) => {
            let class = inner.get(1..)?.strip_suffix(']')?;
            let is_one = !class.contains(['[', ']', '\\']);
            is_one.then(|| {
                if first == '^' {
                    format!("[{}]", class.get(1..).unwrap_or_default())
                } else {
                    format!("[^{class}]")
                }
            })
        }
        _ => None,
    }
}
