//! The index behind lists and behind `[PATTERN, …]` in rules. The most specific
//! entry wins; what can't be compared so, globs and expressions, comes last and
//! in order.
//!
//! Entries are the operator's and may be millions: literal texts lie in one
//! string and are found by hash, networks by one hash look-up per prefix length,
//! domains above a name by one per label that is as far from the end as an entry is
//! long. A look-up does not allocate. How many labels of a stranger's name are tried
//! is bounded by the longest entry.

use super::literals::Literals;
use super::network::Mark;
use super::network::Networks;
use super::ordered::Guard;
use super::ordered::MAX_RULES;
use super::ordered::Ordered;
use super::ordered::Rule;
use super::pattern::Kind;
use super::pattern::Literal;
use super::pattern::Pattern;
use super::pattern::Query;
use super::pattern::Subject;
use super::pattern::expression_of;
use super::pattern::is_null;
use super::pattern::literal;
use super::pattern::misfit;
use crate::names::Mailbox;
use ipnet::IpNet;
use std::fmt;
use std::ops::ControlFlow;

/// Ten times the largest public block list, and what offsets of 32 bits can hold.
pub(super) const MAX_ENTRIES: usize = 20_000_000;

/// The entries of a list, or the patterns of a rule.
#[derive(Debug)]
pub struct Set {
    subject: Subject,
    /// An exact domain also stands for what is below it.
    subdomains: bool,
    literals: Literals,
    null: Option<u32>,
    networks: Networks,
    /// Networks of a cidr table: the first line wins, not the smallest.
    by_line: Networks,
    ordered: Ordered,
    entries: usize,
}

/// An entry that matched.
#[derive(Clone, Copy, Debug)]
pub struct Found<'s> {
    /// What the builder was given with it.
    pub tag: u32,
    entry: EntryRef<'s>,
}

#[derive(Clone, Copy, Debug)]
enum EntryRef<'s> {
    Name(Kind, &'s str),
    Network(IpNet),
    Null,
    Rule(&'s Rule),
}

impl Found<'_> {
    /// What the groups of the entry's expression matched.
    pub fn captures(&self, query: &Query<'_>) -> Vec<(String, String)> {
        match self.entry {
            EntryRef::Rule(rule) if !rule.negate => rule.pattern.captures(query),
            _ => Vec::new(),
        }
    }
}

/// The entry as an operator would write it, folded.
impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            EntryRef::Name(Kind::Below, name) => write!(f, ".{name}"),
            EntryRef::Name(Kind::Local, name) => write!(f, "{name}@"),
            EntryRef::Name(_, name) => f.write_str(name),
            EntryRef::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            EntryRef::Network(network) => write!(f, "{network}"),
            EntryRef::Null => f.write_str("<>"),
            EntryRef::Rule(rule) => {
                write!(f, "{}{}", if rule.negate { "!" } else { "" }, rule.pattern.text())
            }
        }
    }
}

impl Set {
    pub fn builder(subject: Subject) -> Builder {
        Builder {
            set: Self {
                subject,
                subdomains: false,
                literals: Literals::default(),
                null: None,
                networks: Networks::default(),
                by_line: Networks::default(),
                ordered: Ordered::default(),
                entries: 0,
            },
        }
    }

    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub fn contains(&self, query: &Query<'_>) -> bool {
        self.find(query).is_some()
    }

    /// The entry that wins.
    pub fn find(&self, query: &Query<'_>) -> Option<Found<'_>> {
        if self.is_empty() {
            return None;
        }
        let mut winner = None;
        let _ = self.visit_index(query, &mut |found| {
            winner = Some(found);
            ControlFlow::Break(())
        });
        winner.or_else(|| self.first_in_order(query))
    }

    /// All entries that match, the winner first.
    pub fn find_all(&self, query: &Query<'_>) -> Vec<Found<'_>> {
        let mut all = Vec::new();
        let _ = self.visit_index(query, &mut |found| {
            all.push(found);
            ControlFlow::Continue(())
        });
        let mut in_order: Vec<(u32, Found<'_>)> =
            self.ordered.all(self.subject, query).map(|r| (r.order, of_rule(r))).collect();
        let networks = if self.asks_address() { query.address() } else { None };
        in_order.extend(networks.into_iter().flat_map(|ip| {
            self.by_line.containing(ip).into_iter().map(|(net, mark)| (mark.order, of_network(net, mark)))
        }));
        in_order.sort_by_key(|(order, _)| *order);
        all.extend(in_order.into_iter().map(|(_, found)| found));
        all
    }

    /// Every entry as it would be shown if it were found, in order.
    pub(super) fn texts(&self) -> Vec<String> {
        let null = self.null.map(|tag| Found { tag, entry: EntryRef::Null });
        let names =
            self.literals.iter().map(|(kind, name, tag)| Found { tag, entry: EntryRef::Name(kind, name) });
        let networks = self.networks.iter().chain(self.by_line.iter());
        let networks = networks.map(|(network, mark)| of_network(network, mark));
        let rules = self.ordered.rules().iter().map(of_rule);
        let all = null.into_iter().chain(names).chain(networks).chain(rules);
        let mut texts: Vec<_> = all.map(|found| found.to_string()).collect();
        texts.sort();
        texts
    }

    /// The names of groups that every entry has, so that a text may use them.
    pub fn capture_names(&self) -> Vec<String> {
        if self.entries != self.ordered.count() {
            return Vec::new();
        }
        let mut rules = self.ordered.rules().iter();
        let names_of = |rule: &Rule| if rule.negate { Vec::new() } else { rule.pattern.capture_names() };
        let mut names = rules.next().map(names_of).unwrap_or_default();
        for rule in rules {
            let other = names_of(rule);
            names.retain(|name| other.contains(name));
        }
        names
    }

    fn asks_address(&self) -> bool {
        matches!(self.subject, Subject::Client | Subject::Network)
    }

    fn first_in_order(&self, query: &Query<'_>) -> Option<Found<'_>> {
        if self.ordered.count() == 0 && self.by_line.is_empty() {
            return None;
        }
        let address = if self.asks_address() { query.address() } else { None };
        let network =
            address.and_then(|ip| self.by_line.containing(ip).into_iter().min_by_key(|(_, mark)| mark.order));
        let before = network.map_or(u32::MAX, |(_, mark)| mark.order);
        let rule = self.ordered.first(self.subject, query, before).map(of_rule);
        rule.or_else(|| network.map(|(network, mark)| of_network(network, mark)))
    }

    /// Literal entries from the most to the least specific.
    fn visit_index<'s>(&'s self, query: &Query<'_>, see: &mut See<'_, 's>) -> ControlFlow<()> {
        let key = query.key(self.subject);
        match self.subject {
            Subject::Address => self.visit_address(query, key, see),
            Subject::Client => {
                self.visit_networks(query, see)?;
                self.visit_name(key, key, see)
            }
            Subject::Domain | Subject::Filename => self.visit_name(key, key, see),
            Subject::Network => self.visit_networks(query, see),
            Subject::Header | Subject::Text => self.see_name(Kind::Whole, key, None, see),
        }
    }

    fn visit_networks<'s>(&'s self, query: &Query<'_>, see: &mut See<'_, 's>) -> ControlFlow<()> {
        if !self.networks.is_empty()
            && let Some(ip) = query.address()
        {
            self.networks.each_containing(ip, |network, mark| see(of_network(network, mark)))?;
        }
        ControlFlow::Continue(())
    }

    fn visit_address<'s>(&'s self, query: &Query<'_>, key: &str, see: &mut See<'_, 's>) -> ControlFlow<()> {
        if let Some(tag) = self.null.filter(|_| is_null(query.text)) {
            see(Found { tag, entry: EntryRef::Null })?;
        }
        let mailbox = Mailbox::parse(key);
        let Mailbox { local, domain } = mailbox;
        let base = Some(mailbox.base()).filter(|base| *base != local);
        if let Some(domain) = domain {
            self.see_name(Kind::Mailbox, local, Some(domain), see)?;
            if let Some(base) = base {
                self.see_name(Kind::Mailbox, base, Some(domain), see)?;
            }
        }
        let domain = domain.unwrap_or(key);
        self.see_name(Kind::Domain, domain, None, see)?;
        if domain.len() < key.len() {
            self.visit_parents(Kind::Domain, domain, see)?;
        }
        self.see_name(Kind::Local, local, None, see)?;
        base.map_or(ControlFlow::Continue(()), |base| self.see_name(Kind::Local, base, None, see))
    }

    fn visit_name<'s>(&'s self, name: &str, key: &str, see: &mut See<'_, 's>) -> ControlFlow<()> {
        self.see_name(Kind::Whole, key, None, see)?;
        self.visit_parents(Kind::Whole, name, see)
    }

    /// What is behind each dot, the longest first.
    fn visit_parents<'s>(&'s self, exact: Kind, name: &str, see: &mut See<'_, 's>) -> ControlFlow<()> {
        let exact_too = self.subdomains.then_some(exact);
        for length in self.literals.parent_lengths(exact_too, name.len()) {
            let (child, parent) = name.split_at_checked(name.len() - length).unwrap_or_default();
            if !child.ends_with('.') {
                continue;
            }
            if self.subdomains {
                self.see_name(exact, parent, None, see)?;
            }
            self.see_name(Kind::Below, parent, None, see)?;
        }
        ControlFlow::Continue(())
    }

    fn see_name<'s>(
        &'s self,
        kind: Kind,
        name: &str,
        domain: Option<&str>,
        see: &mut See<'_, 's>,
    ) -> ControlFlow<()> {
        match self.literals.find(kind, name, domain) {
            Some((entry, tag)) => see(Found { tag, entry: EntryRef::Name(kind, entry) }),
            None => ControlFlow::Continue(()),
        }
    }
}

type See<'a, 's> = dyn FnMut(Found<'s>) -> ControlFlow<()> + 'a;

fn of_rule(rule: &Rule) -> Found<'_> {
    Found { tag: rule.tag, entry: EntryRef::Rule(rule) }
}

fn of_network<'s>(network: IpNet, mark: Mark) -> Found<'s> {
    Found { tag: mark.tag, entry: EntryRef::Network(network) }
}

/// Takes entries in their order; of two that are the same the first stays.
#[derive(Debug)]
pub struct Builder {
    set: Set,
}

impl Builder {
    /// An exact domain also stands for what is below it.
    #[must_use]
    pub fn subdomains(mut self, yes: bool) -> Self {
        self.set.subdomains = yes;
        self
    }

    /// Adds one entry by its form. False if it is there already.
    pub fn add(&mut self, text: &str, quoted: bool, tag: u32) -> Result<bool, String> {
        let order = self.next_order()?;
        if expression_of(text, quoted)?.is_some() {
            return self.add_rule(Pattern::parse(text, quoted, self.set.subject)?, false, None, tag);
        }
        let subject = self.set.subject;
        let start = self.set.literals.arena.len();
        self.set.literals.arena.push_str(text);
        let folded = self.set.literals.arena.get_mut(start..).unwrap_or_default();
        folded.make_ascii_lowercase();
        let new = match literal(folded, subject) {
            Some(Literal::Name(kind, name)) => {
                // `name` is a part of `folded`: only where it begins is needed.
                let from = start + (name.as_ptr() as usize - folded.as_ptr() as usize);
                let len = name.len();
                self.set.literals.insert(kind, from, len, tag)?
            }
            Some(Literal::Network(network)) => {
                self.set.networks.insert(network, Mark { order, tag }) && self.forget(start)
            }
            Some(Literal::Null) => {
                self.forget(start);
                self.set.null.replace(self.set.null.unwrap_or(tag)).is_none()
            }
            None => {
                self.forget(start);
                if !text.contains('*') || subject == Subject::Network {
                    return Err(misfit(text, subject));
                }
                return self.add_rule(Pattern::parse(text, quoted, subject)?, false, None, tag);
            }
        };
        if !new {
            self.forget(start);
        }
        self.set.entries += usize::from(new);
        Ok(new)
    }

    /// Adds a pattern that has been read for the same subject.
    pub fn add_pattern(&mut self, pattern: &Pattern) -> Result<bool, String> {
        if pattern.is_regex() {
            return self.add_rule(pattern.clone(), false, None, 0);
        }
        self.add(pattern.text(), true, 0)
    }

    /// Takes back from the arena what need not be kept.
    fn forget(&mut self, start: usize) -> bool {
        self.set.literals.arena.truncate(start);
        true
    }

    /// Adds a network of a table in which the first line wins.
    pub fn add_by_line(&mut self, network: IpNet, tag: u32) -> Result<bool, String> {
        let order = self.next_order()?;
        let new = self.set.by_line.insert(network, Mark { order, tag });
        self.set.entries += usize::from(new);
        Ok(new)
    }

    /// A network of the lines before that leaves nothing to another.
    pub fn line_above(&self, network: IpNet) -> Option<IpNet> {
        let above = self.set.by_line.containing(network.addr());
        above.into_iter().map(|(net, _)| net).find(|net| net.prefix_len() <= network.prefix_len())
    }

    /// Adds a pattern that is tried in its turn.
    pub fn add_rule(
        &mut self,
        pattern: Pattern,
        negate: bool,
        guard: Option<u32>,
        tag: u32,
    ) -> Result<bool, String> {
        let order = self.next_order()?;
        if !self.set.ordered.add(Rule { order, tag, negate, guard, pattern }) {
            return Err(too_many_rules());
        }
        self.set.entries += 1;
        Ok(true)
    }

    /// Opens an `if`; the number is for the rules in it.
    pub fn add_guard(&mut self, guard: Guard) -> Result<u32, String> {
        self.set.ordered.add_guard(guard).ok_or_else(too_many_rules)
    }

    pub fn build(mut self) -> Set {
        self.set.ordered.finish();
        self.set.literals.shrink();
        self.set.networks.shrink();
        self.set.by_line.shrink();
        self.set
    }

    fn next_order(&self) -> Result<u32, String> {
        u32::try_from(self.set.entries)
            .ok()
            .filter(|_| self.set.entries < MAX_ENTRIES)
            .ok_or_else(|| format!("a list has at most {MAX_ENTRIES} entries"))
    }
}

fn too_many_rules() -> String {
    format!("a list has at most {MAX_RULES} patterns with `*`, slashes, `!` or `if`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(subject: Subject, entries: &[&str]) -> Set {
        let mut builder = Set::builder(subject);
        for (tag, entry) in entries.iter().enumerate() {
            builder.add(entry, true, tag as u32).unwrap();
        }
        builder.build()
    }

    fn winners(set: &Set, text: &str) -> Vec<String> {
        let folded = text.to_ascii_lowercase();
        let query = Query { text, folded: &folded, ip: None };
        let all: Vec<String> = set.find_all(&query).iter().map(ToString::to_string).collect();
        assert_eq!(set.find(&query).map(|found| found.to_string()).as_ref(), all.first());
        all
    }

    /// The longest are told by no length of their own.
    #[test]
    fn what_is_above_a_name_is_found_however_long_it_is() {
        for length in [1, 2, 61, 62, 63, 64, 65, 200] {
            let parent = "a".repeat(length);
            let set = set(Subject::Domain, &[&format!(".{parent}"), ".b"]);
            for (name, expected) in [
                (format!("x.{parent}"), Some(format!(".{parent}"))),
                (format!("y.x.{parent}"), Some(format!(".{parent}"))),
                (format!("x.b.{parent}"), Some(format!(".{parent}"))),
                (format!("{parent}.b"), Some(".b".to_owned())),
                (format!(".{parent}"), Some(format!(".{parent}"))),
                (parent.clone(), None),
                (format!("x{parent}"), None),
                (format!("x.a{parent}"), None),
                (format!("x.{parent}.y"), None),
            ] {
                let query = Query { text: &name, folded: &name, ip: None };
                assert_eq!(set.find(&query).map(|found| found.to_string()), expected, "{length}: {name}");
            }
        }
    }

    #[test]
    fn the_most_specific_address_wins() {
        let entries = [
            "/bob/",
            "*@a.example.com",
            "bob@",
            ".com",
            ".example.com",
            "a.example.com",
            "bob@a.example.com",
            "bob+x@a.example.com",
            "<>",
            "bob",
        ];
        let set = set(Subject::Address, &entries);
        assert_eq!(set.len(), 10);
        assert_eq!(
            winners(&set, "Bob+x@A.example.com"),
            [
                "bob+x@a.example.com",
                "bob@a.example.com",
                "a.example.com",
                ".example.com",
                ".com",
                "bob@",
                "/bob/",
                "*@a.example.com"
            ]
        );
        assert_eq!(winners(&set, "eve@example.com"), [".com"]);
        assert_eq!(winners(&set, ""), ["<>"]);
        assert_eq!(winners(&set, "bob"), ["bob", "bob@", "/bob/"]);
        assert_eq!(winners(&set, "eve@com"), [""; 0]);
    }

    #[test]
    fn the_smallest_network_wins_and_a_name_after_it() {
        let set = set(Subject::Client, &["10.0.0.0/8", "10.1.0.0/16", ".example.com", "mx.example.com"]);
        let query =
            Query { text: "mx.example.com", folded: "mx.example.com", ip: Some("10.1.0.9".parse().unwrap()) };
        let all: Vec<String> = set.find_all(&query).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["10.1.0.0/16", "10.0.0.0/8", "mx.example.com", ".example.com"]);
    }

    #[test]
    fn subdomains_are_below_only_if_the_list_says_so() {
        for (yes, expected) in [(true, true), (false, false)] {
            for (subject, text) in
                [(Subject::Domain, "a.b.example.com"), (Subject::Address, "x@a.b.example.com")]
            {
                let mut builder = Set::builder(subject).subdomains(yes);
                builder.add("example.com", false, 0).unwrap();
                let set = builder.build();
                assert_eq!(set.contains(&Query { text, folded: text, ip: None }), expected, "{text}");
                assert!(!set.contains(&Query { text: "notexample.com", folded: "notexample.com", ip: None }));
            }
        }
    }

    #[test]
    fn the_first_of_two_equal_entries_stays() {
        let mut builder = Set::builder(Subject::Address);
        assert_eq!(builder.add("A@b.test", false, 1), Ok(true));
        assert_eq!(builder.add("a@B.test.", false, 2), Ok(false));
        assert_eq!(builder.add("<>", false, 3), Ok(true));
        assert_eq!(builder.add("<>", false, 4), Ok(false));
        let set = builder.build();
        let query = Query { text: "a@b.test", folded: "a@b.test", ip: None };
        assert_eq!((set.len(), set.find(&query).map(|found| found.tag)), (2, Some(1)));
    }

    #[test]
    fn a_name_of_dots_costs_no_more_than_its_length() {
        let set = set(Subject::Domain, &[".example.com"]);
        let text = ".".repeat(1 << 20);
        assert!(!set.contains(&Query { text: &text, folded: &text, ip: None }));
    }

    #[test]
    fn groups_are_known_if_every_entry_has_them() {
        assert_eq!(set(Subject::Text, &["/(?<a>.)(?<b>.)/", "/x(?<b>.)/"]).capture_names(), ["b"]);
        assert_eq!(set(Subject::Text, &["/(?<a>.)/", "x"]).capture_names(), [""; 0]);
    }

    fn label() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "A", "ab", "a+b", "com", ""]).prop_map(str::to_owned)
    }

    fn domain() -> impl Strategy<Value = String> {
        prop::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
    }

    fn address() -> impl Strategy<Value = String> {
        (label(), prop::option::of(domain()))
            .prop_map(|(local, domain)| domain.map_or(local.clone(), |domain| format!("{local}@{domain}")))
    }

    fn entry() -> impl Strategy<Value = String> {
        prop_oneof![
            address(),
            domain(),
            domain().prop_map(|domain| format!(".{domain}")),
            label().prop_map(|local| format!("{local}@")),
            Just("<>".to_owned()),
            Just("a*b".to_owned()),
        ]
    }

    fn network() -> impl Strategy<Value = String> {
        (0..4u8, 0..4u8, 0..=32u8).prop_map(|(a, b, len)| format!("10.{a}.0.{b}/{len}"))
    }

    fn agrees(subject: Subject, entries: &[String], texts: &[String]) -> Result<(), TestCaseError> {
        let patterns: Vec<Pattern> =
            entries.iter().filter_map(|entry| Pattern::parse(entry, true, subject).ok()).collect();
        let mut builder = Set::builder(subject);
        for entry in entries {
            prop_assert_eq!(
                builder.add(entry, true, 0).is_ok(),
                Pattern::parse(entry, true, subject).is_ok()
            );
        }
        let set = builder.build();
        for text in texts {
            let folded = text.to_ascii_lowercase();
            let query = Query { text, folded: &folded, ip: None };
            let naive = patterns.iter().any(|pattern| pattern.matches(&query));
            prop_assert_eq!(set.contains(&query), naive, "{} in {:?}", text, entries);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_set_of_addresses_agrees_with_a_scan(
            entries in prop::collection::vec(entry(), 0..6),
            texts in prop::collection::vec(address(), 1..8),
        ) {
            agrees(Subject::Address, &entries, &texts)?;
        }

        #[test]
        fn a_set_of_domains_agrees_with_a_scan(
            entries in prop::collection::vec(entry(), 0..6),
            texts in prop::collection::vec(domain(), 1..8),
        ) {
            agrees(Subject::Domain, &entries, &texts)?;
            agrees(Subject::Filename, &entries, &texts)?;
        }

        #[test]
        fn a_set_of_networks_agrees_with_a_scan(
            entries in prop::collection::vec(network(), 0..6),
            texts in prop::collection::vec((0..4u8, 0..4u8).prop_map(|(a, b)| format!("10.{a}.0.{b}")), 1..8),
        ) {
            agrees(Subject::Network, &entries, &texts)?;
            agrees(Subject::Client, &entries, &texts)?;
        }
    }
}
