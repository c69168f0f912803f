//! What the probes report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the vital loops still turn. Clones are of the same process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Liveness(Arc<Mutex<Vec<Beat>>>);

#[derive(Debug)]
struct Beat {
    name: &'static str,
    last: Instant,
    limit: Duration,
}

/// The heart of one loop. Its owner calls [`Heart::beat`] at every turn; when it is dropped, the
/// loop has ended on purpose and is no longer watched.
#[derive(Debug)]
pub(crate) struct Heart {
    liveness: Liveness,
    name: &'static str,
}

impl Liveness {
    /// Registers a loop that turns at least once in `limit`, idle or not.
    pub(crate) fn heart(&self, name: &'static str, limit: Duration) -> Heart {
        self.beats().push(Beat {
            name,
            last: Instant::now(),
            limit,
        });
        Heart {
            liveness: self.clone(),
            name,
        }
    }

    /// The loops that are stuck.
    pub(crate) fn overdue(&self) -> Vec<&'static str> {
        let now = Instant::now();
        let beats = self.beats();
        let late = |beat: &&Beat| now.saturating_duration_since(beat.last) > beat.limit;
        beats.iter().filter(late).map(|beat| beat.name).collect()
    }

    fn beats(&self) -> MutexGuard<'_, Vec<Beat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heart {
    /// A sign of life.
    pub(crate) fn beat(&self) {
        for beat in self
            .liveness
            .beats()
            .iter_mut()
            .filter(|beat| beat.name == self.name)
        {
            beat.last = Instant::now();
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        let name = self.name;
        // A loop that dies of a panic is for the supervisor to report, not a beat that goes missing.
        self.liveness.beats().retain(|beat| beat.name != name);
    }
}

/// What must be initialised before the process counts as ready. Clones are of the same process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<Mutex<Vec<&'static str>>>);

/// One thing that is not initialised yet. Dropping it without [`Initialising::done`] leaves the
/// process not ready.
#[derive(Debug)]
#[must_use]
pub(crate) struct Initialising {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// Announces something to wait for. All are announced before the first is done.
    pub(crate) fn wait_for(&self, name: &'static str) -> Initialising {
        self.names().push(name);
        Initialising {
            readiness: self.clone(),
            name,
        }
    }

    /// What is still waited for.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.names().clone()
    }

    fn names(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Initialising {
    /// It is initialised.
    pub(crate) fn done(self) {
        let mut names = self.readiness.names();
        if let Some(at) = names.iter().position(|name| *name == self.name) {
            names.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_stops_is_named_and_one_that_beats_is_not() {
        let liveness = Liveness::default();
        let run_loop = liveness.heart("run loop", Duration::from_secs(10));
        let _stuck = liveness.heart("sampler", Duration::from_secs(10));
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(5)).await;
            run_loop.beat();
        }
        assert_eq!(liveness.overdue(), ["sampler"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_ended_is_not_watched() {
        let liveness = Liveness::default();
        drop(liveness.heart("lease", Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(liveness.overdue().is_empty());
    }

    #[test]
    fn ready_when_all_is_done_and_never_by_giving_up() {
        let readiness = Readiness::default();
        let (rollouts, schemas) = (
            readiness.wait_for("rollouts"),
            readiness.wait_for("schemas"),
        );
        rollouts.done();
        assert_eq!(readiness.missing(), ["schemas"]);
        drop(schemas);
        assert_eq!(readiness.missing(), ["schemas"]);
    }
}
