//! Times of one kind, in milliseconds, summed up.

use serde::Serialize;

use crate::spread::percentile;

/// Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Number of runs.
    pub runs: usize,
    /// The shortest.
    pub min_ms: f64,
    /// Of an even number the mean of the middle two.
    pub median_ms: f64,
    /// A run's value: nine of ten took at most as long.
    pub p90_ms: f64,
    /// A run's value: of a hundred runs ninety-nine took at most as long; of fewer the longest.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// All of them, sorted.
    pub all_ms: Vec<f64>,
}

impl Figures {
    /// Sorts and sums up.
    #[must_use]
    pub fn new(mut all_ms: Vec<f64>) -> Self {
        all_ms.sort_by(f64::total_cmp);
        let count = all_ms.len();
        let at = |position: usize| all_ms.get(position).copied().unwrap_or(f64::NAN);
        Self {
            runs: count,
            min_ms: at(0),
            median_ms: f64::midpoint(at((count.max(1) - 1) / 2), at(count / 2)),
            p90_ms: percentile(&all_ms, 90),
            p99_ms: percentile(&all_ms, 99),
            max_ms: at(count.max(1) - 1),
            all_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_sorted_and_the_median_is_in_the_middle() {
        let table: [(&[f64], f64, f64, f64, f64); 3] = [
            // values, min, median, p90, max
            (&[7.0], 7.0, 7.0, 7.0, 7.0),
            (&[3.0, 1.0], 1.0, 2.0, 3.0, 3.0),
            (&[10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 1.0, 5.5, 9.0, 10.0),
        ];
        for (values, min, median, p90, max) in table {
            let found = Figures::new(values.to_vec());
            let all = (found.min_ms, found.median_ms, found.p90_ms, found.max_ms);
            assert_eq!(all, (min, median, p90, max), "{values:?}");
        }
        let hundred = Figures::new((1..=100).map(f64::from).collect());
        assert_eq!((hundred.p90_ms, hundred.p99_ms), (90.0, 99.0));
    }
}
