//! # What it does
//! Matches when zones of the DNS list the client, or a domain or another attribute, and
//! the points of those that do come to what is asked for.
//!
//! # Why
//! Others have seen more of an address than we have. Several zones with points for each
//! are wrong less often than any one of them, and zones of good senders take points away.
//!
//! # Options
//! - Zones in postscreen's notation, `ZONE[=ANSWERS][*POINTS]`; or
//! - `in`: lists `of: dnsbl`, or `is`: zones beside the other options.
//! - `at_least` (default: 1), `at_most`: the sum of the points.
//! - `key` (default: `client_address`): what is asked about. An attribute that is an
//!   address or a domain, such as `sender_domain`, `helo_name`, `client_name` or
//!   `reverse_client_name`; `{header: From}`, the domains in a header field; any other for
//!   zones of that.
//!
//! All zones are asked at once, each once, whichever rules ask for it. Private addresses and
//! `local.networks` are never asked about, nor is a name that is none; then it does not match.
//! An answer outside 127.0.0.0/8 or in 127.255.255.0/24 counts nothing and is told in the
//! log with what to do. A zone that fails its test (RFC 5782: 127.0.0.2 must be listed,
//! 127.0.0.1 must not) is not asked, and counts nothing, until it passes again.
//!
//! A text may say `{zones}`, those whose points are of the sum's sign, `{points}`, the
//! sum, and `{zone_points}`, what each of them has to do with it, such as
//! `zen.spamhaus.org 8, list.dnswl.org -2`. A key in a zone's name is in none of them.
//!
//! # Example
//! ```yaml
//! - dnsbl: {is: ["zen.spamhaus.org=127.0.0.[2..11]*8", bl.spamcop.net*3], at_least: 8}
//! ```
//!
//! # Unknown when
//! A zone has not answered, or with a failure, and its points could change the answer.

mod asked;

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use super::score::show_score;
use crate::dns::Name;
use crate::facts::Fact;
use crate::lists::Kind as ListKind;
use crate::lists::List;
use crate::lists::add_site;
use crate::message::Wants;
use crate::reputation::Kind;
use crate::reputation::Says;
use crate::reputation::Site;
use crate::reputation::Standing;
use crate::values::Loader;
use crate::values::number;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use asked::Key;
use asked::Keys;
use asked::Unasked;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Dnsbl {
    zones: Zones,
    key: Key,
    at_least: Option<f64>,
    at_most: Option<f64>,
    /// Whose addresses are nobody's business.
    own: Option<Arc<List>>,
}

#[derive(Clone, Debug)]
enum Zones {
    Given(Arc<[Arc<Site>]>),
    Listed(Vec<Arc<List>>),
}

impl Check for Dnsbl {
    const OPTIONS: &'static [&'static str] = &["in", "is", "key", "at_least", "at_most"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let before = cx.mistakes.found.len();
        let own = cx.lists.get("local.networks").ok().cloned();
        let Some(options) = node.as_map() else {
            let zones = given(node, cx);
            let check =
                Self { zones, key: Key::Fact(Fact::ClientAddress), at_least: Some(1.0), at_most: None, own };
            check.tell_misfits(node.place, cx);
            return (cx.mistakes.found.len() == before).then_some(check);
        };
        cx.only_keys(options, Self::OPTIONS, "dnsbl");
        let zones = match (node.get("in"), node.get("is")) {
            (Some(lists), None) => Zones::Listed(self::lists(lists, cx)),
            (None, Some(zones)) => given(zones, cx),
            (None, None) => {
                cx.mistake(node.place, "dnsbl needs zones, or in: LIST");
                return None;
            }
            (Some(_), Some(is)) => {
                cx.mistake(is.place, "dnsbl has its zones from `in` or from `is`, not from both");
                return None;
            }
        };
        let key = match node.get("key") {
            Some(key) => Key::parse(key, cx),
            None => Some(Key::Fact(Fact::ClientAddress)),
        };
        let mut bound = |word| node.get(word).map(|node| number(node, word, cx));
        let (at_least, at_most) = (bound("at_least"), bound("at_most"));
        let at_least = match (at_least, &at_most) {
            (None, None) => Some(1.0),
            (at_least, _) => at_least.flatten(),
        };
        let at_most = at_most.flatten();
        if at_least.zip(at_most).is_some_and(|(low, high)| low > high) {
            cx.mistake(node.place, "dnsbl has bounds that exclude each other: no number fits");
        }
        let check = Self { zones, key: key?, at_least, at_most, own };
        check.tell_misfits(node.get("key").unwrap_or(node).place, cx);
        (cx.mistakes.found.len() == before).then_some(check)
    }

    fn needs(&self) -> Needs {
        match &self.key {
            Key::Fact(fact) => Needs::of(*fact),
            Key::Header(_) => Needs::of_message(Wants::NOTHING),
        }
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match self.tally(cx, |_, _| {}) {
            Ok(tally) => self.holds(&tally),
            Err(_) => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let mut found = Vec::new();
        let tally = self.tally(cx, |site, part| found.extend(part.shown(&site.name)));
        let asked = self.key.shown(cx);
        match tally {
            Err(why) => format!("{asked} {}", why.shown()),
            Ok(tally) if found.is_empty() && tally.unknown == 0 => format!("{asked} is in no zone"),
            Ok(tally) => {
                let points = show_score(tally.sum);
                format!("{asked} has {points} points: {}", found.join(", "))
            }
        }
    }

    fn variables(&self) -> Vec<String> {
        ["zones", "points", "zone_points"].map(str::to_owned).into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let mut weighed: Vec<(String, f64)> = Vec::new();
        let tally = self.tally(cx, |site, part| {
            if let Part::Points(points, _) = part {
                weighed.push((site.name.clone(), points));
            }
        });
        let Ok(tally) = tally else {
            return;
        };
        let parts = weighed.iter().filter(|(_, points)| *points != 0.0);
        let parts: Vec<_> = parts.map(|(name, points)| format!("{name} {}", show_score(*points))).collect();
        let mut zones: Vec<String> = Vec::new();
        for (name, _) in weighed.into_iter().filter(|(_, points)| (*points < 0.0) == (tally.sum < 0.0)) {
            if !zones.contains(&name) {
                zones.push(name);
            }
        }
        bindings.push(("zones".into(), zones.join(", ")));
        bindings.push(("points".into(), show_score(tally.sum)));
        bindings.push(("zone_points".into(), parts.join(", ")));
    }
}

/// What the zones come to together.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    sum: f64,
    /// What it may still become, once those that are missing have answered.
    least: f64,
    most: f64,
    unknown: usize,
}

/// What one zone has to do with the sum.
#[derive(Clone, Copy, Debug)]
enum Part {
    Nothing,
    Points(f64, Says),
    Suspended(Standing),
    Without(Says),
}

impl Part {
    /// In a few words; None: not worth saying.
    fn shown(self, name: &str) -> Option<String> {
        Some(match self {
            Self::Nothing => return None,
            Self::Points(points, Says::Listed { answer, .. }) => {
                format!("{name} {} ({answer})", show_score(points))
            }
            Self::Points(points, _) => format!("{name} {}", show_score(points)),
            Self::Suspended(standing) => format!("{name} not asked ({})", standing.reason()),
            Self::Without(Says::Erred(trouble, answer)) => {
                format!("{name} 0 ({answer} is an error: {})", trouble.word())
            }
            Self::Without(Says::Unknown(word)) => format!("{name} unknown ({word})"),
            Self::Without(Says::Listed { answer, .. }) => format!("{name} 0 ({answer})"),
            Self::Without(Says::NotListed) => return None,
        })
    }
}

impl Dnsbl {
    /// Which facts it reads.
    pub fn reads(&self) -> Vec<Fact> {
        match self.key {
            Key::Fact(fact) => vec![fact],
            Key::Header(_) => Vec::new(),
        }
    }

    /// Each zone that it asks, with what it asks it for.
    pub fn each_site(&self, visit: &mut dyn FnMut(&Arc<Site>, Kind)) {
        let kind = self.key.kind();
        self.zones.each(|site| visit(site, site.known_kind().unwrap_or(kind)));
    }

    fn holds(&self, tally: &Tally) -> Truth {
        let at_least = self.at_least.map_or(Truth::Match, |bound| {
            if tally.least >= bound {
                Truth::Match
            } else if tally.most < bound {
                Truth::NoMatch
            } else {
                Truth::Unknown
            }
        });
        let at_most = self.at_most.map_or(Truth::Match, |bound| {
            if tally.most <= bound {
                Truth::Match
            } else if tally.least > bound {
                Truth::NoMatch
            } else {
                Truth::Unknown
            }
        });
        at_least.min(at_most)
    }

    /// Asks every zone, and tells what became of each.
    fn tally(&self, cx: &Context<'_>, mut tell: impl FnMut(&Site, Part)) -> Result<Tally, Unasked> {
        let keys = self.key.keys(cx, self.own.as_deref(), || self.has_others())?;
        let kind = self.key.kind();
        let mut tally = Tally::default();
        self.zones.each(|site| {
            let part = part(site, &keys, kind, cx);
            match part {
                Part::Points(points, _) => {
                    tally.sum += points;
                    tally.least += points;
                    tally.most += points;
                }
                Part::Without(Says::Unknown(_)) => {
                    let (least, most) = site.bounds();
                    tally.least += least;
                    tally.most += most;
                    tally.unknown += 1;
                }
                Part::Nothing | Part::Suspended(_) | Part::Without(_) => {}
            }
            tell(site, part);
        });
        Ok(tally)
    }

    /// Whether any zone has something else than addresses and domains.
    fn has_others(&self) -> bool {
        let mut others = false;
        self.zones.each(|site| others |= !matches!(site.known_kind(), None | Some(Kind::Domain | Kind::Ip)));
        others
    }

    /// Zones of domains that would be asked about addresses, and the like.
    fn tell_misfits(&self, place: Place, cx: &mut Loader<'_>) {
        let (kind, name) = (self.key.kind(), self.key.name());
        let mut told = Vec::new();
        self.zones.each(|site| {
            let of = site.known_kind().unwrap_or(kind);
            let fits = match of {
                Kind::Domain | Kind::Ip => of == kind,
                Kind::Sha1 | Kind::Sha256 | Kind::Text => kind != Kind::Ip,
            };
            if !fits {
                let remedy = match of {
                    Kind::Ip => "say key: client_address",
                    Kind::Domain => "say key: sender_domain, or another domain",
                    Kind::Sha1 | Kind::Sha256 | Kind::Text => "say key: sender, or what it lists",
                };
                let word = of.word();
                told.push(format!(
                    "`{}` is a zone of kind {word}, and {name} is not one: {remedy}",
                    site.name
                ));
            }
        });
        for message in told {
            cx.mistake(place, message);
        }
    }
}

impl Zones {
    fn each(&self, mut visit: impl FnMut(&Arc<Site>)) {
        match self {
            Self::Given(sites) => sites.iter().for_each(visit),
            Self::Listed(lists) => lists.iter().for_each(|list| list.sites().iter().for_each(&mut visit)),
        }
    }
}

/// What one zone says of all keys: the gravest, or, of several that are listed, all.
fn part(site: &Arc<Site>, keys: &Keys, kind: Kind, cx: &Context<'_>) -> Part {
    let standing = site.standing();
    if standing.is_suspended() {
        return Part::Suspended(standing);
    }
    let other = site.known_kind().filter(|kind| !matches!(kind, Kind::Domain | Kind::Ip));
    let ask = |key: &Name| cx.site(site, key).unwrap_or(Says::Unknown("no answer"));
    let says = match (keys, other) {
        (Keys::One(key), _) | (Keys::Text { key: Some(key), .. }, None) => ask(key),
        (Keys::Several { keys, .. }, None) => all(keys.iter().map(ask)),
        (Keys::Several { texts, .. }, Some(kind)) => {
            all(texts.iter().filter_map(|text| kind.key(text)).map(|key| ask(&key)))
        }
        (Keys::Text { text, .. }, other) => match other.unwrap_or(kind).key(text) {
            Some(key) => ask(&key),
            None => Says::NotListed,
        },
    };
    match says {
        Says::NotListed => Part::Nothing,
        Says::Listed { parts: 0, .. } | Says::Erred(..) | Says::Unknown(_) => Part::Without(says),
        Says::Listed { parts, .. } => Part::Points(site.weight(parts), says),
    }
}

fn all(each: impl Iterator<Item = Says>) -> Says {
    each.reduce(|one, other| match (one, other) {
        // What is missing could still count, and must not be taken for settled.
        (Says::Unknown(word), _) | (_, Says::Unknown(word)) => Says::Unknown(word),
        (Says::Listed { parts, answer }, Says::Listed { parts: more, .. }) => {
            Says::Listed { parts: parts | more, answer }
        }
        (listed @ Says::Listed { .. }, _) | (_, listed @ Says::Listed { .. }) => listed,
        (erred @ Says::Erred(..), _) | (_, erred @ Says::Erred(..)) => erred,
        (Says::NotListed, Says::NotListed) => Says::NotListed,
    })
    .unwrap_or(Says::NotListed)
}

/// Zones in postscreen's notation.
fn given(node: &Node, cx: &mut Loader<'_>) -> Zones {
    let mut sites = Vec::new();
    for item in cx.some_items(node, "dnsbl").unwrap_or_default() {
        let Some(text) = cx.text(item, "a zone") else {
            continue;
        };
        let is_list = item.as_word().is_some() && cx.lists.contains(text);
        let read = Site::parse(text).and_then(|site| add_site(&mut sites, site));
        if is_list {
            cx.mistake(item.place, format!("`{text}` is a list; a list is named with in: {text}"));
        } else if let Err(message) = read {
            cx.mistake(item.place, message);
        }
    }
    Zones::Given(sites.into_iter().map(Arc::new).collect())
}

fn lists(node: &Node, cx: &mut Loader<'_>) -> Vec<Arc<List>> {
    let mut lists = Vec::new();
    for item in cx.some_items(node, "in").unwrap_or_default() {
        let Some(name) = cx.text(item, "the name of a list") else {
            continue;
        };
        match cx.lists.get(name) {
            Ok(list) if list.kind() == ListKind::Dnsbl => lists.push(Arc::clone(list)),
            Ok(list) => {
                let message = format!("`{name}` is a list of {}, dnsbl expected", list.kind().word());
                cx.mistake(item.place, message);
            }
            Err(message) => cx.mistake(item.place, message),
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::super::AnyCheck;
    use super::super::testing::facts;
    use super::super::testing::load_beside;
    use super::super::testing::wrong;
    use super::*;
    use crate::dns::Resolver;
    use crate::dns::Zone;
    use crate::facts::Known;
    use crate::facts::Stage;
    use crate::lists::Given;
    use crate::lists::Registry;
    use crate::lists::Spec;
    use crate::lookup::Findings;
    use crate::lookup::Lookups;
    use crate::reputation::Filter;
    use crate::reputation::Health;
    use crate::reputation::Part as Weighed;
    use crate::yaml::Source;

    fn list(name: &str, kind: ListKind, sites: Vec<Site>, entries: &[&str]) -> Arc<List> {
        let source = Arc::new(Source { name: "p.yaml".into(), text: String::new() });
        let place = Place::default();
        let given = |text: &&str| Given { text: (*text).into(), quoted: true, place, values: None };
        let spec = Spec {
            sites: sites.into_iter().map(|site| (site, place)).collect(),
            entries: entries.iter().map(given).collect(),
            ..Spec::new(name, kind, source)
        };
        Arc::new(List::build(spec).unwrap())
    }

    fn lists() -> Registry {
        let site = |text: &str| Site::parse(text).unwrap();
        let of_kind = |text: &str, kind| {
            let mut site = site(text);
            site.kind = Some(kind);
            site
        };
        let part = |bits, weight| Weighed { filter: Filter::bits(bits).unwrap(), weight };
        let mut names = of_kind("dbl.example", Kind::Domain);
        names.name = "bad names".into();
        names.parts = vec![part("2", 5.0), part("4", 1.0)];
        let zones = [
            "zen.example=127.0.0.[2..11]*8",
            "zen.example=127.0.0.[10..11]*-6",
            "bl.example*3",
            "wl.example=127.0.[0..255].[1..3]*-4",
        ];
        let mails = vec![of_kind("ebl.example", Kind::Sha1), of_kind("keys.example", Kind::Text)];
        let mut registry = Registry::default();
        registry.add(list("reputation", ListKind::Dnsbl, zones.map(site).into(), &[]));
        registry.add(list("names", ListKind::Dnsbl, vec![names], &[]));
        registry.add(list("mails", ListKind::Dnsbl, mails, &[]));
        registry.add(list("local.networks", ListKind::Network, Vec::new(), &["203.0.113.0/24"]));
        registry
    }

    fn beside(yaml: &str) -> (Option<AnyCheck>, Vec<String>) {
        load_beside(yaml, &mut Vec::new(), &lists())
    }

    const DNS: &str = "
7.2.0.192.zen.example A 127.0.0.4
8.2.0.192.zen.example A 127.0.0.10
9.2.0.192.zen.example A 127.0.0.4
9.2.0.192.wl.example A 127.0.5.2
10.2.0.192.zen.example A 127.255.255.254
11.2.0.192.zen.example SERVFAIL
12.2.0.192.bl.example TIMEOUT
12.2.0.192.zen.example A 127.0.0.4
13.2.0.192.wl.example TIMEOUT
13.2.0.192.zen.example A 127.0.0.4
14.2.0.192.bl.example A 127.0.0.77
14.2.0.192.zen.example A 127.0.0.77
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example A 127.0.0.2
1.0.0.10.zen.example A 127.0.0.4
1.113.0.203.bl.example A 127.0.0.2
bad.test.dbl.example A 127.0.1.6
test.dbl.example A 127.0.1.6
worse.test.dbl.example A 127.0.1.4
slow.test.dbl.example TIMEOUT
8031e7765e14080c996e0442aa78434383b13c1e.ebl.example A 127.0.0.2
here.test.keys.example A 127.0.0.2
";

    /// What the check comes to, its because, and `zones points`.
    fn asked(yaml: &str, given: &str) -> (Truth, String, String) {
        let (check, mistakes) = beside(yaml);
        assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
        let check = check.unwrap();
        let facts = facts(given);
        let resolver = Resolver::of_zone(Zone::parse(DNS).unwrap());
        let lookups = Lookups::new(&resolver, &[], Findings::default());
        let known = Known::default();
        let cx = Context { lookups: Some(&lookups), ..Context::new(&facts, &known, check.needs().stage) };
        let mut bindings = Vec::new();
        check.bind(&cx, &mut bindings);
        if let Some((_, parts)) = bindings.pop() {
            // They are the sum's parts, without those that count nothing.
            let points = parts.split(", ").filter_map(|part| part.rsplit_once(' ')?.1.parse::<f64>().ok());
            let points: Vec<f64> = points.collect();
            let sum = bindings.last().map(|(_, sum)| sum.parse::<f64>().unwrap());
            assert_eq!(Some(points.iter().sum()), sum, "{yaml} {given}: {parts}");
            assert!(!points.contains(&0.0), "{yaml} {given}: {parts}");
        }
        let bound: Vec<_> = bindings.into_iter().map(|(_, value)| value).collect();
        (check.evaluate(&cx), check.because(&cx), bound.join(" | "))
    }

    #[test]
    fn points_of_all_zones_are_summed() {
        use Truth::Match;
        use Truth::NoMatch;
        use Truth::Unknown;
        let eight = "dnsbl: {in: reputation, at_least: 8}";
        let good = "dnsbl: {in: reputation, at_most: -4}";
        for (yaml, address, truth, because, bound) in [
            (eight, "192.0.2.7", Match, "has 8 points: zen.example 8 (127.0.0.4)", "zen.example | 8"),
            (eight, "192.0.2.8", NoMatch, "has 2 points: zen.example 2 (127.0.0.10)", "zen.example | 2"),
            (
                eight,
                "192.0.2.9",
                NoMatch,
                "has 4 points: zen.example 8 (127.0.0.4), wl.example -4 (127.0.5.2)",
                "zen.example | 4",
            ),
            // An error of a zone counts nothing, and is no secret.
            (
                eight,
                "192.0.2.10",
                NoMatch,
                "has 0 points: zen.example 0 (127.255.255.254 is an error: public_resolver)",
                " | 0",
            ),
            (eight, "192.0.2.11", Unknown, "has 0 points: zen.example unknown (servfail)", " | 0"),
            (
                "dnsbl: {in: reputation, at_least: 12}",
                "192.0.2.11",
                NoMatch,
                "has 0 points: zen.example unknown (servfail)",
                " | 0",
            ),
            // What is missing could only add.
            (
                eight,
                "192.0.2.12",
                Match,
                "has 8 points: zen.example 8 (127.0.0.4), bl.example unknown (timeout)",
                "zen.example | 8",
            ),
            // What is missing could take away.
            (
                eight,
                "192.0.2.13",
                Unknown,
                "has 8 points: zen.example 8 (127.0.0.4), wl.example unknown (timeout)",
                "zen.example | 8",
            ),
            (
                "dnsbl: {in: reputation, at_least: 4}",
                "192.0.2.13",
                Match,
                "has 8 points: zen.example 8 (127.0.0.4), wl.example unknown (timeout)",
                "zen.example | 8",
            ),
            (
                "dnsbl: {in: reputation, at_least: 1, at_most: 3}",
                "192.0.2.14",
                Match,
                "has 3 points: zen.example 0 (127.0.0.77), bl.example 3 (127.0.0.77)",
                "bl.example | 3",
            ),
            (good, "192.0.2.99", NoMatch, "is in no zone", " | 0"),
            (
                good,
                "192.0.2.13",
                NoMatch,
                "has 8 points: zen.example 8 (127.0.0.4), wl.example unknown (timeout)",
                "zen.example | 8",
            ),
            (
                "dnsbl: {is: wl.example*-4, at_most: -4}",
                "192.0.2.9",
                Match,
                "has -4 points: wl.example -4 (127.0.5.2)",
                "wl.example | -4",
            ),
            (
                "dnsbl: {in: reputation}",
                "2001:db8::1",
                Match,
                "has 3 points: bl.example 3 (127.0.0.2)",
                "bl.example | 3",
            ),
            (
                "dnsbl: bl.example",
                "192.0.2.14",
                Match,
                "has 1 points: bl.example 1 (127.0.0.77)",
                "bl.example | 1",
            ),
            (
                "dnsbl: [zen.example=127.0.0.4, bl.example]",
                "192.0.2.8",
                NoMatch,
                "has 0 points: zen.example 0 (127.0.0.10)",
                " | 0",
            ),
            (eight, "10.0.0.1", NoMatch, "is a private address, which no zone is asked about", ""),
            (eight, "100.64.0.1", NoMatch, "is a private address, which no zone is asked about", ""),
            (eight, "fe80::1", NoMatch, "is a private address, which no zone is asked about", ""),
            (
                "dnsbl: bl.example",
                "203.0.113.1",
                NoMatch,
                "is in local.networks, which no zone is asked about",
                "",
            ),
        ] {
            let (found, why, text) = asked(yaml, &format!("client_address={address}"));
            assert_eq!(why, format!("client_address `{address}` {because}"), "{yaml}");
            assert_eq!((found, text.as_str()), (truth, bound), "{yaml} {address}");
        }
    }

    #[test]
    fn names_and_other_keys_are_asked_as_the_zone_has_them() {
        use Truth::Match;
        use Truth::NoMatch;
        for (yaml, given, truth, because) in [
            (
                "dnsbl: {in: names, key: sender_domain}",
                "sender=x@Bad.test",
                Match,
                "sender_domain `Bad.test` has 6 points: bad names 6 (127.0.1.6)",
            ),
            (
                "dnsbl: {in: names, key: sender}",
                "sender=x@worse.test",
                Match,
                "sender `x@worse.test` has 1 points: bad names 1 (127.0.1.4)",
            ),
            ("dnsbl: {in: names, key: sender_domain}", "sender=<>", NoMatch, "sender_domain is not known"),
            (
                "dnsbl: {in: names, key: helo_name}",
                "helo_name=[192.0.2.1]",
                NoMatch,
                "helo_name `[192.0.2.1]` is no name that could be listed",
            ),
            // Its test entry is nobody's domain.
            (
                "dnsbl: {in: names, key: helo_name}",
                "helo_name=test",
                NoMatch,
                "helo_name `test` is no name that could be listed",
            ),
            (
                "dnsbl: {in: names, key: client_name}",
                "client_name=unknown",
                NoMatch,
                "client_name `unknown` is not known",
            ),
            (
                "dnsbl: {in: names, key: {header: From}}",
                "sender=<>\n\nFrom: a <a@good.test>, b@BAD.test\nFrom: c@bad.test\n\n",
                Match,
                "From `good.test`, `bad.test` has 6 points: bad names 6 (127.0.1.6)",
            ),
            // One of two may still be listed.
            (
                "dnsbl: {in: names, key: {header: From}}",
                "sender=<>\n\nFrom: a <a@good.test>, b@slow.test\n\n",
                Truth::Unknown,
                "From `good.test`, `slow.test` has 0 points: bad names unknown (timeout)",
            ),
            (
                "dnsbl: {in: names, key: {header: From}}",
                "sender=<>\n\nFrom: nobody\n\n",
                NoMatch,
                "From `` is not known",
            ),
            (
                "dnsbl: {in: mails, key: sender}",
                "sender=spam@bad.test",
                Match,
                "sender `spam@bad.test` has 1 points: ebl.example 1 (127.0.0.2)",
            ),
            (
                "dnsbl: {in: mails, key: policy_context}",
                "policy_context=here.test",
                Match,
                "policy_context `here.test` has 1 points: keys.example 1 (127.0.0.2)",
            ),
        ] {
            let (found, why, _) = asked(yaml, given);
            assert_eq!((found, why.as_str()), (truth, because), "{yaml} {given:?}");
        }
    }

    #[test]
    fn a_zone_that_is_suspended_is_not_asked() {
        let (check, _) = beside("dnsbl: {is: [zen.example*8, bl.example*3]}");
        let Some(AnyCheck::Dnsbl(check)) = check else {
            panic!("no dnsbl");
        };
        let health = Arc::new(Health::default());
        health.stand(Standing::Wildcard);
        check.each_site(&mut |site, kind| {
            assert_eq!(kind, Kind::Ip);
            if site.name == "zen.example" {
                site.adopt(&health);
            }
        });
        let resolver = Resolver::of_zone(Zone::parse(DNS).unwrap());
        let lookups = Lookups::new(&resolver, &[], Findings::default());
        let (facts, known) = (facts("client_address=192.0.2.7"), Known::default());
        let cx = Context { lookups: Some(&lookups), ..Context::new(&facts, &known, Stage::Connect) };
        assert_eq!(check.evaluate(&cx), Truth::NoMatch);
        assert_eq!(
            check.because(&cx),
            "client_address `192.0.2.7` has 0 points: zen.example not asked (lists what it must not list, and so everybody)"
        );
        health.stand(Standing::Fine);
        assert_eq!(check.evaluate(&cx), Truth::Match);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (yaml, expected) in [
            ("dnsbl: {at_least: 3}", "dnsbl needs zones, or in: LIST"),
            ("dnsbl: {is: bl.example, in: x}", "dnsbl has its zones from `in` or from `is`, not from both"),
            ("dnsbl: {in: nowhere}", "no list `nowhere`"),
            ("dnsbl: []", "`dnsbl` has an empty list: give it a value, or leave it out"),
            ("dnsbl: bl.example*0", "a weight of 0 changes nothing: leave the zone out"),
            ("dnsbl: [bl.example, bl.example*2]", "`bl.example` with any answer is there twice"),
            (
                "dnsbl: {is: bl.example, atleast: 3}",
                "unknown option `atleast` of dnsbl; did you mean `at_least`?",
            ),
            (
                "dnsbl: {is: bl.example, at_least: 3, at_most: 2}",
                "dnsbl has bounds that exclude each other: no number fits",
            ),
            (
                "dnsbl: dbl.spamhaus.org",
                "`dbl.spamhaus.org` is a zone of kind domain, and client_address is not one: say key: sender_domain, or another domain",
            ),
            (
                "dnsbl: {is: zen.spamhaus.org, key: sender_domain}",
                "`zen.spamhaus.org` is a zone of kind ip, and sender_domain is not one: say key: client_address",
            ),
            (
                "dnsbl: ebl.msbl.org",
                "`ebl.msbl.org` is a zone of kind sha1, and client_address is not one: say key: sender, or what it lists",
            ),
            (
                "dnsbl: {is: bl.example, key: {Header: From}}",
                "unknown option `Header` of key; did you mean `header`?",
            ),
            ("dnsbl: {is: bl.example, key: {header: 'a b'}}", "`a b` is not the name of a header field"),
            (
                "dnsbl: {is: bl.example, key: client}",
                "`client` is several things at once: say client_address or client_name",
            ),
        ] {
            if expected.contains("`Header`") {
                wrong(yaml, &[expected, "key is an attribute, or {header: From}"]);
            } else {
                wrong(yaml, &[expected]);
            }
        }
        for (yaml, expected) in [
            ("dnsbl: {in: local.networks}", "`local.networks` is a list of network, dnsbl expected"),
            ("dnsbl: reputation", "`reputation` is a list; a list is named with in: reputation"),
            (
                "dnsbl: {in: names}",
                "`bad names` is a zone of kind domain, and client_address is not one: say key: sender_domain, or another domain",
            ),
        ] {
            assert_eq!(beside(yaml).1, [expected], "{yaml}");
        }
    }
}
