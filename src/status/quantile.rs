//! An estimate of quantiles from a histogram, as Prometheus makes it.

use crate::ledger::BOUNDS;

/// The time in milliseconds under which this part (0 to 1) of the answers lies. Within a bucket, answers are taken to be
/// spread evenly; of those beyond the last bound only that bound is known. `None` if there are no answers.
pub fn quantile(buckets: &[u64; BOUNDS.len() + 1], part: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = part.clamp(0.0, 1.0) * all as f64;
    let mut below = 0.0;
    for (place, &count) in buckets.iter().enumerate() {
        let within = count as f64;
        if count > 0 && below + within >= rank {
            let from = if place == 0 { 0.0 } else { BOUNDS[place - 1] as f64 };
            let Some(&to) = BOUNDS.get(place) else { break };
            return Some(from + (to as f64 - from) * ((rank - below) / within).clamp(0.0, 1.0));
        }
        below += within;
    }
    BOUNDS.last().map(|&bound| bound as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_the_bucket_that_holds_its_rank() {
        let histogram = |filled: &[(usize, u64)]| {
            let mut buckets = [0; BOUNDS.len() + 1];
            filled.iter().for_each(|&(place, count)| buckets[place] = count);
            buckets
        };
        for (filled, part, expected) in [
            (&[][..], 0.5, None),
            (&[(0, 10)], 0.5, Some(0.5)),
            (&[(0, 10)], 1.0, Some(1.0)),
            (&[(3, 10)], 0.5, Some(7.5)),
            (&[(0, 50), (3, 50)], 0.5, Some(1.0)),
            (&[(0, 50), (3, 50)], 0.99, Some(9.9)),
            (&[(0, 50), (3, 50)], 0.0, Some(0.0)),
            (&[(15, 1)], 0.5, Some(60_000.0)),
            (&[(0, 1), (15, 1)], 0.95, Some(60_000.0)),
            (&[(3, 10)], 7.0, Some(10.0)),
        ] {
            let found = quantile(&histogram(filled), part);
            assert!(
                found.zip(expected).map_or(found == expected, |(one, other): (f64, f64)| (one - other).abs() < 1e-9),
                "{filled:?} {part}: {found:?}"
            );
        }
    }
}
