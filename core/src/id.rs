//! Trace and span identifiers: their types exclude zero; as text they are lower-case hex.
//!
//! W3C Trace Context level 2, "trace-id" and "parent-id": all-zero values are invalid, letters are lower-case.

use std::fmt;

/// Where random bytes come from. The core never asks the host for them itself.
pub trait Entropy {
    /// Fills `out` with uniform random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// A 128-bit trace id that is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// A 64-bit span id that is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

// === impl TraceId ===

impl TraceId {
    /// `None` if every byte is zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Exactly 32 lower-case hex digits, not all zero.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        Self::new(decode_lower_hex(text)?)
    }

    /// Exactly 16 lower-case hex digits, not all zero: a 64-bit id of B3, padded with zeros on the left.
    pub fn from_hex_64(text: &[u8]) -> Option<Self> {
        let low: [u8; 8] = decode_lower_hex(text)?;
        Self::from_halves(0, u64::from_be_bytes(low))
    }

    /// The upper and the lower 64 bits.
    pub fn from_halves(high: u64, low: u64) -> Option<Self> {
        Self::new(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// A new uniformly random id.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        // Zero is invalid; a host without entropy must still get a valid id.
        Self::new(bytes).unwrap_or(Self([1; 16]))
    }

    /// Whether both ids name one trace: they are equal, or equal in the lower 64 bits where one of them has no more.
    pub fn is_same_trace(self, other: Self) -> bool {
        self == other || (self.low64() == other.low64() && (self.high64() == 0 || other.high64() == 0))
    }

    /// Big-endian bytes, as OTLP wants them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 lower-case hex digits.
    pub fn hex(&self) -> [u8; 32] {
        let mut out = [0; 32];
        // Cannot fail: the buffer has twice the length.
        let _ = hex::encode_to_slice(self.0, &mut out);
        out
    }

    /// The upper 64 bits.
    pub fn high64(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// The lower 64 bits.
    pub fn low64(&self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }

    /// The right-most 56 bits: the randomness R of consistent probability sampling, in `0..2^56`.
    pub fn randomness(&self) -> u64 {
        self.low64() & ((1 << 56) - 1)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl SpanId ===

impl SpanId {
    /// `None` if every byte is zero.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Exactly 16 lower-case hex digits, not all zero.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        Self::new(decode_lower_hex(text)?)
    }

    /// A new uniformly random id.
    pub fn random(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        Self::new(bytes).unwrap_or(Self([1; 8]))
    }

    /// Big-endian bytes, as OTLP wants them.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// 16 lower-case hex digits.
    pub fn hex(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let _ = hex::encode_to_slice(self.0, &mut out);
        out
    }

    /// The id as a number, for formats that write it in decimal.
    pub fn to_u64(&self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// `None` for zero.
    pub fn from_u64(value: u64) -> Option<Self> {
        Self::new(value.to_be_bytes())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.to_u64())
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Exactly `2 * N` lower-case hex digits. (`hex::decode_to_slice` would take upper-case letters too, which W3C forbids.)
pub fn decode_lower_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    // All digits are checked at the end instead of one by one, because nearly all ids are valid.
    let mut wrong = 0;
    let out = pairs.map(|[high, low]| {
        let (high, low) = (digit(high), digit(low));
        wrong |= high | low;
        (high << 4) | low
    });
    (wrong < 16).then_some(out)
}

/// The value of a lower-case hex digit, 255 of anything else.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte.wrapping_sub(b'0'),
        b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
        _ => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_hex_of_exact_length_and_never_zero() {
        let table: &[(&str, bool)] = &[
            ("4bf92f3577b34da6a3ce929d0e0e4736", true),
            ("00000000000000000000000000000001", true),
            ("00000000000000000000000000000000", false),
            ("4BF92F3577B34DA6A3CE929D0E0E4736", false),
            ("4bf92f3577b34da6a3ce929d0e0e473", false),
            ("4bf92f3577b34da6a3ce929d0e0e47366", false),
            ("4bf92f3577b34da6a3ce929d0e0e473g", false),
            ("", false),
        ];
        for (text, valid) in table {
            let parsed = TraceId::from_hex(text.as_bytes());
            assert_eq!(parsed.is_some(), *valid, "{text}");
            if let Some(id) = parsed {
                assert_eq!(id.hex(), text.as_bytes());
                assert_eq!(id.to_string(), *text);
            }
        }
        assert_eq!(SpanId::from_hex(b"0000000000000000"), None);
        assert_eq!(SpanId::from_hex(b"00f067aa0ba902b7").map(|id| id.to_string()).as_deref(), Some("00f067aa0ba902b7"));
    }

    #[test]
    fn short_ids_are_padded_on_the_left_and_randomness_is_the_low_56_bits() {
        let id = TraceId::from_hex_64(b"a3ce929d0e0e4736").expect("valid");
        assert_eq!(id.to_string(), "0000000000000000a3ce929d0e0e4736");
        assert_eq!(id.randomness(), 0xce929d0e0e4736);
        assert_eq!((id.high64(), id.low64()), (0, 0xa3ce929d0e0e4736));
    }
}
