//! What each release was promised to be like, and what it was like.

use std::time::Duration;

use stepgate::api::status::Outcome;

use crate::figures::Figures;
use crate::release::Seen;
use testbed::way::Way;

/// The longest time from the first failing request to the decision.
const DECISION: Duration = Duration::from_secs(10);
/// How long a request may still meet a pod after it left the Service: nodes have to learn it.
const LEAVING: Duration = Duration::from_secs(2);

/// What a release is promised to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Deployed where nothing was.
    Deployed,
    /// Goes through all steps.
    Released,
    /// Goes back at the step at which users meet it, because of this check, with or without failed requests.
    Undone {
        /// The check.
        check: &'static str,
        /// Whether clients see errors.
        errors: bool,
    },
    /// Its expand fails, and no pod of it ever starts.
    Blocked,
}

impl Promise {
    /// What was not as promised; empty if all was.
    pub fn broken(
        self,
        way: Way,
        seen: &Seen,
        stable: Option<&str>,
        figures: &Figures,
    ) -> Vec<String> {
        let mut broken = Broken::default();
        let errors = matches!(self, Self::Undone { errors: true, .. });
        broken.unless(errors || figures.failed == 0, || {
            format!("{} requests failed: {}", figures.failed, figures.errors)
        });
        let (outcome, serving) = match self {
            Self::Deployed | Self::Released => (Outcome::Stable, Some(seen.revision.as_str())),
            Self::Undone { .. } | Self::Blocked => (Outcome::Failed, stable),
        };
        let ended = seen.ended.as_ref();
        broken.unless(ended.is_some_and(|e| e.outcome == outcome), || {
            format!("it ended as {:?}", ended.map(|e| e.outcome))
        });
        let now = seen.status.stable.as_ref().map(|s| s.revision.as_str());
        broken.unless(now == serving, || format!("in the end stable is {now:?}"));
        match self {
            Self::Deployed => {}
            Self::Released => {
                let steps = seen.steps();
                broken.unless(steps == way.steps(), || {
                    format!("it went through {steps:?}")
                });
            }
            Self::Undone { check, errors } => {
                undone(&mut broken, way, seen, figures, check, errors);
            }
            Self::Blocked => {
                broken.unless(seen.pods.is_empty(), || {
                    "a pod of it was started".to_owned()
                });
                let reason = ended.map_or("", |e| &e.reason);
                broken.unless(reason == "ExpandFailed", || format!("it ended by {reason}"));
            }
        }
        broken.0
    }
}

fn undone(
    broken: &mut Broken,
    way: Way,
    seen: &Seen,
    figures: &Figures,
    check: &str,
    errors: bool,
) {
    let why = seen.ended.as_ref().map_or("", |e| &e.message);
    broken.unless(why.contains(&format!("check {check}")), || {
        format!("it was undone by something else: {why}")
    });
    let steps = seen.steps();
    broken.unless(steps == way.until_met(), || {
        format!("it went through {steps:?}")
    });
    broken.unless(figures.first_bad.is_some(), || {
        "no client met it".to_owned()
    });
    broken.unless(
        figures.to_decision.is_some_and(|took| took <= DECISION),
        || format!("the decision took {:?}", figures.to_decision),
    );
    broken.unless(figures.to_out.is_some(), || {
        "users were still led to it".to_owned()
    });
    if errors {
        let late = match (seen.out, figures.last_failed) {
            (Some(out), Some(last)) => last > out + LEAVING,
            _ => true,
        };
        broken.unless(!late, || "requests failed after it was out".to_owned());
    }
}

#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, kept: bool, words: impl FnOnce() -> String) {
        if !kept {
            self.0.push(words());
        }
    }
}
