//! How many spans an exported one stands for, by the `th` member of its `tracestate`.
//!
//! OpenTelemetry, "TraceState: Probability Sampling": `th` is the 56-bit rejection threshold in hexadecimal with zeros on
//! the right left out; the adjusted count is 2⁵⁶ / (2⁵⁶ − th). This code is independent of the filter's, so that it can check the filter.

use sidespan_harness::ReceivedSpan;

/// An adjusted count.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AdjustedCount {
    /// The threshold as written, and the count.
    Known {
        /// Hexadecimal digits.
        th: String,
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

/// The adjusted count in a `tracestate`.
pub(super) fn of(trace_state: &str) -> AdjustedCount {
    let Some(th) = threshold(trace_state).filter(|th| !th.is_empty() && th.len() <= 14) else {
        return AdjustedCount::Unknown;
    };
    match u64::from_str_radix(th, 16) {
        Ok(digits) => {
            let rejected = digits << (4 * (14 - th.len()));
            let all = (1_u64 << 56) as f64;
            AdjustedCount::Known { th: th.to_owned(), count: all / (all - rejected as f64) }
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
                AdjustedCount::Known { count, .. } => {
                    estimate.sum += count;
                    variance += count * (count - 1.0);
                }
                AdjustedCount::Unknown => estimate.unknown += 1,
            }
        }
        estimate.error = variance.sqrt();
        estimate
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
                (AdjustedCount::Known { count, .. }, Some(expected)) => {
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
}
