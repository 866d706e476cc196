//! Sizes and durations as operators write them: `10K`, `50M`; `10m`, `36h`, `1d`.

use std::time::Duration;

/// `10K`, `5M`, `1G`: powers of 1024. A plain number is itself.
///
/// None when it is no number or above `u64::MAX`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        b'G' | b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// `90s`, `10m`, `1h`, `7d`, `2w`; several may be joined: `1h30m`. Always with a unit.
///
/// None when it is no duration, is zero, or is above ten years: no limit or
/// expiry of a mail system means more, and arithmetic in nanoseconds stays safe.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const TEN_YEARS_SECONDS: u64 = 10 * 366 * 86_400;
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let step = match &rest[..unit_len] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            "w" => Duration::from_secs(number.checked_mul(7 * 86_400)?),
            _ => return None,
        };
        total = total.checked_add(step)?;
        rest = &rest[unit_len..];
    }
    let fits = !total.is_zero() && total.as_secs() <= TEN_YEARS_SECONDS;
    fits.then_some(total)
}

/// The shortest exact way to write a duration: `10m`, `1h30m`, `500ms`.
pub fn show_duration(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let millis = duration.subsec_millis();
    let mut shown = String::new();
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if seconds >= length {
            shown += &format!("{}{unit}", seconds / length);
            seconds %= length;
        }
    }
    if millis > 0 {
        shown += &format!("{millis}ms");
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// A waiting time for people: rounded up to whole seconds, and to whole minutes
/// from ten minutes on.
pub fn show_wait(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let rounded = if seconds >= 600 { seconds.div_ceil(60) * 60 } else { seconds.max(1) };
    show_duration(Duration::from_secs(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("10K", Some(10_240)),
            ("4096M", Some(4 << 30)),
            ("1G", Some(1 << 30)),
            ("", None),
            ("K", None),
            ("1.5M", None),
            ("-1", None),
            ("99999999999G", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, expected) in [
            ("10m", Some(600)),
            ("1h30m", Some(5400)),
            ("1d", Some(86_400)),
            ("2w", Some(1_209_600)),
            ("10", None),
            ("hour", None),
            ("1hour", None),
            ("0s", None),
            ("", None),
            ("99999d", None),
            ("18446744073709551615w", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_secs()), expected, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "1d");
        assert_eq!(show_wait(Duration::from_millis(1200)), "2s");
        assert_eq!(show_wait(Duration::from_secs(601)), "11m");
    }
}
