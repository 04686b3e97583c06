//! Medians, quartiles, percentiles.

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// A quarter is below.
    pub low: f64,
    /// Half is below.
    pub median: f64,
    /// Three quarters are below.
    pub high: f64,
}

// === impl Summary ===

impl Summary {
    /// Of at least one value; all zero without any.
    pub fn of(values: &[f64]) -> Self {
        Self { low: percentile(values, 25.0), median: percentile(values, 50.0), high: percentile(values, 75.0) }
    }
}

/// The value below which so many percent lie, interpolated between neighbours; 0 without any.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = percent / 100.0 * sorted.len().saturating_sub(1) as f64;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or_default();
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// Each value less its partner of the same round.
pub fn differences(values: &[f64], base: &[f64]) -> Vec<f64> {
    values.iter().zip(base).map(|(value, base)| value - base).collect()
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
    fn what_drifts_alike_cancels_in_pairs() {
        let (base, other) = ([100.0, 200.0, 300.0], [110.0, 211.0, 312.0]);
        assert_eq!(Summary::of(&differences(&other, &base)), Summary { low: 10.5, median: 11.0, high: 11.5 });
    }
}
