//! # What it does
//! Matches when the time of the request lies within all that is given.
//!
//! # Why
//! Maintenance windows; stricter limits at night, when nobody sends from an
//! office and nobody reads an alarm.
//!
//! # Options
//! - `hours`: `06:00-20:00`, or several; `22:00-06:00` goes over midnight. The
//!   end is not included.
//! - `days`: `mon` … `sun`, ranges as `mon-fri`, or several.
//! - `dates`: `2026-12-24`, ranges as `2026-12-24..2027-01-06`, or several; the
//!   last day is included.
//! - `zone` (default: the server's): an IANA time zone such as `Europe/Berlin`.
//!
//! # Example
//! ```yaml
//! - time: {hours: 03:00-04:00, days: mon-fri, zone: Europe/Berlin}
//! ```
//!
//! # Unknown when
//! Never.

use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Node;
use jiff::civil;
use jiff::tz::TimeZone;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Clone, Debug)]
pub struct Time {
    hours: Vec<(civil::Time, civil::Time)>,
    /// By days since Monday.
    days: Option<[bool; 7]>,
    dates: Vec<(civil::Date, civil::Date)>,
    zone: TimeZone,
}

impl Check for Time {
    const OPTIONS: &'static [&'static str] = &["hours", "days", "dates", "zone"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let Some(options) = entry.value.as_map().filter(|options| !options.is_empty()) else {
            cx.mistake(entry.value.place, "time needs one of hours, days, dates");
            return None;
        };
        let mut fine = cx.only_keys(options, Self::OPTIONS, "time");
        let asked: Vec<_> = options.iter().filter(|option| option.key != "zone").collect();
        if asked.is_empty() {
            cx.mistake(entry.value.place, "time needs one of hours, days, dates");
            return None;
        }
        for option in asked {
            fine &= cx.some_items(&option.value, &option.key).is_some();
        }
        let mut read = |key: &str, parse: &dyn Fn(&str) -> Option<()>, example: &str| {
            for item in entry.value.get(key).map(Node::items).unwrap_or_default() {
                let text = item.as_text().unwrap_or_default();
                if parse(text).is_none() {
                    cx.mistake(item.place, format!("`{text}` is not {example}"));
                    fine = false;
                }
            }
        };
        read("hours", &|text| hours(text).map(drop), "hours such as 06:00-20:00");
        read("days", &|text| days(text).map(drop), "days such as sat or mon-fri");
        read("dates", &|text| dates(text).map(drop), "a date such as 2026-12-24 or 2026-12-24..2027-01-06");
        read("zone", &|text| TimeZone::get(text).ok().map(drop), "a time zone such as Europe/Berlin");
        if !fine {
            return None;
        }
        let texts = |key: &str| {
            let items = entry.value.get(key).map(Node::items).unwrap_or_default();
            items.iter().filter_map(Node::as_text).collect::<Vec<_>>()
        };
        let mut weekdays = [false; 7];
        for day in texts("days").into_iter().filter_map(days).flatten() {
            weekdays[day % 7] = true;
        }
        let zone = texts("zone").first().and_then(|name| TimeZone::get(name).ok());
        Some(Self {
            hours: texts("hours").into_iter().filter_map(hours).collect(),
            days: entry.value.get("days").map(|_| weekdays),
            dates: texts("dates").into_iter().filter_map(dates).collect(),
            zone: zone.unwrap_or_else(TimeZone::system),
        })
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(now) = cx.facts.moment.in_zone(&self.zone) else {
            return Truth::Unknown;
        };
        let weekday = usize::try_from(now.weekday().to_monday_zero_offset()).unwrap_or_default();
        let in_hours = self.hours.is_empty() || self.hours.iter().any(|span| within_hours(now.time(), *span));
        let in_days = self.days.is_none_or(|days| days[weekday % 7]);
        let in_dates =
            self.dates.is_empty() || self.dates.iter().any(|(from, to)| (*from..=*to).contains(&now.date()));
        (in_hours && in_days && in_dates).into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match cx.facts.moment.in_zone(&self.zone) {
            Some(now) => format!("it is {}", now.strftime("%a %Y-%m-%d %H:%M")),
            None => "the time is not known".into(),
        }
    }
}

fn within_hours(now: civil::Time, (from, to): (civil::Time, civil::Time)) -> bool {
    if from <= to { from <= now && now < to } else { now >= from || now < to }
}

fn hours(text: &str) -> Option<(civil::Time, civil::Time)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (clock(from)?, clock(to)?);
    (from != to).then_some((from, to))
}

/// `06:00`; `24:00` is the end of the day.
fn clock(text: &str) -> Option<civil::Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    if (hour, minute) == ("24", "00") {
        return Some(civil::Time::MAX);
    }
    civil::Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// Days since Monday.
fn days(text: &str) -> Option<Vec<usize>> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name.trim()));
    let Some((from, to)) = text.split_once('-') else {
        return day(text).map(|day| vec![day]);
    };
    let (from, to) = (day(from)?, day(to)?);
    let to = if to < from { to + 7 } else { to };
    Some((from..=to).map(|day| day % 7).collect())
}

fn dates(text: &str) -> Option<(civil::Date, civil::Date)> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to): (civil::Date, civil::Date) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::wrong;

    #[test]
    fn all_that_is_given_must_hold() {
        // 2026-11-21 is a Saturday.
        for (yaml, at, expected) in [
            ("time: {hours: 03:00-04:00}", "2026-11-21T03:30", Match),
            ("time: {hours: 03:00-04:00}", "2026-11-21T04:00", NoMatch),
            ("time: {hours: 22:00-06:00}", "2026-11-21T23:59", Match),
            ("time: {hours: 22:00-06:00}", "2026-11-21T05:59", Match),
            ("time: {hours: 22:00-06:00}", "2026-11-21T06:00", NoMatch),
            ("time: {hours: 20:00-24:00}", "2026-11-21T23:59", Match),
            ("time: {days: sat-sun}", "2026-11-21T12:00", Match),
            ("time: {days: [fri-mon]}", "2026-11-23T12:00", Match),
            ("time: {days: mon-fri}", "2026-11-21T12:00", NoMatch),
            ("time: {dates: [2026-11-20..2026-11-21]}", "2026-11-21T23:00", Match),
            ("time: {dates: 2026-11-20}", "2026-11-21T00:00", NoMatch),
            ("time: {days: sat, hours: 03:00-04:00}", "2026-11-21T12:00", NoMatch),
        ] {
            check(yaml, &format!("at={at}"), expected);
        }
    }

    #[test]
    fn mistakes_show_an_example() {
        wrong("time: {hours: 3-4}", &["`3-4` is not hours such as 06:00-20:00"]);
        wrong("time: {days: [mon, funday]}", &["`funday` is not days such as sat or mon-fri"]);
        wrong(
            "time: {days: sat, zone: Mars/Base}",
            &["`Mars/Base` is not a time zone such as Europe/Berlin"],
        );
        wrong("time: night", &["time needs one of hours, days, dates"]);
        wrong("time: {hour: 3}", &["unknown option `hour` of time; did you mean `hours`?"]);
    }
}
