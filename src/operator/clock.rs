//! The wall clock, and from when on it is trusted.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::warn;

/// Difference between the wall clock's and the monotonic clock's pace that counts as a jump: more
/// than any slewing between two looks, less than any deadline that matters.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// The clock of the process. It notices when the wall clock is set, and when the machine slept.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: fn() -> Timestamp,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    wall: Timestamp,
    steady: Instant,
    trusted_since: Timestamp,
}

impl Clock {
    /// A clock that is trusted from now on.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::over(Timestamp::now)
    }

    /// The same over another wall clock.
    #[must_use]
    pub(crate) fn over(wall: fn() -> Timestamp) -> Self {
        let state = State {
            wall: wall(),
            steady: Instant::now(),
            trusted_since: wall(),
        };
        Self {
            wall,
            state: Mutex::new(state),
        }
    }

    /// The time, and from when on it is trusted.
    pub(crate) fn now(&self) -> (Timestamp, Timestamp) {
        let mut state = self.state();
        state.look((self.wall)(), Instant::now());
        (state.wall, state.trusted_since)
    }

    /// Looks whether the clock has jumped since the last look.
    pub(crate) fn jumped(&self) -> bool {
        self.state().look((self.wall)(), Instant::now())
    }

    /// Trusts the clock from now on: what was timed before is not known to have been seen.
    pub(crate) fn trust_from_now(&self) {
        let mut state = self.state();
        state.look((self.wall)(), Instant::now());
        state.trusted_since = state.wall;
    }

    /// When a time of the wall clock will come, as far as can be told now.
    pub(crate) fn instant_of(&self, at: Timestamp) -> Instant {
        let wait = at.duration_since((self.wall)());
        Instant::now() + Duration::try_from(wait).unwrap_or(Duration::ZERO)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn look(&mut self, wall: Timestamp, steady: Instant) -> bool {
        let by_wall = wall.duration_since(self.wall);
        let passed = steady.saturating_duration_since(self.steady);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let apart = by_wall.saturating_sub(passed);
        (self.wall, self.steady) = (wall, steady);
        let jumped = apart > JUMP || apart < -JUMP;
        if jumped {
            warn!(seconds = apart.as_secs_f64(), "the clock has jumped");
            self.trusted_since = wall;
        }
        jumped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            wall: Timestamp::UNIX_EPOCH,
            steady: Instant::now(),
            trusted_since: Timestamp::UNIX_EPOCH,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    #[test]
    fn a_jump_in_either_direction_is_noticed_once() {
        for jump in [-100, 100] {
            let mut state = state();
            let steady = state.steady;
            assert!(!state.look(at(10), steady + Duration::from_secs(10)));
            assert!(state.look(at(11 + jump), steady + Duration::from_secs(11)));
            assert_eq!(state.trusted_since, at(11 + jump));
            assert!(!state.look(at(12 + jump), steady + Duration::from_secs(12)));
            assert_eq!(state.trusted_since, at(11 + jump));
        }
    }

    #[test]
    fn a_clock_that_drifts_does_not_jump() {
        let mut state = state();
        let steady = state.steady;
        for second in 1..1000 {
            // 500 parts per million, the most that NTP slews by.
            let drift = SignedDuration::from_micros(second * 500);
            let wall = at(second).checked_add(drift).expect("in range");
            let passed = Duration::from_secs(second.unsigned_abs());
            assert!(!state.look(wall, steady + passed));
        }
    }
}
