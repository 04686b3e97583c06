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
/// Significant hex digits of a threshold made from a probability, as SDKs do by default: exact to 1 in 8,192 or better.
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
    /// There is an `rv` that is not 14 lower-case hex digits.
    malformed_rv: bool,
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
        // Not from 1 − p: a small p would lose digits.
        let rejected = RANGE.saturating_sub((probability * RANGE as f64).round() as u64);
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
        let mut state = Self { value, th: None, rv: None, malformed_rv: false };
        for (key, text) in sub_keys(value) {
            match key {
                b"th" if state.th.is_none() => state.th = Threshold::parse(text),
                b"rv" => match randomness(text) {
                    Some(rv) => state.rv = state.rv.or(Some(rv)),
                    None => state.malformed_rv = true,
                },
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

    /// Whether there is an `rv` that is no randomness value. It is not used and, because nobody else can use it either, not sent
    /// on: what must not be erased is an explicit randomness value (OpenTelemetry, "TraceState: Probability Sampling").
    pub fn has_malformed_rv(&self) -> bool {
        self.malformed_rv
    }

    /// Explicit randomness, never changed by a sampler.
    pub fn rv(&self) -> Option<u64> {
        self.rv
    }

    /// The value with another threshold, or without one, and without a malformed `rv`; other sub-keys stay in their order. `None`: nothing is left, the
    /// member goes. A threshold that would not fit into 256 characters is left out.
    pub fn with_threshold(&self, threshold: Option<Threshold>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.value.len().saturating_add(20));
        if let Some(threshold) = threshold {
            out.extend_from_slice(b"th:");
            out.extend_from_slice(threshold.text().as_bytes());
        }
        let own = out.len();
        for part in self.value.split(|byte| *byte == b';').filter(|part| is_passed_on(part)) {
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

/// Whether a sub-key belongs to others, or is an `rv` that has a meaning.
fn is_passed_on(part: &[u8]) -> bool {
    let malformed = |text| randomness(text).is_none();
    !part.is_empty() && !part.starts_with(b"th:") && !part.strip_prefix(b"rv:").is_some_and(malformed)
}

fn sub_keys(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').filter_map(|part| {
        let colon = part.iter().position(|byte| *byte == b':')?;
        Some((part.get(..colon)?, part.get(colon.saturating_add(1)..)?))
    })
}

/// The value of `rv`: exactly 14 lower-case hex digits.
fn randomness(text: &[u8]) -> Option<u64> {
    if text.len() == DIGITS { lower_hex(text) } else { None }
}

/// At most 14 lower-case hex digits.
fn lower_hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' | b'a'..=b'f' => (*byte as char).to_digit(16).map(|digit| (value << 4) | u64::from(digit)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(probability: f64) -> Threshold {
        Threshold::from_probability(probability).expect("above zero")
    }

    fn text(value: Option<Vec<u8>>) -> Option<String> {
        value.map(|value| String::from_utf8(value).expect("text"))
    }

    #[test]
    fn probabilities_have_the_thresholds_of_the_specification() {
        // One in n, th with four significant digits, adjusted count: "TraceState: Probability Sampling", table of examples.
        let table = [
            (1.0, "0", 1.0),
            (2.0, "8", 2.0),
            (3.0, "aaab", 3.00004577706569),
            (4.0, "c", 4.0),
            (5.0, "cccd", 5.0000762951094835),
            (8.0, "e", 8.0),
            (10.0, "e666", 9.99938968568813),
            (16.0, "f", 16.0),
            (100.0, "fd70a", 99.99771123402633),
            (1_000.0, "ffbe77", 1_000.012874769029),
            (10_000.0, "fff9724", 9_999.830725674266),
            (100_000.0, "ffff583a", 99_999.238556461),
            (1_000_000.0, "ffffef39", 999_992.38556461),
        ];
        for (one_in, th, count) in table {
            let threshold = of(1.0 / one_in);
            assert_eq!(threshold.to_string(), th, "1 in {one_in}");
            assert_eq!(Threshold::parse(th.as_bytes()), Some(threshold), "1 in {one_in}");
            let error = (threshold.adjusted_count() / count - 1.0).abs();
            assert!(error < 1e-9, "1 in {one_in}: {} is not {count}", threshold.adjusted_count());
        }
    }

    #[test]
    fn thresholds_are_those_of_other_implementations_up_to_the_rounding() {
        // Ratios and exact 56-bit thresholds, as OpenTelemetry's Java implementation computes them.
        let table = [
            (0.5, 36_028_797_018_963_968u64),
            (0.25, 54_043_195_528_445_952),
            (0.125, 63_050_394_783_186_944),
            (0.45, 39_631_676_720_860_364),
            (0.2, 57_646_075_230_342_348),
            (0.13, 62_690_106_812_997_304),
            (0.05, 68_454_714_336_031_539),
        ];
        for (probability, exact) in table {
            let leading = if probability < 1.0 / 16.0 { 1 } else { 0 };
            let half_a_digit = 1u64 << (4 * (DIGITS - 4 - leading) - 1);
            assert!(of(probability).value().abs_diff(exact) <= half_a_digit, "{probability}");
        }
    }

    #[test]
    fn extreme_probabilities_keep_their_meaning() {
        for never in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Threshold::from_probability(never), None, "{never}");
        }
        for always in [1.0, 1.5, f64::INFINITY] {
            assert_eq!(of(always), Threshold::ALWAYS, "{always}");
        }
        for smallest in [2f64.powi(-56), 2f64.powi(-60), f64::MIN_POSITIVE, 5e-324] {
            assert_eq!(of(smallest).to_string(), "ffffffffffffff", "{smallest}: not zero, so not never");
        }
        assert_eq!(of(0.999).to_string(), "004189", "leading zeros are not significant");
    }

    #[test]
    fn zeros_on_the_left_stay_and_zeros_on_the_right_go() {
        let table = [
            (0x08000000000000, "08", "not 8, which is one in two"),
            (0x80000000000000, "8", ""),
            (0x03a436f7842456, "03a436f7842456", ""),
            (0x00000000000001, "00000000000001", ""),
            (0x00100000000010, "0010000000001", ""),
            (0xffffffffffffff, "ffffffffffffff", ""),
            (0, "0", "100 %"),
        ];
        for (value, th, why) in table {
            let threshold = Threshold::new(value).expect("below 2^56");
            assert_eq!(threshold.to_string(), th, "{why}");
            assert_eq!(Threshold::parse(th.as_bytes()), Some(threshold), "{why}");
        }
        assert_eq!(Threshold::new(RANGE), None);
    }

    #[test]
    fn only_one_to_fourteen_lower_case_digits_are_a_threshold() {
        let table: &[(&[u8], Option<u64>, &str)] = &[
            (b"8", Some(0x80000000000000), "padded on the right"),
            (b"08", Some(0x08000000000000), ""),
            (b"80000000000000", Some(0x80000000000000), "zeros on the right do not matter"),
            (b"00000000000000", Some(0), ""),
            (b"", None, "empty"),
            (b"800000000000000", None, "15 digits"),
            (b"A", None, "upper case"),
            (b"0x8", None, "prefix"),
            (b" 8", None, "space"),
            (b"-8", None, "sign"),
            (b"8g", None, "not a digit"),
            (b"\xff", None, "not text"),
        ];
        for (input, expected, why) in table {
            assert_eq!(Threshold::parse(input).map(Threshold::value), *expected, "{input:?} {why}");
        }
    }

    #[test]
    fn a_span_is_sampled_iff_its_randomness_is_not_below() {
        let half = Threshold::parse(b"8").expect("valid");
        for (r, expected) in [(0, false), (0x7fffffffffffff, false), (0x80000000000000, true), (RANGE - 1, true)] {
            assert_eq!(half.samples(r), expected, "{r:x}");
            assert!(Threshold::ALWAYS.samples(r));
        }
    }

    #[test]
    fn sub_keys_are_read_wherever_they_stand_and_malformed_ones_are_absent() {
        const RV: u64 = 0x6e6d1a75832a2f;
        let table: &[(&str, Option<u64>, Option<u64>, bool)] = &[
            ("th:8", Some(0x80000000000000), None, true),
            ("rv:6e6d1a75832a2f", None, Some(RV), false),
            ("th:fd70a;rv:6e6d1a75832a2f", Some(0xfd70a000000000), Some(RV), true),
            ("a:b;rv:6e6d1a75832a2f;x:th;th:0", Some(0), Some(RV), true),
            ("rv:6e6d1a75832a2", None, None, false),
            ("rv:6e6d1a75832a2f0", None, None, false),
            ("rv:6E6D1A75832A2F", None, None, false),
            ("th:", None, None, true),
            ("th:zz", None, None, true),
            ("th", None, None, false),
            ("xth:8", None, None, false),
            ("TH:8", None, None, false),
            (";;th:8;", Some(0x80000000000000), None, true),
            ("", None, None, false),
        ];
        for (value, th, rv, has) in table {
            let state = OtelState::parse(value.as_bytes());
            assert_eq!(state.th().map(Threshold::value), *th, "{value}");
            assert_eq!(state.rv(), *rv, "{value}");
            assert_eq!(state.has_threshold(), *has, "{value}");
            assert_eq!(state.has_malformed_rv(), value.starts_with("rv:") && rv.is_none(), "{value}");
        }
    }

    #[test]
    fn a_changed_threshold_leaves_other_sub_keys_as_they_are() {
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            ("", Some("8"), Some("th:8")),
            ("", None, None),
            ("th:fd70a", Some("0"), Some("th:0")),
            ("th:fd70a", None, None),
            ("th:zz;th:8", None, None),
            ("rv:6e6d1a75832a2f", Some("fd70a"), Some("th:fd70a;rv:6e6d1a75832a2f")),
            ("rv:6e6d1a75832a2f", None, Some("rv:6e6d1a75832a2f")),
            ("rv:6e6d1a75832a2", None, None),
            ("rv:6E6D1A75832A2F;a:b", None, Some("a:b")),
            ("th:8;rv:;rv:6e6d1a75832a2f;rvx:1", Some("8"), Some("th:8;rv:6e6d1a75832a2f;rvx:1")),
            ("p:1;th:8;rv:6e6d1a75832a2f;zz:A.b-_", Some("c"), Some("th:c;p:1;rv:6e6d1a75832a2f;zz:A.b-_")),
            ("p:1;th:8;zz:2", None, Some("p:1;zz:2")),
            ("xth:8;thx:9", None, Some("xth:8;thx:9")),
        ];
        for (value, th, expected) in table {
            let th = th.map(|th| Threshold::parse(th.as_bytes()).expect("valid"));
            let changed = text(OtelState::parse(value.as_bytes()).with_threshold(th));
            assert_eq!(changed.as_deref(), *expected, "{value} {th:?}");
        }
    }

    #[test]
    fn a_threshold_that_does_not_fit_is_left_out_and_nothing_else() {
        let half = Threshold::parse(b"8");
        for (length, fits) in [(251, true), (252, false), (256, false), (300, false)] {
            let value = format!("x:{}", "y".repeat(length - 2));
            let with = text(OtelState::parse(value.as_bytes()).with_threshold(half));
            assert_eq!(with, Some(if fits { format!("th:8;{value}") } else { value.clone() }), "{length}");
            let without = text(OtelState::parse(value.as_bytes()).with_threshold(None));
            assert_eq!(without, Some(value), "{length}");
        }
    }

    proptest! {
        #[test]
        fn thresholds_come_back_from_their_text(value in 0..RANGE) {
            let threshold = Threshold::new(value).expect("below 2^56");
            prop_assert_eq!(Threshold::parse(threshold.text().as_bytes()), Some(threshold));
        }

        #[test]
        fn rounding_costs_at_most_one_in_8192(exponent in -40.0f64..0.0) {
            let probability = exponent.exp2();
            let error = (of(probability).probability() / probability - 1.0).abs();
            prop_assert!(error <= 1.0 / 8_192.0, "{}: {}", probability, error);
        }

        #[test]
        fn any_value_is_survived_and_rv_never_changes(value in prop::collection::vec(any::<u8>(), 0..300), rv in 0..RANGE) {
            let state = OtelState::parse(&value);
            let _ = (state.th(), state.with_threshold(None), state.with_threshold(Threshold::new(rv)));
            let ours = format!("rv:{rv:014x}");
            let changed = OtelState::parse(ours.as_bytes()).with_threshold(Threshold::new(rv)).expect("not empty");
            prop_assert_eq!(OtelState::parse(&changed).rv(), Some(rv));
            prop_assert_eq!(OtelState::parse(&changed).th(), Threshold::new(rv));
        }
    }
}
