//! Dates (RFC 9110 section 5.6.7), in all three forms that a recipient must accept:
//!
//! ```text
//! IMF-fixdate  = day-name "," SP 2DIGIT SP month SP 4DIGIT SP time SP "GMT"      Sun, 06 Nov 1994 08:49:37 GMT
//! rfc850-date  = day-name-l "," SP 2DIGIT "-" month "-" 2DIGIT SP time SP "GMT"  Sunday, 06-Nov-94 08:49:37 GMT
//! asctime-date = day-name SP month SP ( 2DIGIT / SP DIGIT ) SP time SP 4DIGIT    Sun Nov  6 08:49:37 1994
//! ```

use super::number::parse_saturating;

/// Seconds from the Unix epoch to a date. The name of the day is not checked. `None` for anything that is not a date, and
/// before 1970.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
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

/// A year of two digits is between 1970 and 2069.
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

/// A number of at most `max`.
fn small(text: &str, max: u64) -> Option<u64> {
    parse_saturating(text.as_bytes()).map(u64::from).filter(|number| *number <= max)
}

/// Days since 1970-01-01 in the Gregorian calendar; `None` before it. The calculation begins years in March, so that a leap
/// day is the last day of a year.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let before_month = month.checked_mul(153)?.checked_add(2)? / 5;
    let days = year.checked_mul(365)?.checked_add(leap_days)?.checked_add(before_month)?.checked_add(day)?;
    // 1 March of year 0 to 1 January 1970 is 719,468 days; `day` counts from 1.
    days.checked_sub(719_469)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test, as it should")]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_date_has_a_time_and_at_least_four_words(words in "[A-Za-z0-9:, -]{0,40}") {
            let enough = words.split([' ', '-']).count() >= 4 && words.matches(':').count() == 2;
            prop_assert!(parse(words.as_bytes()).is_none() || enough);
        }
    }
}
