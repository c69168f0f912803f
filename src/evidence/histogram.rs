//! The quantile people read. No verdict rests on it.

use super::Bucket;

/// A quantile out of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantile {
    /// By linear interpolation within its bucket, in milliseconds; how Prometheus'
    /// `histogram_quantile` does it for classic histograms.
    At(f64),
    /// Somewhere above the highest finite bound, in milliseconds.
    Above(f64),
}

/// The quantile `q` (0 to 1) of requests given by the upper bound of their bucket, ascending and
/// not cumulated. `None` without a request or a finite bound.
pub(super) fn quantile(slots: &[Bucket], q: f64) -> Option<Quantile> {
    let total: f64 = slots.iter().map(|s| s.count).sum();
    if total <= 0.0 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * total;
    let (mut below, mut floor) = (0.0, 0.0);
    for slot in slots {
        if !slot.le.is_finite() {
            return (floor > 0.0).then_some(Quantile::Above(floor));
        }
        if slot.count > 0.0 && below + slot.count >= rank {
            let within = (rank - below) / slot.count;
            return Some(Quantile::At(floor + (slot.le - floor) * within));
        }
        below += slot.count;
        floor = slot.le.max(0.0);
    }
    // Rounding alone can carry the rank past the last bucket.
    Some(Quantile::At(floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(of: &[(f64, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(le, count)| Bucket { le, count }).collect()
    }

    #[test]
    fn interpolates_within_the_bucket() {
        let h = slots(&[(100.0, 0.0), (200.0, 10.0), (f64::INFINITY, 0.0)]);
        assert_eq!(quantile(&h, 0.5), Some(Quantile::At(150.0)));
        assert_eq!(quantile(&h, 1.0), Some(Quantile::At(200.0)));
    }

    #[test]
    fn beyond_the_last_bound_is_said_and_not_guessed() {
        let h = slots(&[(100.0, 90.0), (200.0, 0.0), (f64::INFINITY, 10.0)]);
        assert_eq!(quantile(&h, 0.95), Some(Quantile::Above(200.0)));
        assert_eq!(quantile(&slots(&[(f64::INFINITY, 3.0)]), 0.5), None);
    }

    #[test]
    fn nothing_without_requests() {
        assert_eq!(
            quantile(&slots(&[(100.0, 0.0), (f64::INFINITY, 0.0)]), 0.5),
            None
        );
        assert_eq!(quantile(&[], 0.5), None);
    }
}
