//! Statistics: medians, quartiles, percentiles, ratios.

use std::fmt;

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    /// The first quartile.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The third quartile.
    pub high: f64,
}

// === impl Summary ===

impl Summary {
    /// Summarizes values; all zero if there are none.
    pub(super) fn of(values: &[f64]) -> Self {
        Self { low: percentile(values, 25.0), median: percentile(values, 50.0), high: percentile(values, 75.0) }
    }
}

/// A percentile, interpolated between neighbours; 0 if there are no values.
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = percent / 100.0 * sorted.len().saturating_sub(1) as f64;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or_default();
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// Each value less the base value of the same round.
pub(super) fn differences(values: &[f64], base: &[f64]) -> Vec<f64> {
    values.iter().zip(base).map(|(value, base)| value - base).collect()
}

/// The ratio of two medians, with its 5th and 95th percentile over resampled rounds (bootstrap).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// The ratio over all rounds.
    pub value: f64,
    low: f64,
    high: f64,
}

/// The ratio of `of` to `to`, both by round. A constant that was not measured by round is added to each.
pub(super) fn ratio((of, plus_of): (&[f64], f64), (to, plus_to): (&[f64], f64)) -> Ratio {
    let mut draws = Draws(1);
    let mut resample = || {
        let rounds: Vec<usize> = of.iter().map(|_| draws.below(of.len())).collect();
        let median = |values: &[f64]| {
            let drawn: Vec<f64> = rounds.iter().filter_map(|n| values.get(*n).copied()).collect();
            percentile(&drawn, 50.0)
        };
        (median(of) + plus_of) / (median(to) + plus_to)
    };
    let resampled: Vec<f64> = (0..1000).map(|_| resample()).collect();
    Ratio {
        value: (percentile(of, 50.0) + plus_of) / (percentile(to, 50.0) + plus_to),
        low: percentile(&resampled, 5.0),
        high: percentile(&resampled, 95.0),
    }
}

/// Random numbers for resampling (xorshift64).
struct Draws(u64);

// === impl Ratio, Draws ===

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.value, self.low, self.high)
    }
}

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        let table: &[(&[f64], f64, f64)] = &[
            (&[], 50.0, 0.0),
            (&[7.0], 99.0, 7.0),
            (&[3.0, 1.0, 2.0], 50.0, 2.0),
            (&[1.0, 2.0, 3.0, 4.0], 50.0, 2.5),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 25.0, 2.0),
            (&[1.0, 2.0], 100.0, 2.0),
        ];
        for (values, percent, expected) in table {
            assert_eq!(percentile(values, *percent), *expected, "{values:?} {percent}");
        }
    }

    #[test]
    fn common_drift_cancels_in_differences() {
        let (base, other) = ([100.0, 200.0, 300.0], [110.0, 211.0, 312.0]);
        assert_eq!(Summary::of(&differences(&other, &base)), Summary { low: 10.5, median: 11.0, high: 11.5 });
    }

    #[test]
    fn a_ratio_is_that_of_medians_and_its_interval_that_of_the_rounds() {
        let exact = ratio((&[2.0, 2.0, 2.0], 1.0), (&[4.0, 4.0, 4.0], 2.0));
        assert_eq!(exact.to_string(), "0.50 (0.50 to 0.50)");
        let loose = ratio((&[1.0, 2.0, 9.0], 0.0), (&[1.0, 1.0, 1.0], 0.0));
        assert_eq!((loose.value, loose.low, loose.high), (2.0, 1.0, 9.0));
    }
}
