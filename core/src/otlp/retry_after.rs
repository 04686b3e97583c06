//! How long a receiver asks its clients to wait before they send again.
//!
//! ```text
//! Retry-After             = HTTP-date / delay-seconds            over HTTP, RFC 9110 section 10.2.3
//! grpc-status-details-bin = base64 of google.rpc.Status          over gRPC, `google/rpc/error_details.proto`, `RetryInfo`
//! ```

use super::wire::{Field, Fields};
use crate::http::{date, headers, number};

/// The longest wait that is honoured, in seconds: a mistake in a date must not stop the exporter for a year.
const MAX_WAIT_S: u64 = 600;
const SECOND_NS: u64 = 1_000_000_000;

/// `google.rpc.Status { details = 3: Any { type_url = 1, value = 2 } }` holding
/// `google.rpc.RetryInfo { retry_delay = 1: Duration { seconds = 1, nanos = 2 } }`, from the header `grpc-status-details-bin`.
/// Returns nanoseconds; `None` if there is no such detail.
pub(super) fn from_grpc_details(header: &[u8]) -> Option<u64> {
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

/// The header `Retry-After`: whole seconds, or a date, which is compared with `now_s`. Returns nanoseconds.
pub(super) fn from_header(value: &[u8], now_s: u64) -> Option<u64> {
    let value = headers::trim(value);
    let seconds =
        number::parse_saturating(value).map(u64::from).or_else(|| Some(date::parse(value)?.saturating_sub(now_s)))?;
    Some(seconds.min(MAX_WAIT_S).saturating_mul(SECOND_NS))
}

/// Decodes base64 of the standard alphabet (RFC 4648 section 4), padded or not, as gRPC sends binary headers.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.chunks(4) {
        let bits = chunk.iter().try_fold(0u32, |bits, digit| Some((bits << 6) | sextet(*digit)?))?;
        // 4, 3 or 2 digits encode 3, 2 or 1 bytes; one digit alone encodes nothing.
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
            assert_eq!(from_header(input.as_bytes(), NOW), seconds.map(|s| s * SECOND_NS), "{why}");
        }
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
        fn any_bytes_ask_for_a_bounded_wait(noise: Vec<u8>, now: u64) {
            for wait in [from_header(&noise, now), from_grpc_details(&noise)] {
                prop_assert!(wait.is_none_or(|wait| wait < (MAX_WAIT_S + 1) * SECOND_NS));
            }
        }
    }
}
