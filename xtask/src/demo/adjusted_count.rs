//! How many spans an exported one stands for, by the `th` member of its `tracestate`.
//!
//! OpenTelemetry, "TraceState: Probability Sampling": `th` is the 56-bit rejection threshold in hexadecimal with zeros on
//! the right left out; the adjusted count is 2⁵⁶ / (2⁵⁶ − th). This code is independent of the filter's, so that it can check the filter.

use sidespan_harness::ReceivedSpan;

/// An adjusted count.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AdjustedCount {
    /// There is a threshold.
    Known {
        /// At least 1.
        count: f64,
    },
    /// There is no readable threshold.
    Unknown,
}

/// A sum of adjusted counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Estimate {
    /// Number of spans.
    pub spans: usize,
    /// Spans without a threshold; the sum leaves them out.
    pub unknown: usize,
    /// The sum.
    pub sum: f64,
    /// Its standard error, as estimated from the same spans.
    pub error: f64,
}

/// What a sum of adjusted counts says about the true count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Certainty {
    /// There are no spans, so it says nothing.
    NoSpans,
    /// Some spans have no threshold: the true count is probably higher than the sum.
    Partial,
    /// Every span was kept with probability 1: the sum is a count.
    Counted,
    /// The spans are a sample: the limits of the confidence interval of 95 %.
    Sampled {
        /// At least the number of spans.
        low: f64,
        /// Upper limit.
        high: f64,
    },
}

/// Standard errors on each side of an estimate for a confidence of 95 % (normal distribution).
const Z_95: f64 = 1.96;

/// The adjusted count in a `tracestate`.
pub(super) fn of(trace_state: &str) -> AdjustedCount {
    let Some(th) = threshold(trace_state).filter(|th| !th.is_empty() && th.len() <= 14) else {
        return AdjustedCount::Unknown;
    };
    match u64::from_str_radix(th, 16) {
        Ok(digits) => {
            let rejected = digits << (4 * (14 - th.len()));
            let all = (1_u64 << 56) as f64;
            AdjustedCount::Known { count: all / (all - rejected as f64) }
        }
        Err(_) => AdjustedCount::Unknown,
    }
}

fn threshold(trace_state: &str) -> Option<&str> {
    let member = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    member.split(';').find_map(|part| part.strip_prefix("th:"))
}

// === impl Estimate ===

impl Estimate {
    /// Adds up the counts. The standard error assumes that each span was kept independently, with the probability 1 / count.
    pub(super) fn of<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> Self {
        let mut estimate = Self::default();
        let mut variance = 0.0;
        for span in spans {
            estimate.spans += 1;
            match of(&span.trace_state) {
                AdjustedCount::Known { count } => {
                    estimate.sum += count;
                    variance += count * (count - 1.0);
                }
                AdjustedCount::Unknown => estimate.unknown += 1,
            }
        }
        estimate.error = variance.sqrt();
        estimate
    }

    /// What it says about the true count.
    pub(super) fn certainty(&self) -> Certainty {
        match (self.spans, self.unknown) {
            (0, _) => Certainty::NoSpans,
            (_, 1..) => Certainty::Partial,
            (_, 0) if self.error == 0.0 => Certainty::Counted,
            (spans, 0) => {
                let (low, high) = self.score_interval();
                Certainty::Sampled { low: low.max(spans as f64), high }
            }
        }
    }

    /// The score interval (Wilson): all true counts `n` with (n − sum)² ≤ z² · d · n, where d is the variance for each counted request.
    /// Unlike sum ± z · error it is good for few spans too.
    fn score_interval(&self) -> (f64, f64) {
        let dispersion = self.error * self.error / self.sum;
        let shift = Z_95 * Z_95 * dispersion / 2.0;
        let margin = (2.0 * shift * self.sum + shift * shift).sqrt();
        (self.sum + shift - margin, self.sum + shift + margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::span;
    use sidespan_harness::span::Kind;

    #[test]
    fn the_count_is_the_inverse_of_the_probability() {
        let table = [
            ("ot=th:0", Some(1.0), "all are kept"),
            ("ot=th:8", Some(2.0), "one of two"),
            ("ot=th:f3333333333333", Some(20.0), "5 %"),
            ("a=b, ot=rv:0123456789abcd;th:c", Some(4.0), "other members and keys"),
            ("ot=rv:0123456789abcd", None, "no threshold"),
            ("ot=th:", None, "empty"),
            ("ot=th:xyz", None, "no hex"),
            ("ot=th:000000000000000", None, "15 digits"),
            ("", None, "nothing"),
        ];
        for (trace_state, expected, why) in table {
            match (of(trace_state), expected) {
                (AdjustedCount::Known { count }, Some(expected)) => {
                    assert!((count - expected).abs() < 1e-9, "{why}: {count}")
                }
                (found, expected) => assert!(found == AdjustedCount::Unknown && expected.is_none(), "{why}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_is_kept_for_certain_adds_no_error() {
        let states = ["ot=th:0", "ot=th:0", "ot=th:8", ""];
        let spans =
            states.map(|state| ReceivedSpan { trace_state: state.to_owned(), ..span("t", "a", "", "s", Kind::Server) });
        let estimate = Estimate::of(&spans);
        assert_eq!((estimate.spans, estimate.unknown, estimate.sum), (4, 1, 4.0));
        assert!((estimate.error - 2.0_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn an_estimate_says_how_certain_it_is() {
        let of = |states: &[&str]| {
            let span = |state: &&str| ReceivedSpan {
                trace_state: (*state).to_owned(),
                ..span("t", "a", "", "s", Kind::Server)
            };
            Estimate::of(&states.iter().map(span).collect::<Vec<_>>()).certainty()
        };
        assert_eq!(of(&[]), Certainty::NoSpans, "no spans are no proof that nothing happened");
        assert_eq!(of(&["ot=th:0", "ot=th:0"]), Certainty::Counted);
        assert_eq!(of(&["ot=th:0", ""]), Certainty::Partial);
        let Certainty::Sampled { low, high } = of(&["ot=th:c"; 12]) else { panic!("a sample") };
        // 12 spans with the count 4: the sum is 48, its variance 12 · 4 · 3, so d = 3.
        assert!((low - 29.55).abs() < 0.01 && (high - 77.98).abs() < 0.01, "{low} {high}");
        for limit in [low, high] {
            assert!(
                ((limit - 48.0).powi(2) - Z_95 * Z_95 * 3.0 * limit).abs() < 1e-6,
                "{limit} is where the difference is significant"
            );
        }
    }
}
