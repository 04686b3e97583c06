//! Rejection thresholds of 56 bits, and the `ot` member of `tracestate` that carries them.
//!
//! OpenTelemetry specification, "TraceState: Probability Sampling" and "TraceState Handling":
//! ```text
//! ot  = sub-key ":" value *( ";" sub-key ":" value )       at most 256 characters
//! th  = 1*14 lower-case hex digits, right-padded with zeros to 56 bits: sampled iff R >= T
//! rv  = 14 lower-case hex digits: R, where the trace id's last 56 bits are not it
//! ```

use std::fmt;

/// Number of values of R and T: 2^56.
const RANGE: u64 = 1 << 56;
const DIGITS: usize = 14;
/// Significant hex digits of a threshold made from a probability, as SDKs do by default: exact to 1 in 65,536.
const PRECISION: u32 = 4;
/// Longest `ot` value.
const MAX_VALUE: usize = 256;

/// A rejection threshold T below 2^56: a span is kept iff R ≥ T, so its probability is (2^56 − T) / 2^56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u64);

/// The text of a threshold, without an allocation.
#[derive(Clone, Copy)]
pub struct Text {
    digits: [u8; DIGITS],
    length: usize,
}

/// The value of the `ot` member, as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtelState<'a> {
    value: &'a [u8],
    th: Option<Threshold>,
    rv: Option<u64>,
}

// === impl Threshold ===

impl Threshold {
    /// 100 %: rejects nothing.
    pub const ALWAYS: Self = Self(0);

    /// `None` if it is not below 2^56.
    pub const fn new(value: u64) -> Option<Self> {
        if value < RANGE { Some(Self(value)) } else { None }
    }

    /// The threshold of a probability from 0 to 1; `None` for what is never sampled (zero has no threshold).
    ///
    /// Rounded to four significant hex digits, leading `f`s and zeros not counted, so that extreme rates stay exact too.
    pub fn from_probability(probability: f64) -> Option<Self> {
        if probability.is_nan() || probability <= 0.0 {
            return None;
        }
        if probability >= 1.0 {
            return Some(Self::ALWAYS);
        }
        let rejected = ((1.0 - probability) * RANGE as f64).round() as u64;
        // Each leading `f` of T is a leading zero of the probability; its leading zeros are those of the complement.
        let leading = (-probability.min(1.0 - probability).log2() / 4.0).floor() as u32;
        let kept = leading.saturating_add(PRECISION).min(DIGITS as u32);
        let dropped_bits = (DIGITS as u32).saturating_sub(kept).saturating_mul(4);
        let half = if dropped_bits == 0 { 0 } else { 1u64 << dropped_bits.saturating_sub(1) };
        let rounded = (rejected.saturating_add(half) >> dropped_bits) << dropped_bits;
        // Rounding up to 2^56 would be "never".
        Some(Self::new(rounded).unwrap_or(Self(rejected.min(RANGE - 1))))
    }

    /// Whether a trace of randomness `r` is sampled.
    pub fn samples(self, r: u64) -> bool {
        r >= self.0
    }

    /// T as a number below 2^56.
    pub fn value(self) -> u64 {
        self.0
    }

    /// The inclusion probability, above 0 and at most 1.
    pub fn probability(self) -> f64 {
        RANGE.saturating_sub(self.0) as f64 / RANGE as f64
    }

    /// How many spans one sampled span stands for.
    pub fn adjusted_count(self) -> f64 {
        1.0 / self.probability()
    }

    /// 1 to 14 lower-case hex digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > DIGITS {
            return None;
        }
        let shift = DIGITS.saturating_sub(text.len()).saturating_mul(4) as u32;
        lower_hex(text).and_then(|value| value.checked_shl(shift)).map(Self)
    }

    /// Left-padded to 14 digits first, then stripped of zeros on the right; `0` for 100 %.
    pub fn text(self) -> Text {
        let mut digits = [b'0'; DIGITS];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            let nibble = (self.0 >> (place as u32).saturating_mul(4)) & 0xf;
            *digit = char::from_digit(nibble as u32, 16).map_or(b'0', |c| c as u8);
        }
        let length = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last.saturating_add(1));
        Text { digits, length }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.text().as_bytes()).unwrap_or_default())
    }
}

// === impl Text ===

impl Text {
    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }
}

// === impl OtelState ===

impl<'a> OtelState<'a> {
    /// Reads what is well-formed; a malformed `th` or `rv` counts as absent.
    pub fn parse(value: &'a [u8]) -> Self {
        let mut state = Self { value, th: None, rv: None };
        for (key, text) in sub_keys(value) {
            match key {
                b"th" if state.th.is_none() => state.th = Threshold::parse(text),
                b"rv" if state.rv.is_none() => state.rv = (text.len() == DIGITS).then(|| lower_hex(text)).flatten(),
                _ => {}
            }
        }
        state
    }

    /// The threshold that earlier stages applied.
    pub fn th(&self) -> Option<Threshold> {
        self.th
    }

    /// Whether there is a `th` at all, well-formed or not.
    pub fn has_threshold(&self) -> bool {
        sub_keys(self.value).any(|(key, _)| key == b"th")
    }

    /// Explicit randomness, never changed by a sampler.
    pub fn rv(&self) -> Option<u64> {
        self.rv
    }

    /// The value with another threshold, or without one; other sub-keys stay in their order. `None`: nothing is left, the
    /// member goes. A threshold that would not fit into 256 characters is left out.
    pub fn with_threshold(&self, threshold: Option<Threshold>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.value.len().saturating_add(20));
        if let Some(threshold) = threshold {
            out.extend_from_slice(b"th:");
            out.extend_from_slice(threshold.text().as_bytes());
        }
        let own = out.len();
        for part in self.value.split(|byte| *byte == b';').filter(|part| !part.is_empty() && !part.starts_with(b"th:"))
        {
            if !out.is_empty() {
                out.push(b';');
            }
            out.extend_from_slice(part);
        }
        if own > 0 && out.len() > MAX_VALUE {
            out.drain(..own.saturating_add(1).min(out.len()));
        }
        (!out.is_empty()).then_some(out)
    }
}

fn sub_keys(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').filter_map(|part| {
        let colon = part.iter().position(|byte| *byte == b':')?;
        Some((part.get(..colon)?, part.get(colon.saturating_add(1)..)?))
    })
}

/// At most 14 lower-case hex digits.
fn lower_hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' | b'a'..=b'f' => (*byte as char).to_digit(16).map(|digit| (value << 4) | u64::from(digit)),
        _ => None,
    })
}
