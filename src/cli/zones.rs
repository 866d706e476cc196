//! Looks after the zones that rules ask: tests each at the start and every hour, tells
//! which can't be believed, and says once an hour what is wrong with their answers.

use crate::dns::Resolver;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::reputation::Examined;
use crate::reputation::Health;
use crate::reputation::Kind;
use crate::reputation::Looks;
use crate::reputation::Outcome;
use crate::reputation::Site;
use crate::reputation::Standing;
use crate::reputation::Trouble;
use crate::reputation::examine;
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout;

/// As often as RFC 5782, 5 would have it at least.
const TEST_EVERY: Duration = Duration::from_secs(3600);

/// Of a zone that failed: it should not be missed for long once it is well.
const TEST_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Of a zone that did not answer, which may be nothing.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How often is looked whether anything is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often the log hears of one error of one zone.
const TELL_EVERY: Duration = Duration::from_secs(3600);

/// The resolver gives up before that.
const MAX_TEST: Duration = Duration::from_secs(30);

/// How long a start or a reload waits for tests.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Tests at once, of four questions each: a few silent zones must not keep the others waiting.
const MAX_AT_ONCE: usize = 32;

/// Of all zones of the policy in force.
#[derive(Debug)]
pub(super) struct Zones {
    metrics: Arc<Metrics>,
    watched: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    site: Arc<Site>,
    kind: Kind,
    health: Arc<Health>,
    due: Instant,
    tested: Option<Instant>,
    was_silent: bool,
    /// Of each trouble: how often it was met when the log last heard of it, and when.
    told: [(u64, Option<Instant>); Trouble::ALL.len()],
}

impl Zones {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, watched: Mutex::default() }
    }

    /// Takes the zones of a policy into care: one that is known stands as it stood. To be
    /// called before the policy is in force, and when lists have changed.
    pub(super) fn adopt(&self, policy: &Policy) {
        let mut watched = self.watched.lock();
        let mut named = vec![false; watched.len()];
        policy.each_site(&mut |site, kind| {
            let is_same = |known: &Watched| known.kind == kind && known.site.suffix() == site.suffix();
            let at = watched.iter().position(is_same).unwrap_or_else(|| {
                watched.push(Watched::new(Arc::clone(site), kind));
                named.push(false);
                watched.len() - 1
            });
            if let (Some(known), Some(named)) = (watched.get_mut(at), named.get_mut(at)) {
                *named = true;
                site.adopt(&known.health);
                // Its name or test entry may be another now.
                known.site = Arc::clone(site);
            }
        });
        let mut still = named.into_iter();
        watched.retain(|_| still.next().unwrap_or_default());
        let shown = watched.iter().map(|known| (known.site.name.clone(), Arc::clone(&known.health)));
        self.metrics.load_zones(shown);
    }

    /// Tests what is new before the first mail asks it: a zone that lists everybody would
    /// have it refused. Who does not answer soon is tested while mail flows.
    pub(super) async fn test_new(&self, resolver: &Resolver) {
        let _ = timeout(MAX_WAIT, self.turn(resolver)).await;
    }

    /// Until the program ends.
    pub(super) async fn watch(&self, policy: impl Fn() -> Arc<crate::desk::Active>, resolver: Resolver) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            self.adopt(&policy().policy);
            self.turn(&resolver).await;
        }
    }

    /// Tests the zones of a policy that is asked once.
    pub(super) async fn test_once(policy: &Policy, resolver: &Resolver) {
        let zones = Self::new(Arc::new(Metrics::new(Timestamp::now())));
        zones.adopt(policy);
        zones.turn(resolver).await;
    }

    /// Tests what is due, and tells what there is to tell.
    async fn turn(&self, resolver: &Resolver) {
        let now = Instant::now();
        let due: Vec<_> = {
            let watched = self.watched.lock();
            // Those that answer tell a zone's silence from the resolver's.
            let doubted = watched.iter().any(|known| known.is_doubted(now));
            let due = watched.iter().filter(|known| {
                known.due <= now || known.is_odd(now) || doubted && !known.health.standing().is_suspended()
            });
            due.map(|known| (Arc::clone(&known.site), known.kind)).collect()
        };
        let is_alone = due.len() < 2;
        let tests = stream::iter(due).map(|(site, kind)| async move {
            let examined = timeout(MAX_TEST, examine(&site, kind, resolver)).await;
            (site, kind, examined.unwrap_or(Some(Examined::Silent)))
        });
        let mut tests = pin!(tests.buffer_unordered(MAX_AT_ONCE));
        let (mut unsaid, mut has_answer) = (Vec::new(), is_alone);
        while let Some((site, kind, examined)) = tests.next().await {
            if matches!(examined, None | Some(Examined::Silent)) {
                unsaid.push((site, kind, examined));
                continue;
            }
            has_answer = true;
            self.tested(&site, kind, examined, false);
        }
        // Then it is not the zones that are gone.
        let nobody_answers = !has_answer && unsaid.iter().any(|(_, _, examined)| examined.is_some());
        if nobody_answers {
            tracing::warn!(zones = unsaid.len(), "no zone answered for its test entry: is there a resolver?");
        }
        for (site, kind, examined) in unsaid {
            self.tested(&site, kind, examined, nobody_answers);
        }
        self.watched.lock().iter_mut().for_each(|known| known.tell(now));
    }

    fn tested(&self, site: &Site, kind: Kind, examined: Option<Examined>, nobody_answers: bool) {
        let is_same = |known: &&mut Watched| known.kind == kind && known.site.suffix() == site.suffix();
        if let Some(known) = self.watched.lock().iter_mut().find(is_same) {
            known.tested(examined, nobody_answers);
        }
    }
}

impl Watched {
    fn new(site: Arc<Site>, kind: Kind) -> Self {
        // It may have been in care before, for a policy that came into force late.
        let (health, due) = (site.health().cloned().unwrap_or_default(), Instant::now());
        Self { site, kind, health, due, tested: None, was_silent: false, told: Default::default() }
    }

    /// Whether its answers are such that its test can't wait, which is not long ago.
    fn is_odd(&self, now: Instant) -> bool {
        let is_new = self.tested.is_some_and(|tested| now.duration_since(tested) < ASK_AGAIN_AFTER);
        !is_new && !self.health.standing().is_suspended() && self.health.looks() != Looks::Fine
    }

    /// Whether its test may find it silent for good.
    fn is_doubted(&self, now: Instant) -> bool {
        let looks_silent = self.is_odd(now) && self.health.looks() == Looks::Silent;
        let is_due_again = self.due <= now && self.was_silent && !self.health.standing().is_suspended();
        looks_silent || is_due_again
    }

    fn tested(&mut self, examined: Option<Examined>, nobody_answers: bool) {
        let before = self.health.standing();
        let is_silent = examined == Some(Examined::Silent);
        let looks = self.health.looks();
        // Or mails have found it so.
        let was_silent = std::mem::replace(&mut self.was_silent, is_silent) || looks == Looks::Silent;
        self.health.settle_looks();
        self.tested = Some(Instant::now());
        let (standing, wait) = match examined {
            // It has nothing to be tested with: mails find out whether it answers by now.
            None if looks == Looks::Silent && !nobody_answers => (Standing::Silent, ASK_AGAIN_AFTER),
            None | Some(Examined::Fine) => (Standing::Fine, TEST_EVERY),
            Some(Examined::Dead) => (Standing::Dead, TEST_AGAIN_AFTER),
            Some(Examined::Wildcard) => (Standing::Wildcard, TEST_AGAIN_AFTER),
            Some(Examined::Erring(trouble)) => {
                self.health.count(Outcome::Erred(trouble));
                (Standing::Erring, TEST_AGAIN_AFTER)
            }
            Some(Examined::Silent) if was_silent && !nobody_answers => (Standing::Silent, ASK_AGAIN_AFTER),
            Some(Examined::Silent) => (before, ASK_AGAIN_AFTER),
        };
        self.due = Instant::now() + wait;
        self.health.stand(standing);
        let zone = &self.site.name;
        if standing.is_suspended() && standing != before {
            tracing::warn!(
                zone,
                why = standing.reason(),
                "the zone is not asked any more and counts nothing, until it passes its test"
            );
        } else if !standing.is_suspended() && before.is_suspended() {
            tracing::info!(zone, "the zone passes its test and is asked again");
        }
    }

    /// What was met since it was last told, if that is long ago.
    fn tell(&mut self, now: Instant) {
        for (trouble, (met, last)) in Trouble::ALL.iter().zip(&mut self.told) {
            let met_now = self.health.counted(Outcome::Erred(*trouble));
            if met_now == *met || last.is_some_and(|last| now.duration_since(last) < TELL_EVERY) {
                continue;
            }
            tracing::warn!(
                zone = self.site.name,
                error = trouble.word(),
                answers = met_now - *met,
                remedy = trouble.remedy(),
                "the zone answers with an error, which counts nothing"
            );
            (*met, *last) = (met_now, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Settings;
    use crate::dns::Zone;
    use crate::policy::Options;
    use crate::policy::load_texts;
    use crate::reputation::SiteQuestion;
    use std::path::Path;

    const WELL: &str = "2.0.0.127.one.example A 127.0.0.2\n2.0.0.127.two.example A 127.0.0.2\n";

    fn policy(zones: &str) -> Policy {
        let text = format!("rules:\n  - {{name: a, when: {{dnsbl: [{zones}]}}, then: {{score: 1}}}}\n");
        load_texts(&[("p.yaml", &text)], Path::new(""), &Options::default()).unwrap().policy
    }

    fn resolver(text: &str) -> Resolver {
        Resolver::of_zone(Zone::parse(text).unwrap())
    }

    fn standings(policy: &Policy) -> Vec<(String, Standing)> {
        let mut found = Vec::new();
        policy.each_site(&mut |site, _| found.push((site.name.clone(), site.standing())));
        found
    }

    async fn after(zones: &Zones, wait: Duration, dns: &str) {
        tokio::time::advance(wait).await;
        zones.turn(&resolver(dns)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_that_fails_its_test_is_left_out_until_it_passes() {
        let zones = Zones::new(Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH)));
        let policy = policy("one.example, two.example");
        zones.adopt(&policy);
        let is = |policy: &Policy, one, two| {
            let expected = [("one.example".to_owned(), one), ("two.example".to_owned(), two)];
            assert_eq!(standings(policy), expected);
        };
        zones.turn(&resolver(WELL)).await;
        is(&policy, Standing::Fine, Standing::Fine);
        // Not due yet.
        after(&zones, TEST_EVERY / 2, "").await;
        is(&policy, Standing::Fine, Standing::Fine);
        after(&zones, TEST_EVERY, "2.0.0.127.one.example A 127.0.0.2\n*.two.example A 127.0.0.2\n").await;
        is(&policy, Standing::Fine, Standing::Wildcard);
        // Of a reload nothing is forgotten.
        let again = self::policy("one.example*3, two.example*2, three.example");
        zones.adopt(&again);
        is(&policy, Standing::Fine, Standing::Wildcard);
        assert_eq!(standings(&again).get(1).map(|(_, standing)| *standing), Some(Standing::Wildcard));
        let policy = self::policy("one.example, two.example");
        zones.adopt(&policy);
        after(&zones, TEST_AGAIN_AFTER, WELL).await;
        is(&policy, Standing::Fine, Standing::Fine);
        after(&zones, TEST_EVERY, "*.one.example A 127.255.255.254\n").await;
        is(&policy, Standing::Erring, Standing::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_the_zones_fault_only_if_others_answer() {
        let zones = Zones::new(Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH)));
        let policy = policy("one.example, two.example");
        zones.adopt(&policy);
        let silent = |names: &[&str]| -> String {
            names
                .iter()
                .flat_map(|name| {
                    let nibbles = "0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
                    [format!("2.0.0.127.{name} TIMEOUT\n"), format!("2.{nibbles}.{name} TIMEOUT\n")]
                })
                .collect()
        };
        let both = silent(&["one.example", "two.example"]);
        for _ in 0..3 {
            after(&zones, ASK_AGAIN_AFTER, &both).await;
        }
        assert!(standings(&policy).iter().all(|(_, standing)| *standing == Standing::Fine));
        let one = format!("{}2.0.0.127.two.example A 127.0.0.2\n", silent(&["one.example"]));
        after(&zones, ASK_AGAIN_AFTER, &one).await;
        let of_one = || standings(&policy).first().map(|(_, standing)| *standing);
        assert_eq!(of_one(), Some(Standing::Silent));
        after(&zones, TEST_AGAIN_AFTER, WELL).await;
        assert_eq!(of_one(), Some(Standing::Fine));
        after(&zones, TEST_EVERY, &one).await;
        assert_eq!(of_one(), Some(Standing::Fine));
        after(&zones, ASK_AGAIN_AFTER, &one).await;
        assert_eq!(of_one(), Some(Standing::Silent));
    }

    /// What each of some mails in a row is told by the zones.
    async fn mails(policy: &Policy, count: usize, dns: &str) {
        let mut sites = Vec::new();
        policy.each_site(&mut |site, kind| sites.push((Arc::clone(site), kind.key("192.0.2.7").unwrap())));
        for _ in 0..count {
            for (site, key) in &sites {
                let question = SiteQuestion { site: Arc::clone(site), key: key.clone() };
                question.ask(&resolver(dns)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_mails_meet_has_a_zone_tested_before_its_time() {
        let hole = "7.2.0.192.one.example TIMEOUT\n2.0.0.127.one.example TIMEOUT\n1.0.0.127.one.example TIMEOUT\n\
                    2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.one.example TIMEOUT\n";
        let one_is_gone = format!("{hole}2.0.0.127.two.example A 127.0.0.2\n");
        let both_are_gone = format!("{hole}{}", hole.replace("one.", "two."));
        // No mail has met the other's silence, its answers are in the cache.
        let two_is_known = both_are_gone.replace("7.2.0.192.two.example TIMEOUT\n", "");
        let one_lists_all = format!("{WELL}*.one.example A 127.0.0.2\n");
        for (count, dns, expected) in [
            (4, &one_is_gone, Standing::Fine),
            (5, &one_is_gone, Standing::Silent),
            (5, &both_are_gone, Standing::Fine),
            (5, &two_is_known, Standing::Fine),
            (29, &one_lists_all, Standing::Fine),
            (30, &one_lists_all, Standing::Wildcard),
        ] {
            let zones = Zones::new(Arc::new(Metrics::new(Timestamp::UNIX_EPOCH)));
            let policy = policy("one.example, two.example");
            zones.adopt(&policy);
            zones.turn(&resolver(WELL)).await;
            mails(&policy, count, dns).await;
            // It was tested just now.
            after(&zones, LOOK_EVERY, dns).await;
            assert_eq!(standings(&policy)[0].1, Standing::Fine, "{count} {dns}");
            after(&zones, ASK_AGAIN_AFTER, dns).await;
            assert_eq!(standings(&policy)[0].1, expected, "{count} {dns}");
            assert_eq!(standings(&policy)[1].1, Standing::Fine, "{count} {dns}");
            after(&zones, TEST_AGAIN_AFTER, WELL).await;
            assert_eq!(standings(&policy)[0].1, Standing::Fine, "{count} {dns}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_is_tested_before_it_is_first_asked() {
        let zones = Zones::new(Arc::new(Metrics::new(Timestamp::UNIX_EPOCH)));
        let new = policy("one.example, wild.example");
        zones.adopt(&new);
        // The old policy is looked after meanwhile.
        zones.adopt(&policy("one.example"));
        zones.adopt(&new);
        // Nobody answers for the one: it takes all of the time.
        let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = nobody.local_addr().unwrap();
        let silent = Resolver::live(Settings::new(vec![server], Duration::from_secs(10)));
        let began = Instant::now();
        zones.test_new(&silent).await;
        assert_eq!(began.elapsed(), MAX_WAIT);
        zones.test_new(&resolver("*.wild.example A 127.0.0.2\n2.0.0.127.one.example A 127.0.0.2\n")).await;
        let found: Vec<_> = standings(&new).into_iter().map(|(_, standing)| standing).collect();
        assert_eq!(found, [Standing::Fine, Standing::Wildcard]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_zone_without_a_test_entry_is_left_out_for_a_while() {
        let zones = Zones::new(Arc::new(Metrics::new(Timestamp::UNIX_EPOCH)));
        let text = "lists: {l: {of: dnsbl, entries: [{zone: one.example, test: none}, two.example]}}\n\
                    rules: [{name: a, when: {dnsbl: {in: l}}, then: {score: 1}}]\n";
        let policy = load_texts(&[("p.yaml", text)], Path::new(""), &Options::default()).unwrap().policy;
        zones.adopt(&policy);
        zones.turn(&resolver(WELL)).await;
        let gone = format!("{WELL}7.2.0.192.one.example TIMEOUT\n");
        mails(&policy, 5, &gone).await;
        after(&zones, ASK_AGAIN_AFTER, &gone).await;
        assert_eq!(standings(&policy)[0].1, Standing::Silent);
        after(&zones, ASK_AGAIN_AFTER, &gone).await;
        assert_eq!(standings(&policy)[0].1, Standing::Fine);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_told_once_an_hour_and_counted_each_time() {
        let metrics = Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH));
        let zones = Zones::new(Arc::clone(&metrics));
        let policy = policy("one.example");
        zones.adopt(&policy);
        zones.turn(&resolver(WELL)).await;
        let met = || zones.watched.lock()[0].told[1].0;
        let health = Arc::clone(&zones.watched.lock()[0].health);
        let erred = Outcome::Erred(Trouble::PublicResolver);
        assert_eq!(Trouble::ALL[1], Trouble::PublicResolver);
        (0..3).for_each(|_| health.count(erred));
        after(&zones, LOOK_EVERY, WELL).await;
        assert_eq!(met(), 3);
        health.count(erred);
        after(&zones, LOOK_EVERY, WELL).await;
        assert_eq!(met(), 3);
        after(&zones, TELL_EVERY, WELL).await;
        assert_eq!(met(), 4);
        let text = metrics.encode(crate::metrics::Exposition::Text);
        assert!(
            text.contains("gatepost_dnsbl_answers_total{zone=\"one.example\",answer=\"public_resolver\"} 4"),
            "{text}"
        );
        assert!(text.contains("gatepost_dnsbl_suspended{zone=\"one.example\"} 0"), "{text}");
    }
}
