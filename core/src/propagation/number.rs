//! Numbers as the older formats write them: unpadded hex and unsigned decimal.

/// 1 to `max` hex digits of either case, at most 32.
pub(super) fn hex(text: &[u8], max: usize) -> Option<u128> {
    if text.is_empty() || text.len() > max.min(32) {
        return None;
    }
    text.iter().try_fold(0u128, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some((number << 4) | u128::from(digit))
    })
}

/// Decimal digits and nothing else, within 64 bits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
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
            assert_eq!(decimal(text.as_bytes()), expected, "{text}");
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
            assert_eq!(hex(text.as_bytes(), max), expected, "{text}");
        }
    }
}
