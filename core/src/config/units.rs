//! Values with a unit: `10s`, `4MiB`, percentages, status classes.

use super::node::{Amount, At, Node};
use super::report::Report;
use crate::http::number::print_double;
use std::fmt;

/// Units of ranges of durations: nanoseconds.
pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MILLISECOND;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
/// Units of ranges of sizes: bytes.
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// A span of time, written as Go and Kubernetes write it: `250ms`, `10s`, `1m30s`, `2h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// A number of bytes: `4096`, `512KiB`, `4MiB`, `1GiB` (`KB`, `MB`, `GB` are powers of ten; Kubernetes' `Ki`, `Mi`, `Gi` too).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A share, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percentage(f64);

/// An HTTP status, or a class of them such as `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPattern {
    /// One status, 100 to 599.
    Exact(u16),
    /// The first digit, 1 to 5.
    Class(u8),
}

// === impl Duration ===

impl Duration {
    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Nanoseconds, saturating.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Milliseconds, saturating.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// One or more decimal numbers, each with a unit of `ns`, `us`, `ms`, `s`, `m` or `h`; or `0`. Below a nanosecond is cut.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::default());
        }
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (number, tail) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?)?;
            let (unit, tail) =
                tail.split_at_checked(tail.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(tail.len()))?;
            let scale: u64 = match unit {
                "ns" => 1,
                "us" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return None,
            };
            total = total.checked_add(scaled(number, scale)?)?;
            rest = tail;
        }
        (!text.is_empty()).then_some(Self(std::time::Duration::from_nanos(total)))
    }
}

impl Node for Duration {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let duration = at.value.as_str().and_then(Self::parse);
        duration.or_else(|| at.misfit("a duration with its unit, such as \"10s\" or \"250ms\"", report))
    }

    fn amount(&self) -> Option<Amount> {
        let print = |nanos| Self(std::time::Duration::from_nanos(nanos)).to_string();
        Some(Amount { value: self.as_nanos(), print })
    }
}

impl fmt::Display for Duration {
    /// With the largest unit up to seconds that it reaches; whole minutes and hours from ten minutes on. (`Debug` of std's
    /// `Duration` weighs 3 kB.)
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.as_nanos();
        let units = [(HOUR, 0, "h"), (MINUTE, 0, "m"), (SECOND, 9, "s"), (MILLISECOND, 6, "ms"), (1_000, 3, "us")];
        let fits = |(size, places, _): &(u64, usize, &str)| match places {
            0 => nanos >= 10 * MINUTE && nanos.is_multiple_of(*size),
            _ => nanos >= *size || nanos == 0,
        };
        let (size, places, unit) = units.into_iter().find(fits).unwrap_or((1, 0, "ns"));
        write!(f, "{}", nanos.checked_div(size).unwrap_or_default())?;
        if !nanos.is_multiple_of(size) {
            let fraction = format!("{:0places$}", nanos.checked_rem(size).unwrap_or_default());
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(unit)
    }
}

/// `number`, digits with at most one point, times `scale`. In whole numbers: std's reader of floats weighs 15 kB.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(scale)? };
    let mut place = scale;
    for digit in fraction.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        place /= 10;
        total = total.checked_add(place.checked_mul(u64::from(digit.wrapping_sub(b'0')))?)?;
    }
    Some(total)
}

// === impl Bytes ===

impl Bytes {
    /// A whole number with an optional unit.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let scale: u64 = match unit.trim() {
            "" | "B" => 1,
            "KB" | "k" => 1_000,
            "MB" | "M" => 1_000_000,
            "GB" | "G" => 1_000_000_000,
            "KiB" | "Ki" => 1 << 10,
            "MiB" | "Mi" => 1 << 20,
            "GiB" | "Gi" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(scale).map(Self)
    }
}

impl Node for Bytes {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let bytes = at.value.as_u64().map(Self).or_else(|| Self::parse(at.value.as_str()?));
        bytes.or_else(|| at.misfit("a number of bytes, such as 1048576, \"512KiB\" or \"4MiB\"", report))
    }

    fn amount(&self) -> Option<Amount> {
        Some(Amount { value: self.0, print: |bytes| Self(bytes).to_string() })
    }
}

impl fmt::Display for Bytes {
    /// With the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(MIB, "MiB"), (KIB, "KiB")];
        let fits = |(size, _): &(u64, &str)| self.0 > 0 && self.0.is_multiple_of(*size);
        let (size, unit) = units.into_iter().find(fits).unwrap_or((1, ""));
        write!(f, "{}{unit}", self.0.checked_div(size).unwrap_or_default())
    }
}

// === impl Percentage ===

impl Percentage {
    /// Istio's default sampling rate (`PILOT_TRACE_SAMPLING`).
    pub const ISTIO_DEFAULT: Self = Self(1.0);

    /// `None` outside 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent))
    }

    /// 100 %.
    pub const fn all() -> Self {
        Self(100.0)
    }

    /// The share as a probability, 0 to 1.
    pub fn probability(self) -> f64 {
        self.0 / 100.0
    }

    /// 0 to 100.
    pub fn percent(self) -> f64 {
        self.0
    }
}

impl Node for Percentage {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let percentage = at.value.as_f64().and_then(Self::new);
        percentage.or_else(|| at.misfit("a percentage from 0 to 100", report))
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_double(self.0))
    }
}

// === impl StatusPattern ===

impl StatusPattern {
    /// Whether `status` is meant.
    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::Exact(exact) => exact == status,
            Self::Class(class) => status / 100 == u16::from(class),
        }
    }

    /// `503` or `5xx`.
    pub fn parse(text: &str) -> Option<Self> {
        // `parse` of std would take a sign.
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| text.len() == 3 && (1..=5).contains(class)).map(Self::Class);
        }
        text.parse().ok().filter(|status| text.len() == 3 && (100..=599).contains(status)).map(Self::Exact)
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Node for StatusPattern {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let status = match at.value.as_u64() {
            Some(status) => Self::parse(&status.to_string()),
            None => at.value.as_str().and_then(Self::parse),
        };
        status.or_else(|| at.misfit("an HTTP status such as 503 or \"503\", or a class such as \"5xx\"", report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_percentages_are_shown_as_one_writes_them() {
        let table = [
            ("0", "0s"),
            ("0.0s", "0s"),
            ("10s", "10s"),
            ("2h", "2h"),
            ("1h30m", "90m"),
            ("10m", "10m"),
            ("599s", "599s"),
            ("601s", "601s"),
            ("250ms", "250ms"),
            ("1500ms", "1.5s"),
            ("60.0001s", "60.0001s"),
            ("1.05ms", "1.05ms"),
            ("100us", "100us"),
            ("7ns", "7ns"),
        ];
        for (written, shown) in table {
            assert_eq!(
                Duration::parse(written).map(|duration| duration.to_string()).as_deref(),
                Some(shown),
                "{written}"
            );
        }
        for (number, shown) in [(1.0, "1"), (0.5, "0.5"), (100.0, "100"), (33.3, "33.3"), (0.0, "0")] {
            assert_eq!(Percentage(number).to_string(), shown);
        }
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(print_double);
        assert_eq!(odd, ["NaN", "Infinity", "-Infinity"]);
    }

    #[test]
    fn durations_are_numbers_with_units() {
        let table: &[(&str, Option<u64>, &str)] = &[
            ("10s", Some(10_000_000_000), "seconds"),
            ("250ms", Some(250_000_000), "milliseconds"),
            ("1.5s", Some(1_500_000_000), "a fraction"),
            ("1m30s", Some(90_000_000_000), "two units"),
            ("2h", Some(7_200_000_000_000), "hours"),
            ("100us", Some(100_000), "microseconds"),
            ("7ns", Some(7), "nanoseconds"),
            ("0", Some(0), "zero needs no unit"),
            ("0s", Some(0), "zero with a unit"),
            ("10", None, "no unit"),
            ("", None, "nothing"),
            ("s", None, "no number"),
            ("10 s", None, "a blank"),
            ("-1s", None, "a sign"),
            ("1d", None, "days are not known to Go either"),
            ("1.2.3s", None, "two points"),
            (".s", None, "a point alone"),
            ("1e3s", None, "an exponent"),
            ("10S", None, "upper case"),
            ("99999999999999999999999h", None, "beyond what fits"),
            ("9999999h", None, "also beyond, once multiplied"),
            (".5s", Some(500_000_000), "nothing before the point"),
            ("1.s", Some(1_000_000_000), "nothing after it"),
            ("0.1s", Some(100_000_000), "exactly"),
            ("1.9ns", Some(1), "cut below a nanosecond"),
        ];
        for (text, expected, why) in table {
            assert_eq!(Duration::parse(text).map(Duration::as_nanos), *expected, "{text:?}: {why}");
        }
    }

    #[test]
    fn sizes_are_whole_numbers_with_units() {
        let table: &[(&str, Option<u64>)] = &[
            ("4096", Some(4096)),
            ("512KiB", Some(524_288)),
            ("4 MiB", Some(4_194_304)),
            ("4Mi", Some(4_194_304)),
            ("1GiB", Some(1 << 30)),
            ("1MB", Some(1_000_000)),
            ("1G", Some(1_000_000_000)),
            ("0", Some(0)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("4mib", None),
            ("18446744073709551615GiB", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in table {
            assert_eq!(Bytes::parse(text).map(|bytes| bytes.0), *expected, "{text:?}");
        }
    }

    #[test]
    fn statuses_are_three_digits_or_a_class() {
        let table: &[(&str, Option<StatusPattern>)] = &[
            ("503", Some(StatusPattern::Exact(503))),
            ("100", Some(StatusPattern::Exact(100))),
            ("5xx", Some(StatusPattern::Class(5))),
            ("600", None),
            ("99", None),
            ("0503", None),
            ("+50", None),
            ("+5xx", None),
            ("6xx", None),
            ("xx", None),
            ("5XX", None),
            ("5x", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(StatusPattern::parse(text), *expected, "{text:?}");
        }
        assert!(StatusPattern::Class(5).matches(599) && !StatusPattern::Class(5).matches(499));
        assert!(StatusPattern::Exact(503).matches(503) && !StatusPattern::Exact(503).matches(500));
    }

    #[test]
    fn percentages_are_0_to_100() {
        for (percent, valid) in
            [(0.0, true), (100.0, true), (0.01, true), (-0.1, false), (100.1, false), (f64::NAN, false)]
        {
            assert_eq!(Percentage::new(percent).is_some(), valid, "{percent}");
        }
        assert_eq!(Percentage::new(25.0).map(Percentage::probability), Some(0.25));
    }
}
