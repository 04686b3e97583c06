//! Numbers as text: unpadded hexadecimal and unsigned decimal are read, floating-point numbers are written.

/// Reads 1 to `max` hex digits (at most 32) of either case; `None` for anything else.
pub(crate) fn parse_hex(text: &[u8], max: usize) -> Option<u128> {
    if text.is_empty() || text.len() > max.min(32) {
        return None;
    }
    text.iter().try_fold(0u128, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some((number << 4) | u128::from(digit))
    })
}

/// Reads decimal digits and nothing else; `None` for anything else and above 64 bits.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Reads decimal digits and nothing else; a number above 32 bits becomes the largest one.
pub(crate) fn parse_saturating(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(text).ok()?.parse().unwrap_or(u32::MAX))
}

/// Writes a number in its shortest form: `1`, `0.5`, `1e-7`, and `NaN`, `Infinity`, `-Infinity`.
///
/// serde_json, which has to print numbers anyway, does the work: the standard library's printing of floats adds 15 kB to the
/// module.
pub(crate) fn print_double(number: f64) -> String {
    let text = serde_json::Number::from_f64(number).map(|number| number.to_string());
    let text = text.unwrap_or_else(|| {
        if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned()
    });
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only_and_never_overflow() {
        for (text, expected) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("00000000000000000000000007", Some(7)),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("a", None),
        ] {
            assert_eq!(parse_decimal(text.as_bytes()), expected, "{text}");
        }
        for (text, max, expected) in [
            ("0", 16, Some(0)),
            ("Ff", 16, Some(255)),
            ("ffffffffffffffffffffffffffffffff", 32, Some(u128::MAX)),
            ("ffffffffffffffffffffffffffffffff0", 40, None),
            ("12345", 4, None),
            ("", 16, None),
            ("0x1", 16, None),
            ("g", 16, None),
        ] {
            assert_eq!(parse_hex(text.as_bytes(), max), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_in_their_shortest_form() {
        for (number, expected) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (1e-7, "1e-7"),
            (-2.0, "-2"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(print_double(number), expected);
        }
    }
}
