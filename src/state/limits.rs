//! Limits as operators write them: `100/10m`, `500/1d burst 50`, `100/1h strict`.
//!
//! Read from rules and from table files, never from mail. What is read here is
//! sound: no arithmetic on it in this module's siblings can overflow.

use super::keep::Input;
use super::keep::Output;
use crate::quantity::parse_duration;
use crate::quantity::parse_size;
use crate::quantity::show_duration;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Minute, hour, day, week, and some to spare: each window costs memory per key.
pub const MAX_WINDOWS: usize = 8;

/// So many token buckets the table keeps for each key in its own place (`plain`).
pub(super) const PLAIN_WINDOWS: usize = 3;

/// How long an empty bucket may take to fill up: a little above the longest period
/// that `quantity` reads, so that only a burst can be too large.
const LONGEST_REFILL: u128 = 11 * 366 * 86_400 * 1_000_000_000;

/// A cell that lasts less is made coarser, so that rounding its length up to whole
/// nanoseconds costs nobody more than a thousandth of the rate.
const SHORTEST_CELL: u128 = 1_000;

/// What one cell may hold: 1, Ki, Mi, Gi or Ti.
const GRAINS: [u64; 5] = [1, 1 << 10, 1 << 20, 1 << 30, 1 << 40];

/// How a window says in a file what it is.
const PLAIN: u64 = 0;
const BURST: u64 = 1;
const STRICT: u64 = 2;

/// One to [`MAX_WINDOWS`] windows, all of which must have room. A clone is the same
/// one again: each key in the table points at the limits it was charged under.
#[derive(Clone)]
pub struct Limits(Arc<Windows>);

/// What is made of limits once, when they are loaded.
struct Windows {
    windows: Vec<Window>,
    /// One for each window.
    cells: Vec<Cells>,
    is_plain: bool,
}

/// So many in so much time.
///
/// Plain: a bucket of `allowed`, refilled evenly over `period`. With `burst`: a
/// bucket of that size, refilled at the same rate. With `strict`: never more than
/// `allowed` in any stretch of time as long as `period`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Window {
    pub allowed: u64,
    pub period: Duration,
    pub burst: Option<u64>,
    pub strict: bool,
}

/// A token bucket in the terms of the cell rate algorithm.
///
/// Limits that mean bytes are too large for cells of one: beyond a million a second
/// or 2³² in the bucket a cell holds 1 KiB (or Mi, Gi …), and each request is
/// rounded up to whole cells, the bucket down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cells {
    pub capacity: u32,
    pub grain: u64,
    /// Nanoseconds in which one cell comes back, rounded up: never too early.
    pub length: u64,
    /// Nanoseconds in which all of them come back.
    pub refill: u64,
}

impl Limits {
    pub fn new(windows: Vec<Window>) -> Result<Self, String> {
        if windows.is_empty() {
            return Err(not_a_limit(""));
        }
        if windows.len() > MAX_WINDOWS {
            return Err(format!(
                "`{}` windows in one limit, expected at most {MAX_WINDOWS}; leave out those that never decide",
                windows.len()
            ));
        }
        for window in &windows {
            window.sound()?;
        }
        Ok(Self::of(windows))
    }

    pub fn windows(&self) -> &[Window] {
        &self.0.windows
    }

    /// All windows of several limits. They may be more than [`MAX_WINDOWS`].
    pub(super) fn together<'l>(all: impl IntoIterator<Item = &'l Self>) -> Self {
        let mut windows: Vec<Window> = Vec::new();
        for window in all.into_iter().flat_map(Self::windows) {
            if !windows.contains(window) {
                windows.push(*window);
            }
        }
        Self::of(windows)
    }

    /// Each window with its cells.
    pub(super) fn in_cells(&self) -> impl Iterator<Item = (&Window, &Cells)> {
        self.0.windows.iter().zip(&self.0.cells)
    }

    /// Whether so many fit where nothing is used.
    pub(super) fn fit_unused(&self, n: u64) -> bool {
        self.windows().iter().all(|window| n <= window.capacity())
    }

    /// Whether they are few token buckets, none twice: most are.
    pub(super) fn is_plain(&self) -> bool {
        self.0.is_plain
    }

    /// Whether they are one and the same, not only alike.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn of(windows: Vec<Window>) -> Self {
        let cells = windows.iter().map(Cells::of).collect();
        let is_new = |(at, window): (usize, &Window)| !windows.iter().take(at).any(|other| other == window);
        let is_plain = windows.len() <= PLAIN_WINDOWS
            && windows.iter().enumerate().all(is_new)
            && !windows.iter().any(|window| window.strict);
        Self(Arc::new(Windows { windows, cells, is_plain }))
    }
}

impl PartialEq for Limits {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.windows() == other.windows()
    }
}

impl Eq for Limits {}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limits({self})")
    }
}

impl FromStr for Limits {
    type Err = String;

    /// Windows joined by blanks or commas: `100/10m, 500/1d burst 50`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut groups: Vec<Vec<&str>> = Vec::new();
        for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            match groups.last_mut() {
                Some(group) if !word.contains('/') => group.push(word),
                _ => groups.push(vec![word]),
            }
        }
        let windows = groups.iter().map(|group| Window::from_words(group)).collect::<Result<_, _>>()?;
        Self::new(windows)
    }
}

/// Reads back as the same limits; sizes as the largest unit that is exact.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, window) in self.windows().iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{window}")?;
        }
        Ok(())
    }
}

impl Window {
    /// How many fit at once: the burst, else all that are allowed in a period.
    pub fn capacity(&self) -> u64 {
        self.burst.unwrap_or(self.allowed)
    }

    pub(super) fn period_nanos(&self) -> u64 {
        u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn write(&self, out: &mut Output) {
        out.number(self.allowed);
        // Nearly all are whole seconds.
        match self.period.subsec_nanos() {
            0 => out.number(self.period.as_secs() << 1),
            _ => out.number(self.period_nanos() << 1 | 1),
        }
        match self.burst {
            Some(burst) => {
                out.number(BURST);
                out.number(burst);
            }
            None => out.number(if self.strict { STRICT } else { PLAIN }),
        }
    }

    /// What was written, if it is as sound as what operators write.
    pub(super) fn read(from: &mut Input<'_>) -> Option<Self> {
        let (allowed, period) = (from.number()?, from.number()?);
        let period = match period & 1 {
            0 => Duration::from_secs(period >> 1),
            _ => Duration::from_nanos(period >> 1),
        };
        let (burst, strict) = match from.number()? {
            PLAIN => (None, false),
            BURST => (Some(from.number()?), false),
            STRICT => (None, true),
            _ => return None,
        };
        let window = Self { allowed, period, burst, strict };
        window.sound().is_ok().then_some(window)
    }

    fn from_words(words: &[&str]) -> Result<Self, String> {
        let wrong = || not_a_limit(&words.join(" "));
        let (first, options) = words.split_first().ok_or_else(wrong)?;
        let (allowed, period) = first.split_once('/').ok_or_else(wrong)?;
        let mut window = Self {
            allowed: parse_size(allowed).ok_or_else(wrong)?,
            period: parse_duration(period).ok_or_else(wrong)?,
            burst: None,
            strict: false,
        };
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option {
                "burst" if window.burst.is_none() => {
                    let burst = options.next().and_then(|size| parse_size(size));
                    window.burst = Some(burst.ok_or_else(wrong)?);
                }
                "strict" if !window.strict => window.strict = true,
                _ => return Err(wrong()),
            }
        }
        Ok(window)
    }

    fn sound(&self) -> Result<(), String> {
        if self.allowed == 0 || self.burst == Some(0) || self.period.is_zero() {
            return Err(format!(
                "`{self}` allows nothing, expected 1 or more; to refuse all write a rule without a limit"
            ));
        }
        if self.strict && self.burst.is_some() {
            return Err(format!(
                "`{self}` is both `strict` and `burst`, expected one of them; give two windows if you want both"
            ));
        }
        if self.period.as_nanos() > LONGEST_REFILL {
            return Err(format!("`{self}` has a period above ten years; shorten it"));
        }
        if self.strict {
            return Ok(());
        }
        let cells = Cells::of(self);
        if u128::from(cells.length) * u128::from(cells.capacity) > LONGEST_REFILL {
            return Err(format!(
                "`{self}` has a burst that takes more than ten years to refill; lower the burst"
            ));
        }
        if cells.capacity == 0 {
            return Err(format!(
                "`{self}` has a burst below what a millionth of a second allows, expected at least {}; raise the burst",
                cells.grain
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", show_size(self.allowed), show_duration(self.period))?;
        if let Some(burst) = self.burst {
            write!(f, " burst {}", show_size(burst))?;
        }
        if self.strict {
            f.write_str(" strict")?;
        }
        Ok(())
    }
}

impl Cells {
    /// Total, so that it can be asked about windows that are not sound.
    pub(super) fn of(window: &Window) -> Self {
        // Nearly all limits are in cells of one, for which 64 bits do.
        let period = window.period.as_nanos().min(LONGEST_REFILL);
        if let (Ok(period), Ok(capacity)) = (u64::try_from(period), u32::try_from(window.capacity())) {
            let length = period.div_ceil(window.allowed.max(1));
            if u128::from(length) >= SHORTEST_CELL {
                return Self::new(capacity, 1, length);
            }
        }
        let length = |grain: u64| {
            let together = window.period.as_nanos().min(LONGEST_REFILL) * u128::from(grain);
            together.div_ceil(u128::from(window.allowed.max(1)))
        };
        let fine =
            |grain: &u64| length(*grain) >= SHORTEST_CELL && window.capacity() / grain <= u64::from(u32::MAX);
        let grain = GRAINS.into_iter().find(fine).unwrap_or(1 << 40);
        Self::new(
            u32::try_from(window.capacity() / grain).unwrap_or(u32::MAX),
            grain,
            u64::try_from(length(grain)).unwrap_or(u64::MAX),
        )
    }

    pub(super) fn new(capacity: u32, grain: u64, length: u64) -> Self {
        Self { capacity, grain, length, refill: length.saturating_mul(u64::from(capacity)) }
    }

    /// How many cells `n` takes; None when the bucket is too small for it.
    pub(super) fn cost(&self, n: u64, window: &Window) -> Option<u32> {
        if n > window.capacity() {
            return None;
        }
        // The whole of a bucket that was rounded down still fits into it.
        Some(u32::try_from(n.div_ceil(self.grain)).unwrap_or(u32::MAX).min(self.capacity))
    }
}

fn not_a_limit(text: &str) -> String {
    format!("`{text}` is not a limit such as 100/10m or 500/1d burst 50")
}

/// Below 64K a number is probably one of messages, which nobody counts in `K`.
fn show_size(size: u64) -> String {
    let units = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.into_iter().find(|(_, unit)| size >= 1 << 16 && size.is_multiple_of(*unit)) {
        Some((letter, unit)) => format!("{}{letter}", size / unit),
        None => size.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown() {
        for (text, shown) in [
            ("100/10m", "100/10m"),
            ("500/1d burst 50", "500/1d burst 50"),
            ("100/1h strict", "100/1h strict"),
            ("4G/6m", "4G/6m"),
            ("4096M/6m", "4G/6m"),
            ("1024/1h", "1024/1h"),
            ("100/60m", "100/1h"),
            ("100/10m, 200/1h", "100/10m, 200/1h"),
            ("100/10m 200/1h", "100/10m, 200/1h"),
            (" 100/10m burst 5,200/1h\tstrict,, 1/1h30m ", "100/10m burst 5, 200/1h strict, 1/1h30m"),
            ("10/1h burst 50", "10/1h burst 50"),
            ("16777215G/1s strict", "16777215G/1s strict"),
        ] {
            let limits: Limits = text.parse().unwrap();
            assert_eq!(limits.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Limits>().unwrap(), limits, "{text}");
        }
    }

    #[test]
    fn wrong_limits_say_what_is_wrong() {
        let common = |text: &str| format!("`{text}` is not a limit such as 100/10m or 500/1d burst 50");
        for text in [
            "",
            "100/hour",
            "100",
            "/10m",
            "100/",
            "100/10",
            "-1/1h",
            "1.5/1h",
            "100/1h burst",
            "100/1h burst x",
            "100/1h brust 5",
            "100/1h strict strict",
            "100/1h burst 1 burst 2",
            "none",
            "100/99999d",
            "100/0s",
            "99999999999999999999/1h",
            "1/2/3",
        ] {
            assert_eq!(text.parse::<Limits>(), Err(common(text)), "{text}");
        }
        for (text, expected) in [
            ("100/10m, 100/hour", common("100/hour")),
            ("strict 100/1h", common("strict")),
            ("0/1h", "`0/1h` allows nothing, expected 1 or more; to refuse all write a rule without a limit".into()),
            ("5/1h burst 0", "`5/1h burst 0` allows nothing, expected 1 or more; to refuse all write a rule without a limit".into()),
            ("5/1h strict burst 2", "`5/1h burst 2 strict` is both `strict` and `burst`, expected one of them; give two windows if you want both".into()),
            ("1/3650d burst 2", "`1/3650d burst 2` has a burst that takes more than ten years to refill; lower the burst".into()),
            ("1/1h burst 16777215G", "`1/1h burst 16777215G` has a burst that takes more than ten years to refill; lower the burst".into()),
            ("1G/1ms burst 10", "`1G/1ms burst 10` has a burst below what a millionth of a second allows, expected at least 1073741824; raise the burst".into()),
            ("1/1m 1/2m 1/3m 1/4m 1/5m 1/6m 1/7m 1/8m 1/9m", "`9` windows in one limit, expected at most 8; leave out those that never decide".into()),
        ] {
            assert_eq!(text.parse::<Limits>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn large_limits_are_counted_in_kibibytes() {
        for (text, capacity, grain, length) in [
            ("100/10m", 100, 1, 6_000_000_000),
            ("500/1d burst 50", 50, 1, 172_800_000_000),
            ("7/1h", 7, 1, 514_285_714_286),
            ("4096M/6m", 4 << 20, 1 << 10, 85_831),
            ("10G/1d", 10 << 20, 1 << 10, 8_239_747),
        ] {
            let limits: Limits = text.parse().unwrap();
            assert_eq!(Cells::of(&limits.windows()[0]), Cells::new(capacity, grain, length), "{text}");
        }
    }

    #[test]
    fn a_request_is_rounded_up_but_all_that_is_allowed_fits() {
        let limits: Limits = "5000000000/1h".parse().unwrap();
        let window = &limits.windows()[0];
        let cells = Cells::of(window);
        assert_eq!((cells.grain, cells.capacity), (1024, 4_882_812));
        for (n, cost) in [
            (0, Some(0)),
            (1, Some(1)),
            (1025, Some(2)),
            (5_000_000_000, Some(4_882_812)),
            (5_000_000_001, None),
        ] {
            assert_eq!(cells.cost(n, window), cost, "{n}");
        }
    }
}
