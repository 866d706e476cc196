//! The check behind every fact's name: its value against patterns, lists,
//! numbers or words, by the kind of the fact.
//!
//! Not in the registry: it has no name of its own. At `data` and `message`
//! a mail may have several recipients, and a question about them says `every:`
//! or `some:`; the loader sees to it.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Quantifier;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Kind;
use crate::facts::Stage;
use crate::lists::Hit;
use crate::lists::List;
use crate::lists::Query;
use crate::lists::To;
use crate::names::Mailbox;
use crate::values::Loader;
use crate::values::NumberTest;
use crate::values::TextTest;
use crate::values::Way;
use crate::values::WordTest;
use crate::values::as_asked;
use crate::values::check_codes;
use crate::values::query;
use crate::values::subject;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct FactCheck {
    pub fact: Fact,
    pub(super) test: Test,
    /// How many of several recipients must fit; None: nothing was said.
    pub quantifier: Option<Quantifier>,
    /// Where it stands, for what is found wrong once the stage is known.
    pub place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Number(NumberTest),
    Present(bool),
    Text(TextTest),
    Words(WordTest),
}

impl Check for FactCheck {
    const OPTIONS: &'static [&'static str] = &[];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let fact = Fact::named(&entry.key)?;
        let of_recipient = fact.is_of_recipient();
        let (node, quantifier) = match of_recipient {
            true => Quantifier::split(&entry.value, &entry.key, cx),
            false => (&entry.value, None),
        };
        if let Some(word) =
            ["every", "some"].into_iter().find(|word| !of_recipient && node.get(word).is_some())
        {
            cx.mistake(node.place, format!("`{word}` is for recipients; there is one {} only", fact.name()));
            return None;
        }
        let fine = check_codes(fact, node, cx);
        let test = Test::parse(fact, node, cx).filter(|_| fine)?;
        Some(Self { fact, test, quantifier, place: entry.key_place })
    }

    fn needs(&self) -> Needs {
        self.reads().into_iter().map(Needs::of).fold(Needs::of(self.fact), Needs::join)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let facts = cx.facts;
        if self.asks_each(cx) {
            let each = facts.recipients.iter().map(|address| self.fits_recipient(address, cx));
            return self.quantifier.is_some_and(|quantifier| quantifier.holds(each)).into();
        }
        match &self.test {
            Test::Number(test) => {
                facts.number(self.fact).is_some_and(|n| test.matches(n as f64, facts)).into()
            }
            Test::Present(expected) => (facts.is_known(self.fact) == *expected).into(),
            Test::Text(test) => test.matches(query(facts, self.fact).as_ref(), facts).into(),
            Test::Words(test) => test.matches(facts.folded(self.fact)).into(),
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let name = self.fact.name();
        if self.asks_each(cx) {
            let word = self.quantifier.map_or("every", Quantifier::word);
            return format!("{name}, {word} of {}", cx.facts.recipients.len());
        }
        let Some(value) = query(cx.facts, self.fact) else {
            return format!("{name} is not known");
        };
        let shown = match (self.fact, value.ip) {
            (Fact::Client, Some(ip)) => Cow::from(format!("{} [{ip}]", value.text)),
            _ => Cow::from(value.text),
        };
        match self.way(&value, cx.facts) {
            Some(way) => format!("{name} `{shown}` {}", way.because(&value)),
            None => format!("{name} is `{shown}`"),
        }
    }

    fn variables(&self) -> Vec<String> {
        match &self.test {
            Test::Text(test) => test.variables(),
            _ => Vec::new(),
        }
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let mut bind = |query: &Query<'_>| {
            if let Some(way) = self.way(query, cx.facts) {
                way.bind(query, bindings);
            }
        };
        if self.asks_each(cx) {
            for address in &cx.facts.recipients {
                let text = self.part_of(address);
                bind(&Query { text, folded: &text.to_ascii_lowercase(), ip: None });
            }
        } else if let Some(value) = query(cx.facts, self.fact) {
            bind(&value);
        }
    }
}

impl Test {
    fn parse(fact: Fact, node: &Node, cx: &mut Loader<'_>) -> Option<Self> {
        match (fact.info().kind, node.as_word()) {
            (_, Some("present")) => return Some(Self::Present(true)),
            (_, Some("absent")) => return Some(Self::Present(false)),
            _ => {}
        }
        match fact.info().kind {
            Kind::Number => NumberTest::parse(node, fact.name(), cx).map(Self::Number),
            Kind::Words(words) => WordTest::parse(node, fact.name(), words, cx).map(Self::Words),
            kind => TextTest::parse(node, fact.name(), subject(kind), cx).map(Self::Text),
        }
    }
}

impl FactCheck {
    pub fn lists(&self) -> Vec<Arc<List>> {
        match &self.test {
            Test::Text(test) => test.lists().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// The entries that its value is in, of one list each.
    pub fn each_entry(&self, facts: &Facts, see: &mut dyn FnMut(&List, String)) {
        let Test::Text(test) = &self.test else {
            return;
        };
        let mut lists = test.lists().peekable();
        if lists.peek().is_none() {
            return;
        }
        let Some(value) = query(facts, self.fact) else {
            return;
        };
        for list in lists {
            if let Some(hit) = list.lookup(&as_asked(list, &value)) {
                see(list, hit.entry);
            }
        }
    }

    /// Whether it asks about recipients without saying how many of them.
    pub fn is_vague_about_recipients(&self) -> bool {
        self.quantifier.is_none() && self.fact.is_of_recipient()
    }

    /// Which other facts its value is compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        match &self.test {
            Test::Number(test) => test.reads(),
            Test::Text(test) => test.reads(),
            Test::Present(_) | Test::Words(_) => Vec::new(),
        }
    }

    /// The words it allows, if it asks for words.
    pub fn allowed_words(&self) -> Option<&[&'static str]> {
        match &self.test {
            Test::Words(WordTest::OneOf(words)) => Some(words),
            _ => None,
        }
    }

    /// Whether it asks for the fact to be there, or not to be.
    pub fn wants_presence(&self) -> Option<bool> {
        match (&self.test, self.quantifier) {
            (Test::Present(wanted), None) => Some(*wanted),
            _ => None,
        }
    }

    /// The entries that matched, of lists with such values: of each recipient
    /// one where several are asked about, up to `max`.
    pub fn hits(&self, to: To, cx: &Context<'_>, max: usize) -> Vec<Hit> {
        let Test::Text(test) = &self.test else {
            return Vec::new();
        };
        if self.asks_each(cx) {
            let each = cx.facts.recipients.iter().filter_map(|address| {
                let text = self.part_of(address);
                test.hit(to, &Query { text, folded: &text.to_ascii_lowercase(), ip: None })
            });
            return each.take(max).collect();
        }
        query(cx.facts, self.fact).and_then(|value| test.hit(to, &value)).into_iter().collect()
    }

    fn way<'t>(&'t self, value: &Query<'_>, facts: &Facts) -> Option<&'t Way> {
        match &self.test {
            Test::Text(test) => test.way(value, facts),
            _ => None,
        }
    }

    fn asks_each(&self, cx: &Context<'_>) -> bool {
        self.quantifier.is_some() && cx.stage >= Stage::Data
    }

    fn fits_recipient(&self, address: &str, cx: &Context<'_>) -> bool {
        let text = self.part_of(address);
        let folded = text.to_ascii_lowercase();
        let query = Query { text, folded: &folded, ip: None };
        match &self.test {
            Test::Present(expected) => text.is_empty() != *expected,
            Test::Text(test) => test.matches(Some(&query), cx.facts),
            Test::Number(_) | Test::Words(_) => false,
        }
    }

    fn part_of<'a>(&self, address: &'a str) -> &'a str {
        match self.fact {
            Fact::RecipientDomain => Mailbox::parse(address).domain.unwrap_or_default(),
            _ => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::wrong;

    #[test]
    fn values_are_read_by_their_form() {
        for (yaml, given, expected) in [
            ("client_name: .example.com", "client_name=mx.Example.com", Match),
            ("client_name: .example.com", "client_name=example.com", NoMatch),
            ("client_name: example.com", "client_name=mx.example.com", NoMatch),
            ("client_address: 192.168.1.0/22", "client_address=192.168.2.9", Match),
            ("client_address: 192.168.1.0/22", "client_address=192.168.4.1", NoMatch),
            ("sender: <>", "sender=<>", Match),
            ("sender: <>", "sender=a@b.test", NoMatch),
            ("sender: present", "sender=<>", Match),
            ("sasl_username: absent", "", Match),
            ("sasl_username: [bob, alice]", "sasl_username=Alice", Match),
            ("recipient: abuse@", "recipient=Abuse@x.test", Match),
            ("recipient: abuse@", "recipient=xabuse@x.test", NoMatch),
            ("client_name: 'mail-*.example.com'", "client_name=mail-7.example.com", Match),
            ("helo_name: /^pc[0-9]/", "helo_name=PC7.example", Match),
            ("helo_name: /^pc[0-9]/c", "helo_name=PC7.example", NoMatch),
            (
                "client: [192.0.2.0/24, .partner.example]",
                "client_address=192.0.2.7 client_name=unknown",
                Match,
            ),
            (
                "client: [192.0.2.0/24, .partner.example]",
                "client_address=10.0.0.1 client_name=a.partner.example",
                Match,
            ),
            ("encryption_keysize: {at_least: 128}", "encryption_keysize=256", Match),
            ("encryption_keysize: {at_least: 128}", "encryption_keysize=64", NoMatch),
            ("announced_size: {over: 1M, at_most: 2M}", "announced_size=1048577", Match),
            ("direction: [inbound, bounce]", "direction=inbound", Match),
            ("country: [de, AT]", "country=DE", Match),
            ("country: 'NO'", "country=DE", NoMatch),
            ("country: absent", "", Match),
            ("asn: [64500, 64501]", "asn=64501", Match),
            ("asn: 6450", "asn=64501", NoMatch),
            ("origin_ip: 198.51.100.0/24", "origin_ip=198.51.100.7", Match),
            ("client_family: ipv6", "client_address=192.0.2.1", NoMatch),
            ("sender: {same_as: sasl_username}", "sender=Eve@b.test sasl_username=eve@B.test", Match),
            ("client_name: {within: sender_domain}", "client_name=a.b.test sender=x@b.test", Match),
            ("client_name: {within: sender_domain}", "client_name=ab.test sender=x@b.test", NoMatch),
        ] {
            check(yaml, given, expected);
        }
    }

    #[test]
    fn several_recipients_are_asked_as_the_rule_says() {
        for (yaml, given, expected) in [
            ("recipient: {every: [abuse@, postmaster@]}", "recipients=abuse@x.test,b@x.test", NoMatch),
            ("recipient: {every: [abuse@, postmaster@]}", "recipients=abuse@x.test,postmaster@x.test", Match),
            ("recipient: {some: [abuse@]}", "recipients=abuse@x.test,b@x.test", Match),
            ("recipient_domain: {every: x.test}", "recipients=a@x.test,b@y.test", NoMatch),
            ("recipient: {every: [abuse@]}", "recipient=abuse@x.test", Match),
        ] {
            check(yaml, given, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong(
            "direction: outbond",
            &["`outbond` is not a direction: outbound inbound local bounce; did you mean `outbound`?"],
        );
        wrong("country: UK", &["`UK` is no country's code (ISO 3166); did you mean `GB`?"]);
        wrong(
            "country: [DE, Germany]",
            &["`Germany` is no country's code of two letters (ISO 3166), such as DE"],
        );
        wrong("asn: AS64500", &["`AS64500`: say the number alone, `64500`"]);
        wrong("asn: {is: telekom}", &["`telekom` is not the number of a network, such as 64500"]);
        wrong("announced_size: {above: 5}", &["unknown option `above` of announced_size"]);
        wrong("announced_size: big", &["`big` is not a number such as 10, 2.5 or 5M"]);
        wrong("sender: {in: nowhere}", &["no list `nowhere`"]);
        wrong("sender: {same_as: login}", &["no attribute `login`"]);
        wrong("sender: {every: a@}", &["`every` is for recipients; there is one sender only"]);
    }
}
