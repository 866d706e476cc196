//! `Authentication-Results` (RFC 8601): how what was found is told to those behind us.
//!
//! Names in it are strangers': what is no token is quoted, what could look like more than a name is
//! left out, and so is what makes the field too long.

use super::arc::ArcChain;
use super::dkim::DkimSignature;
use super::dmarc::Dmarc;
use std::fmt::Write as _;
use std::net::IpAddr;

/// A line has at most 998 bytes (RFC 5322, 2.1.1), with the field's name; what is added
/// to a header is cut at 900.
const MAX_BYTES: usize = 890;

/// A value in it: an address has at most 254.
const MAX_VALUE_BYTES: usize = 254;

/// What one message came to; None is not told.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationResults<'a> {
    /// Result, which of `mailfrom` and `helo`, and its value.
    pub spf: Option<(&'a str, &'a str, &'a str)>,
    pub dkim: Option<&'a [DkimSignature]>,
    pub dmarc: Option<&'a Dmarc>,
    pub arc: Option<&'a ArcChain>,
    /// A client whose name leads back to its address.
    pub iprev: Option<IpAddr>,
}

impl AuthenticationResults<'_> {
    /// The value of the field, on one line; `service` is our name in it. What does not
    /// fit is left out: signatures, from the last.
    pub fn field(&self, service: &str) -> String {
        let mut results: Vec<String> = Vec::new();
        if let Some(ip) = self.iprev {
            results.push(format!("iprev=pass{}", property("policy", "iprev", &ip.to_string())));
        }
        if let Some((result, identity, value)) = self.spf {
            results.push(format!("spf={result}{}", property("smtp", identity, value)));
        }
        if let Some(dmarc) = self.dmarc {
            let mut text = format!("dmarc={}", dmarc.result.word());
            text += &reason(dmarc.reason);
            if let Some(policy) = dmarc.policy {
                text += &property("policy", "dmarc", policy.word());
            }
            text += &property("header", "from", &dmarc.domain);
            results.push(text);
        }
        if let Some(arc) = self.arc {
            let sealer = arc.sealers.first().map(|sealer| property("header", "d", sealer));
            results.push(format!(
                "arc={}{}{}",
                arc.result.word(),
                reason(arc.reason),
                sealer.unwrap_or_default()
            ));
        }
        for signature in self.dkim.unwrap_or_default() {
            results.push(format!(
                "dkim={}{}{}{}{}",
                signature.result.word(),
                reason(signature.reason),
                property("header", "d", &signature.domain),
                property("header", "s", &signature.selector),
                property("header", "b", &signature.prefix)
            ));
        }
        if self.dkim.is_some_and(<[_]>::is_empty) {
            results.push("dkim=none".into());
        }
        let mut field = service.to_owned();
        if results.is_empty() {
            field += "; none";
        }
        for result in results {
            if field.len() + 2 + result.len() > MAX_BYTES {
                break;
            }
            let _ = write!(field, "; {result}");
        }
        field
    }
}

/// Ours, and so without anything to quote.
fn reason(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" reason=\"{text}\"") }
}

/// ` kind.name=value`, or nothing where there is none that could stand here.
fn property(kind: &str, name: &str, value: &str) -> String {
    // `<>` is told by an empty value in no reader that we know of. Of readers that know no
    // quotes a stranger could make one believe in a result or a comment of his own.
    let is_plain = !value.is_empty()
        && value.len() <= MAX_VALUE_BYTES
        && value.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"\"\\;()".contains(&b));
    if !is_plain {
        return String::new();
    }
    // A local part and a domain need no quotes (RFC 8601, 2.2).
    let is_token = |text: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b);
        !text.is_empty() && text.bytes().all(fits)
    };
    let is_address =
        value.rsplit_once('@').is_some_and(|(local, domain)| is_token(local) && is_token(domain));
    if is_token(value) || is_address {
        return format!(" {kind}.{name}={value}");
    }
    format!(" {kind}.{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::super::DkimResult;
    use super::super::DmarcPolicy;
    use super::super::DmarcResult;
    use super::*;

    fn signature(result: DkimResult, reason: &'static str, domain: &str) -> DkimSignature {
        let (domain, selector, prefix) = (domain.to_owned(), "s1".to_owned(), "AbC/+d==".to_owned());
        DkimSignature { result, reason, domain, selector, prefix }
    }

    #[test]
    fn all_results_are_told_in_one_field() {
        let dmarc = Dmarc {
            result: DmarcResult::Pass,
            policy: Some(DmarcPolicy::Reject),
            domain: "example.com".into(),
            reason: "",
        };
        let dkim = [
            signature(DkimResult::Pass, "", "example.com"),
            signature(DkimResult::Fail, "the body was changed", "list.example"),
        ];
        let results = AuthenticationResults {
            spf: Some(("pass", "mailfrom", "a@example.com")),
            dkim: Some(&dkim),
            dmarc: Some(&dmarc),
            arc: Some(&ArcChain::NONE),
            iprev: Some("192.0.2.1".parse().unwrap()),
        };
        assert_eq!(
            results.field("mx.example.net"),
            "mx.example.net; iprev=pass policy.iprev=192.0.2.1; spf=pass smtp.mailfrom=a@example.com; \
             dmarc=pass policy.dmarc=reject header.from=example.com; arc=none; \
             dkim=pass header.d=example.com header.s=s1 header.b=\"AbC/+d==\"; \
             dkim=fail reason=\"the body was changed\" header.d=list.example header.s=s1 header.b=\"AbC/+d==\""
        );
        assert_eq!(AuthenticationResults::default().field("mx"), "mx; none");
        let none = AuthenticationResults { dkim: Some(&[]), ..AuthenticationResults::default() };
        assert_eq!(none.field("mx"), "mx; dkim=none");
    }

    #[test]
    fn strangers_words_are_quoted_or_left_out() {
        for (value, expected) in [
            ("a@example.com", " smtp.mailfrom=a@example.com"),
            ("\"; dkim=pass x=\"@example.com", ""),
            ("x; dkim=pass@example.com", ""),
            ("x(@example.com", ""),
            ("x\\@example.com", ""),
            ("a b", " smtp.mailfrom=\"a b\""),
            ("a+b=c@example.com", " smtp.mailfrom=\"a+b=c@example.com\""),
            ("2001:db8::1", " smtp.mailfrom=\"2001:db8::1\""),
            ("a\r\nX: y", ""),
            ("ä@example.com", ""),
            ("", ""),
        ] {
            assert_eq!(property("smtp", "mailfrom", value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_field_is_bounded_by_leaving_signatures_out() {
        let many = vec![signature(DkimResult::Pass, "", &"a".repeat(250)); 10];
        let results = AuthenticationResults { dkim: Some(&many), ..AuthenticationResults::default() };
        let field = results.field("mx.example.net");
        assert!(field.len() <= MAX_BYTES, "{field}");
        assert_eq!(field.matches("dkim=pass").count(), 2);
        assert!(field.ends_with("header.b=\"AbC/+d==\""), "{field}");
    }
}
