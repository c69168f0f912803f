//! Medians and the like.

/// The nearest-rank percentile: the smallest value that at least so many percent do not exceed.
/// 0 of nothing.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The middle one; of an even number the lower.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The smallest.
pub fn min(values: &[f64]) -> f64 {
    percentile(values, 0)
}

/// The largest.
pub fn max(values: &[f64]) -> f64 {
    percentile(values, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(median(&values), 100.0);
        assert_eq!(percentile(&values, 99), 198.0);
        assert_eq!((min(&values), max(&values)), (1.0, 200.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert_eq!(median(&[]), 0.0);
    }
}
