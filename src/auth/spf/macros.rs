//! The macros in records (RFC 7208, section 7): what a domain may say with the client's
//! address, the sender and the greeting.
//!
//! These come from the client, the text around them from the owner of a domain. Both are
//! bounded where they are read; an explanation is cut while it grows.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use viaspf_record::Escape;
use viaspf_record::ExplainString;
use viaspf_record::ExplainStringSegment;
use viaspf_record::Macro;
use viaspf_record::MacroExpand;
use viaspf_record::MacroKind;
use viaspf_record::MacroString;
use viaspf_record::MacroStringSegment;

/// Of an explanation, of which less than that is told.
const MAX_TEXT_BYTES: usize = 1_000;

/// What a client has told of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub ip: IpAddr,
    pub local: &'a str,
    pub domain: &'a str,
    pub helo: &'a str,
}

fn kinds(macros: &MacroString) -> impl Iterator<Item = MacroKind> {
    macros.segments.iter().filter_map(|segment| match segment {
        MacroStringSegment::MacroExpand(MacroExpand::Macro(one)) => Some(one.kind()),
        _ => None,
    })
}

pub(super) fn wants_validated(macros: &MacroString) -> bool {
    kinds(macros).any(|kind| kind == MacroKind::ValidatedDomain)
}

/// Whether there is none that is for explanations only (RFC 7208, 7.2).
pub(super) fn may_be_name(macros: &MacroString) -> bool {
    !kinds(macros)
        .any(|kind| matches!(kind, MacroKind::PrettyIp | MacroKind::Receiver | MacroKind::Timestamp))
}

/// The text of a name.
pub(super) fn expand(macros: &MacroString, told: &Told<'_>, domain: &str, validated: &str) -> String {
    let mut text = String::new();
    for segment in &macros.segments {
        expand_segment(segment, told, (domain, validated), &mut text);
    }
    text
}

/// An explanation, or its beginning.
pub(super) fn expand_text(
    explanation: &ExplainString,
    told: &Told<'_>,
    domain: &str,
    validated: &str,
) -> String {
    let mut text = String::new();
    for segment in &explanation.segments {
        match segment {
            ExplainStringSegment::MacroString(macros) => {
                for segment in &macros.segments {
                    expand_segment(segment, told, (domain, validated), &mut text);
                    if text.len() > MAX_TEXT_BYTES {
                        return text;
                    }
                }
            }
            ExplainStringSegment::Space => text.push(' '),
        }
    }
    text
}

fn expand_segment(
    segment: &MacroStringSegment,
    told: &Told<'_>,
    (domain, validated): (&str, &str),
    text: &mut String,
) {
    match segment {
        MacroStringSegment::MacroExpand(MacroExpand::Macro(one)) => {
            let value = value_of(one.kind(), told, domain, validated);
            transform(one, &value, text);
        }
        MacroStringSegment::MacroExpand(MacroExpand::Escape(escape)) => text.push_str(match escape {
            Escape::Percent => "%",
            Escape::Space => " ",
            Escape::UrlEncodedSpace => "%20",
        }),
        MacroStringSegment::MacroLiteral(literal) => text.push_str(literal.as_ref()),
    }
}

fn value_of<'v>(kind: MacroKind, told: &Told<'v>, domain: &'v str, validated: &'v str) -> Cow<'v, str> {
    match kind {
        MacroKind::Sender => format!("{}@{}", told.local, told.domain).into(),
        MacroKind::LocalPart => told.local.into(),
        MacroKind::DomainPart => told.domain.into(),
        MacroKind::Domain => domain.into(),
        MacroKind::Ip => dotted(told.ip).into(),
        MacroKind::ValidatedDomain => validated.into(),
        MacroKind::HeloDomain => told.helo.into(),
        MacroKind::VersionLabel => if told.ip.is_ipv4() { "in-addr" } else { "ip6" }.into(),
        MacroKind::PrettyIp => told.ip.to_string().into(),
        // Who we are and what time it is here is nobody's business: RFC 7208 has this
        // word for it (7.3).
        MacroKind::Receiver | MacroKind::Timestamp => "unknown".into(),
    }
}

/// `192.0.2.1`, or all nibbles of an IPv6 address; names are asked for in lower case.
fn dotted(ip: IpAddr) -> String {
    let IpAddr::V6(ip) = ip else {
        return ip.to_string();
    };
    let mut text = String::with_capacity(64);
    for byte in ip.octets() {
        let dot = if text.is_empty() { "" } else { "." };
        let _ = write!(text, "{dot}{:X}.{:X}", byte >> 4, byte & 15);
    }
    text
}

/// Splits the value, turns it round, takes its right-most parts, escapes it (RFC 7208, 7.3).
fn transform(one: &Macro, value: &str, text: &mut String) {
    let is_whole = one.limit().is_none() && !one.reverse() && one.delimiters().is_none();
    let value = match is_whole {
        true => Cow::from(value),
        false => Cow::from(parts_of(one, value)),
    };
    if !one.url_encode() {
        text.push_str(&value);
        return;
    }
    for byte in value.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => text.push(char::from(byte)),
            false => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

fn parts_of(one: &Macro, value: &str) -> String {
    let delimiters = one.delimiters().map_or(".", AsRef::as_ref);
    let is_delimiter = |c: char| delimiters.contains(c);
    // Several in a row separate once.
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find(is_delimiter) {
        let (part, behind) = rest.split_at(at);
        parts.push(part);
        rest = behind.trim_start_matches(is_delimiter);
    }
    parts.push(rest);
    if one.reverse() {
        parts.reverse();
    }
    let kept = one.limit().map_or(parts.len(), |limit| usize::from(limit.get()));
    let from = parts.len().saturating_sub(kept);
    parts.get(from..).unwrap_or_default().join(".")
}
