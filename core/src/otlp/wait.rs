//! How long a receiver asks us to wait: `Retry-After` over HTTP (RFC 9110 section 10.2.3), `RetryInfo` over gRPC
//! (`google/rpc/error_details.proto`).

use super::wire::{Field, Fields};
use crate::propagation::headers;

/// Longest wait that a receiver can ask for: a mistake in a date must not silence the exporter for a year.
const MAX_WAIT_S: u64 = 600;
const SECOND_NS: u64 = 1_000_000_000;

/// `google.rpc.Status { details = 3: Any { type_url = 1, value = 2 } }` holding
/// `google.rpc.RetryInfo { retry_delay = 1: Duration { seconds = 1, nanos = 2 } }`, as `grpc-status-details-bin` carries it.
/// Nanoseconds to wait.
pub(super) fn retry_info(header: &[u8]) -> Option<u64> {
    let status = base64(header)?;
    let details = Fields(&status).filter_map(|field| match field {
        (3, Field::Bytes(any)) => Some(Fields(any)),
        _ => None,
    });
    let info = details
        .filter(|any| any.bytes(1).is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo")))
        .find_map(|any| any.bytes(2))?;
    let delay = Fields(Fields(info).bytes(1).unwrap_or_default());
    let seconds = delay.number(1).cast_signed().clamp(0, MAX_WAIT_S.cast_signed()).cast_unsigned();
    let nanos = delay.number(2).cast_signed().clamp(0, 999_999_999).cast_unsigned();
    Some(seconds.saturating_mul(SECOND_NS).saturating_add(nanos))
}

/// `Retry-After`: whole seconds, or a date in one of the three forms of RFC 9110 section 5.6.7. Nanoseconds to wait.
pub(super) fn retry_after(value: &[u8], now_s: u64) -> Option<u64> {
    let value = headers::trim(value);
    let seconds = number(value).map(u64::from).or_else(|| Some(http_date(value)?.saturating_sub(now_s)))?;
    Some(seconds.min(MAX_WAIT_S).saturating_mul(SECOND_NS))
}

/// Decimal digits only; what does not fit is the largest number.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(text).ok()?.parse().unwrap_or(u32::MAX))
}

/// Seconds since the Unix epoch. `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994`; the name of the day is not checked.
fn http_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split([' ', '-']).filter(|word| !word.is_empty());
    let weekday = words.next()?;
    let (day, month, year, time) = if weekday.ends_with(',') {
        let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (words.next()? == "GMT").then_some((day, month, year, time))?
    } else {
        let (month, day, time, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (day, month, year, time)
    };
    if words.next().is_some() {
        return None;
    }
    days(four_digits(year)?, month_number(month)?, small(day, 31)?)?.checked_mul(86_400)?.checked_add(seconds(time)?)
}

/// A year of two digits is one of 1970 to 2069.
fn four_digits(year: &str) -> Option<u64> {
    match (year.len(), small(year, 9999)?) {
        (4, year) => Some(year),
        (2, year) => year.checked_add(if year < 70 { 2000 } else { 1900 }),
        _ => None,
    }
}

fn month_number(name: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS.iter().zip(1..).find(|(month, _)| **month == name).map(|(_, number)| number)
}

/// `08:49:37`, as seconds of the day; a leap second is allowed.
fn seconds(time: &str) -> Option<u64> {
    let mut parts = time.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let seconds = [(hour, 23, 3600), (minute, 59, 60), (second, 60, 1)]
        .into_iter()
        .try_fold(0u64, |sum, (text, max, scale): (&str, u64, u64)| {
            sum.checked_add(small(text, max)?.checked_mul(scale)?)
        });
    seconds.filter(|_| parts.next().is_none())
}

fn small(text: &str, max: u64) -> Option<u64> {
    number(text.as_bytes()).map(u64::from).filter(|number| *number <= max)
}

/// Days from 1970-01-01 in the Gregorian calendar; `None` before it. Years begin in March, so that a leap day comes last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let before_month = month.checked_mul(153)?.checked_add(2)? / 5;
    let days = year.checked_mul(365)?.checked_add(leap_days)?.checked_add(before_month)?.checked_add(day)?;
    // 1 March of year 0 to 1 January 1970 is 719,468 days; `day` counts from 1.
    days.checked_sub(719_469)
}

/// Base64 of the standard alphabet, padded or not, as gRPC sends binary headers.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.chunks(4) {
        let bits = chunk.iter().try_fold(0u32, |bits, digit| Some((bits << 6) | sextet(*digit)?))?;
        // 4, 3 or 2 digits are 3, 2 or 1 bytes; one digit alone is none.
        let missing = 4usize.checked_sub(chunk.len()).filter(|missing| *missing < 3)?;
        let aligned = (0..missing).fold(bits << 8, |bits, _| bits << 6);
        out.extend_from_slice(aligned.to_be_bytes().get(..3usize.checked_sub(missing)?)?);
    }
    Some(out)
}

fn sextet(digit: u8) -> Option<u32> {
    Some(match digit {
        b'A'..=b'Z' => u32::from(digit.wrapping_sub(b'A')),
        b'a'..=b'z' => u32::from(digit.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => u32::from(digit.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test, as it should")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_a_bound() {
        const NOW: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        let table: &[(&str, Option<u64>, &str)] = &[
            ("0", Some(0), "at once"),
            (" 120 ", Some(120), "white space around"),
            ("99999999999999999999", Some(600), "beyond any number: the longest wait"),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10), "IMF-fixdate"),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10), "RFC 850"),
            ("Sun Nov  6 08:49:47 1994", Some(10), "asctime"),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0), "in the past"),
            ("Fri, 01 Jan 2100 00:00:00 GMT", Some(600), "a century away"),
            ("Sun, 06 Nov 1994 08:49:47 CET", None, "only GMT is a date"),
            ("Sun, 06 Nov 1994 08:49 GMT", None, "no seconds"),
            ("Sun, 06 Nov 1994 24:49:47 GMT", None, "no such hour"),
            ("Sun, 32 Nov 1994 08:49:47 GMT", None, "no such day"),
            ("Sun, 06 Non 1994 08:49:47 GMT", None, "no such month"),
            ("Sun, 06 Nov 1994 08:49:47 GMT x", None, "something behind"),
            ("1.5", None, "no fractions"),
            ("-1", None, "no signs"),
            ("", None, "empty"),
        ];
        for (input, seconds, why) in table {
            assert_eq!(retry_after(input.as_bytes(), NOW), seconds.map(|s| s * SECOND_NS), "{why}");
        }
    }

    #[test]
    fn days_follow_the_gregorian_calendar() {
        let table = [
            (1970, 1, 1, Some(0)),
            (1970, 12, 31, Some(364)),
            (2000, 2, 29, Some(11_016)),
            (2000, 3, 1, Some(11_017)),
            (2100, 3, 1, Some(47_541)),
            (1969, 12, 31, None),
            (0, 1, 1, None),
        ];
        for (year, month, day, expected) in table {
            assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn two_digits_are_a_year_near_ours() {
        assert_eq!(four_digits("94"), Some(1994));
        assert_eq!(four_digits("25"), Some(2025));
        assert_eq!(four_digits("194"), None);
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        let table: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("Zg", Some(b"f")),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYg", Some(b"foob")),
            ("+/8A", Some(&[0xfb, 0xff, 0x00])),
            ("Z", None),
            ("Zm9vY", None),
            ("Zm-v", None),
        ];
        for (input, expected) in table {
            assert_eq!(base64(input.as_bytes()).as_deref(), *expected, "{input}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_can_hurt(noise: Vec<u8>, now: u64) {
            let _ = (retry_after(&noise, now), retry_info(&noise));
        }

        #[test]
        fn a_date_is_never_read_from_words_in_disorder(words in "[A-Za-z0-9:, -]{0,40}") {
            let _ = http_date(words.as_bytes());
        }
    }
}
