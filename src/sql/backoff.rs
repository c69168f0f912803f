//! Pauses between tries: longer each time, and not at the same moment as others'.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);

#[derive(Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    pub fn next_pause(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries += 1;
        // The seed of a hash table is as random as this needs.
        let chance = RandomState::new().hash_one(self.tries) % 1000;
        full / 2 + full.mul_f64(chance as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        for longest in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
            let pause = backoff.next_pause().as_millis();
            assert!(
                pause >= longest / 2 && pause <= longest,
                "{pause} of {longest}"
            );
        }
    }
}
