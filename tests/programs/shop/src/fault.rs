//! The bad variants of a release, chosen by `--fault` or `SHOP_FAULT`.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is wrong with this release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// This share of user requests (above 0, at most 1) is answered with 500.
    Errors(f64),
    /// Every user request takes this much longer.
    Slow(Duration),
    /// The process exits with 1 this long after it became ready.
    Crash(Duration),
    /// Readiness never passes.
    NeverReady,
    /// The expand fails half-way. Serving is not affected.
    BadMigration,
}

/// A fault that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown fault {0:?}: write errors[=SHARE], slow[=MILLISECONDS], crash[=SECONDS], \
     never-ready, bad-migration or none"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.parse::<f64>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let seconds = |s| Duration::try_from_secs_f64(s).map_err(|_| unknown());
        match (name, value) {
            ("none" | "", None) => Ok(Self::None),
            ("errors", share) => {
                let share = share.unwrap_or(0.5);
                let valid = share > 0.0 && share <= 1.0;
                valid.then_some(Self::Errors(share)).ok_or_else(unknown)
            }
            ("slow", ms) => Ok(Self::Slow(seconds(ms.unwrap_or(400.0) / 1000.0)?)),
            ("crash", after) => Ok(Self::Crash(seconds(after.unwrap_or(5.0))?)),
            ("never-ready", None) => Ok(Self::NeverReady),
            ("bad-migration", None) => Ok(Self::BadMigration),
            _ => Err(unknown()),
        }
    }
}

/// Picks a fixed share of events, evenly spread: after n events, floor(n × share) were picked.
#[derive(Debug)]
pub struct Share {
    share: f64,
    seen: AtomicU64,
}

impl Share {
    /// Picks `share` (0 to 1) of the events.
    pub fn new(share: f64) -> Self {
        Self {
            share,
            seen: AtomicU64::new(0),
        }
    }

    /// Whether the next event is picked.
    pub fn next(&self) -> bool {
        let n = self.seen.fetch_add(1, Ordering::Relaxed);
        let picked = |n: u64| (n as f64 * self.share).floor();
        picked(n + 1) > picked(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_with_and_without_a_figure() {
        let fault = |text: &str| text.parse::<Fault>().unwrap();
        assert_eq!(fault("errors"), Fault::Errors(0.5));
        assert_eq!(fault("errors=0.05"), Fault::Errors(0.05));
        assert_eq!(fault("slow=250"), Fault::Slow(Duration::from_millis(250)));
        assert_eq!(
            fault("crash=1.5"),
            Fault::Crash(Duration::from_millis(1500))
        );
        assert_eq!(fault("never-ready"), Fault::NeverReady);
        assert_eq!(fault("bad-migration"), Fault::BadMigration);
        assert_eq!(fault(""), Fault::None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "error",
            "errors=0",
            "errors=2",
            "errors=x",
            "slow=-1",
            "never-ready=1",
        ] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_exact() {
        let share = Share::new(0.05);
        assert_eq!((0..1000).filter(|_| share.next()).count(), 50);
        let all = Share::new(1.0);
        assert!((0..100).all(|_| all.next()));
    }
}
