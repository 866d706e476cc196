//! # What it does
//! Matches when a mail of somebody who has logged in says to be from them alone: its
//! envelope sender and each address in its header From, and where asked for, Sender and
//! Reply-To.
//!
//! # Why
//! Postfix compares the envelope with the login (`reject_sender_login_mismatch`), but
//! people read the header. A stolen account writes in the name of the bank, or of the
//! boss to the accountant next door.
//!
//! # Options
//! - `of` (default: `[envelope, from]`): which of `envelope`, `from`, `sender` and
//!   `reply_to` must be the login's.
//! - `aliases`: a list `of: address, to: names` that says who else may use an address:
//!   Postfix's smtpd_sender_login_maps as it is. With the value `none` all may use it.
//!
//! Case never counts, nor a mailbox's `+extension`. A login without a domain stands for
//! the mailbox of that name in each of `local.domains`. The null sender and a field that
//! is not there claim nothing. Display names are nobody's identity and are not looked
//! at; of several From fields, or several addresses in one, each must be the login's.
//! With only `envelope` it is asked at `mail`, else at `message`. It is mostly asked
//! under `unless`, in a file for those who have logged in.
//!
//! # Example
//! ```yaml
//! - from_matches_login: {of: [envelope, from, reply_to]}
//! ```
//!
//! # Unknown when
//! Nobody has logged in: then there is nothing to compare with.

use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::facts::NULL_SENDER;
use crate::facts::Scope;
use crate::facts::Stage;
use crate::lists::List;
use crate::lists::ListValue;
use crate::lists::Query;
use crate::lists::Subject;
use crate::lists::To;
use crate::names::Mailbox;
use crate::names::without_extension;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Node;
use std::sync::Arc;

/// Where somebody says who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Envelope,
    From,
    ReplyTo,
    Sender,
}

impl Place {
    const ALL: [Self; 4] = [Self::Envelope, Self::From, Self::Sender, Self::ReplyTo];

    fn word(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::From => "from",
            Self::ReplyTo => "reply_to",
            Self::Sender => "sender",
        }
    }

    /// The name of the field.
    fn field(self) -> Option<&'static str> {
        match self {
            Self::Envelope => None,
            Self::From => Some("From"),
            Self::ReplyTo => Some("Reply-To"),
            Self::Sender => Some("Sender"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct FromMatchesLogin {
    places: Vec<Place>,
    aliases: Option<Arc<List>>,
    /// `local.domains`; None where nobody said who we are.
    ours: Option<Arc<List>>,
}

impl Check for FromMatchesLogin {
    const OPTIONS: &'static [&'static str] = &["of", "aliases"];
    const MAY_STAND_BARE: bool = true;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let is_bare = node.as_word() == Some("true");
        let Some(options) = node.as_map().or(is_bare.then_some(&[])) else {
            cx.mistake(node.place, "from_matches_login stands alone, or with {of: …, aliases: LIST}");
            return None;
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "from_matches_login");
        let places = match node.get("of") {
            Some(of) => {
                let items = cx.some_items(of, "of")?;
                let places: Vec<_> = items.iter().map(|item| place(item, cx)).collect();
                places.into_iter().collect::<Option<_>>()?
            }
            None => vec![Place::Envelope, Place::From],
        };
        let aliases = match node.get("aliases") {
            Some(aliases) => Some(self::aliases(aliases, cx)?),
            None => None,
        };
        let ours = cx.lists.get("local.domains").ok().cloned();
        fine.then_some(Self { places, aliases, ours })
    }

    fn needs(&self) -> Needs {
        let envelope = Needs { stage: Stage::Mail, scope: Scope::Message, ..Needs::default() };
        match self.places.iter().any(|place| place.field().is_some()) {
            true => envelope.join(Needs { stage: Stage::Message, header: true, ..Needs::default() }),
            false => envelope,
        }
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match login(cx) {
            Some(login) => self.other(login, cx).is_none().into(),
            None => Truth::Unknown,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(login) = login(cx) else {
            return "nobody has logged in".into();
        };
        match self.other(login, cx) {
            Some((place, address)) => {
                format!("{} `{address}` does not belong to `{login}`", place.field().unwrap_or("sender"))
            }
            None => format!("all that it says it is from belongs to `{login}`"),
        }
    }
}

impl FromMatchesLogin {
    /// The first address that is not the login's, and where it stands.
    fn other(&self, login: &str, cx: &Context<'_>) -> Option<(Place, String)> {
        self.places.iter().find_map(|place| {
            let Some(field) = place.field() else {
                let sender = cx.facts.folded(Fact::Sender).filter(|sender| *sender != NULL_SENDER)?;
                return (!self.belongs(sender, login)).then(|| (*place, sender.to_owned()));
            };
            let fields = cx.facts.message.iter().flat_map(|message| message.headers().named(field));
            let mut addresses = fields.flat_map(|field| field.addresses());
            let other = addresses.find(|address| !self.belongs(&address.to_ascii_lowercase(), login));
            other.map(|address| (*place, address))
        })
    }

    /// Both in lower case.
    fn belongs(&self, address: &str, login: &str) -> bool {
        let (mailbox, user) = (without_extension(address), without_extension(login));
        if mailbox == user {
            return true;
        }
        let Mailbox { local, domain } = Mailbox::parse(&mailbox);
        let is_ours = |domain: &str| {
            let query = Query { text: domain, folded: domain, ip: None };
            self.ours.as_ref().is_some_and(|ours| ours.contains(&query))
        };
        if !login.contains('@') && local == user && domain.is_some_and(is_ours) {
            return true;
        }
        let query = |text| Query { text, folded: text, ip: None };
        let hit = self.aliases.as_ref().and_then(|list| list.lookup(&query(address)));
        match hit.and_then(|hit| hit.value) {
            Some(ListValue::Names(names)) => names.matches(Subject::Address, &query(login)),
            Some(ListValue::None) => true,
            _ => false,
        }
    }
}

fn login<'c>(cx: &Context<'c>) -> Option<&'c str> {
    cx.facts.folded(Fact::SaslUsername)
}

fn place(node: &Node, cx: &mut Loader<'_>) -> Option<Place> {
    let text = cx.text(node, "of")?;
    let place = Place::ALL.into_iter().find(|place| place.word() == text);
    if place.is_none() {
        let hint = did_you_mean(text, Place::ALL.map(Place::word));
        let known = Place::ALL.map(Place::word).join(" ");
        cx.mistake(node.place, format!("`{text}` is no place where a sender stands: {known}{hint}"));
    }
    place
}

fn aliases(node: &Node, cx: &mut Loader<'_>) -> Option<Arc<List>> {
    let name = cx.text(node, "aliases")?;
    let list = match cx.lists.get(name) {
        Ok(list) => Arc::clone(list),
        Err(message) => {
            cx.mistake(node.place, message);
            return None;
        }
    };
    if list.to() != Some(To::Names) || !list.kind().fits(Subject::Address) {
        cx.mistake(
            node.place,
            format!("`{name}` does not say who may use an address: it needs `of: address, to: names`"),
        );
        return None;
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::Truth::Unknown;
    use super::super::testing::check;
    use super::super::testing::wrong;

    #[test]
    fn a_login_sends_as_itself_alone() {
        let mail = |login: &str, sender: &str, header: &str| {
            format!("sasl_username={login} sender={sender} recipients=x@y.test\n\n{header}\n\nx")
        };
        let bob = "bob@example.com";
        for (value, given, expected) in [
            ("true", mail(bob, bob, "From: bob@example.com"), Match),
            ("true", mail(bob, "Bob+x@Example.com", "From: Bob <BOB+news@example.com.>"), Match),
            ("true", mail(bob, "eve@example.com", "From: bob@example.com"), NoMatch),
            ("true", mail(bob, bob, "From: boss@example.com"), NoMatch),
            ("true", mail(bob, bob, "From: \"boss@example.com\" <bob@example.com>"), Match),
            ("true", mail(bob, bob, "From: =?utf-8?q?boss=40example=2Ecom?= <bob@example.com>"), Match),
            ("true", mail(bob, bob, "From: bob@example.com\nFrom: boss@example.com"), NoMatch),
            ("true", mail(bob, bob, "From: bob@example.com, boss@example.com"), NoMatch),
            ("true", mail(bob, bob, "From: bob@example.com\nReply-To: boss@example.com"), Match),
            (
                "{of: [from, reply_to]}",
                mail(bob, bob, "From: bob@example.com\nReply-To: x@evil.test"),
                NoMatch,
            ),
            ("{of: reply_to}", mail(bob, "x@evil.test", "From: x@evil.test"), Match),
            ("{of: sender}", mail(bob, bob, "Sender: eve@example.com"), NoMatch),
            ("{of: envelope}", mail(bob, bob, "From: x@evil.test"), Match),
            ("true", mail(bob, "<>", "From: bob@example.com"), Match),
            ("true", mail(bob, bob, "Subject: hi"), Match),
            ("true", mail("bob", "bob@example.com", "From: bob@a.below.example"), Match),
            ("true", mail("bob", "bob@evil.test", "From: bob@example.com"), NoMatch),
            ("true", mail("bob", "eve@example.com", "From: bob@example.com"), NoMatch),
            ("true", mail(bob, "bob@other.example", "From: bob@example.com"), NoMatch),
            ("true", "sender=bob@example.com\n\nFrom: bob@example.com\n\nx".to_owned(), Unknown),
        ] {
            check(&format!("from_matches_login: {value}"), &given, expected);
        }
    }

    #[test]
    fn an_alias_belongs_to_those_who_are_listed() {
        for (login, sender, expected) in [
            ("ann@example.com", "sales@example.com", Match),
            ("Eve@example.com", "Sales+x@example.com", Match),
            ("mallory@example.com", "sales@example.com", NoMatch),
            ("eve@example.com", "anybody@example.org", Match),
            ("mallory@example.com", "office@example.com", Match),
            ("mallory@example.com", "boss@example.com", NoMatch),
        ] {
            let given = format!("sasl_username={login} sender={sender}");
            check("from_matches_login: {of: envelope, aliases: send-as}", &given, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong(
            "from_matches_login: bob",
            &["from_matches_login stands alone, or with {of: …, aliases: LIST}"],
        );
        wrong(
            "from_matches_login: {of: form}",
            &[
                "`form` is no place where a sender stands: envelope from sender reply_to; did you mean `from`?",
            ],
        );
        wrong("from_matches_login: {aliases: nowhere}", &["no list `nowhere`"]);
        wrong(
            "from_matches_login: {aliases: local.domains}",
            &["`local.domains` does not say who may use an address: it needs `of: address, to: names`"],
        );
        wrong("from_matches_login: {in: send-as}", &["unknown option `in` of from_matches_login"]);
    }
}
