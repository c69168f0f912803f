//! Changes of a spec that make no other revision: how a release goes on its way.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{action::Amendment, random::Random, scenarios::blue_green::traffic};
use crate::api::{
    Analysis, BlueGreen, Check, OnInconclusive, Promotion, Rolling, RolloutSpec, Step,
};

const INSTEAD: [OnInconclusive; 3] = [
    OnInconclusive::Pause,
    OnInconclusive::Undo,
    OnInconclusive::Proceed,
];

impl Amendment {
    /// A rolling release in mid-flight: other batches, or (seldom) steps instead.
    pub(crate) fn of_batches(random: &mut Random) -> Self {
        if random.chance(20) {
            return Self::Steps(steps(random));
        }
        Self::Rolling(batches(random))
    }

    /// A blue-green release in mid-flight: other sets, or (seldom) steps or batches instead.
    pub(crate) fn of_sets(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Steps(steps(random)),
            1 => Self::Rolling(batches(random)),
            _ => Self::BlueGreen(sets(random)),
        }
    }

    /// One of them; the checks are those of this spec, or some of them, changed.
    pub fn any(random: &mut Random, spec: &RolloutSpec) -> Self {
        match random.below(8) {
            0..=3 => Self::Steps(steps(random)),
            4 => Self::Bounds {
                surge: share(random),
                unavailable: share(random),
            },
            5 => Self::Analysis(None),
            6 => Self::Analysis(
                spec.analysis
                    .clone()
                    .map(|analysis| other(random, analysis)),
            ),
            _ if random.chance(50) => Self::Deadline(random.between(20, 240)),
            _ => Self::Window(random.between(0, 3)),
        }
    }

    /// Makes the change.
    pub fn apply(self, spec: &mut RolloutSpec) {
        match self {
            Self::Steps(steps) => {
                *spec.strategy.steps_mut() = steps;
                if let Some(canary) = &mut spec.strategy.canary {
                    canary.stable_pods = None;
                }
                spec.traffic = None;
            }
            Self::Rolling(rolling) => {
                *spec.strategy.rolling_mut() = rolling;
                spec.traffic = None;
            }
            Self::BlueGreen(blue_green) => {
                *spec.strategy.blue_green_mut() = blue_green;
                spec.traffic = Some(traffic());
            }
            Self::Bounds { surge, unavailable } => {
                spec.strategy.max_surge = surge;
                spec.strategy.max_unavailable = unavailable;
            }
            Self::Analysis(analysis) => spec.analysis = analysis,
            Self::Deadline(seconds) => spec.strategy.progress_deadline_seconds = seconds,
            Self::Window(revisions) => spec.strategy.rollback_window.revisions = revisions,
        }
    }

    /// The change in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Steps(steps) => {
                let steps = steps.iter();
                let steps = steps.map(|s| {
                    format!(
                        "{} {}",
                        s.name,
                        s.replicas.as_ref().map_or_else(String::new, text)
                    )
                });
                format!("steps {}", steps.collect::<Vec<_>>().join(", "))
            }
            Self::Rolling(rolling) => format!(
                "batches of {}, held for {} s, the last for {} s",
                text(&rolling.batch),
                rolling.hold_seconds,
                rolling.bake_seconds
            ),
            Self::BlueGreen(blue_green) => format!(
                "a preview of {}, {:?} promotion, the old set stays for {} s",
                blue_green.preview_replicas,
                blue_green.promotion,
                blue_green.scale_down_delay_seconds
            ),
            Self::Bounds { surge, unavailable } => {
                let (surge, unavailable) = (text(surge), text(unavailable));
                format!("maxSurge {surge}, maxUnavailable {unavailable}")
            }
            Self::Analysis(None) => "no checks".into(),
            Self::Analysis(Some(analysis)) => {
                let checks: Vec<_> = analysis.checks.iter().map(limit).collect();
                let (checks, every) = (checks.join(", "), analysis.interval_seconds);
                format!("checks {checks}, polled every {every} s")
            }
            Self::Deadline(seconds) => format!("progressDeadlineSeconds {seconds}"),
            Self::Window(revisions) => format!("rollbackWindow {revisions}"),
        }
    }
}

fn limit(check: &Check) -> String {
    let most = match (&check.error_rate, &check.latency) {
        (Some(errors), _) => format!("{}%", errors.max_percent),
        (None, Some(latency)) => format!("{} ms", latency.max_milliseconds),
        (None, None) => "nothing".into(),
    };
    let (name, of) = (&check.name, check.min_requests);
    format!("{name} at most {most} of {of} requests or more")
}

fn text(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(share) => share.clone(),
    }
}

/// Surge or unavailable pods.
pub fn share(random: &mut Random) -> IntOrString {
    match random.below(4) {
        0 => IntOrString::Int(i32::try_from(random.below(3)).unwrap_or(0)),
        1 => IntOrString::String("50%".into()),
        _ => IntOrString::String("25%".into()),
    }
}

/// Two sets: shown with any number of pods, switched by anybody, left after any time.
pub fn sets(random: &mut Random) -> BlueGreen {
    BlueGreen {
        preview_replicas: i32::try_from(random.between(1, 5)).unwrap_or(1),
        promotion: match random.chance(25) {
            true => Promotion::Manual,
            false => Promotion::Automatic,
        },
        scale_down_delay_seconds: random.between(0, 120),
        tests: Vec::new(),
    }
}

/// Batches of any size and time.
pub fn batches(random: &mut Random) -> Rolling {
    let sizes = ["20%", "25%", "34%", "50%", "100%"];
    let share = random.one_of(&sizes).copied().unwrap_or("25%");
    let count = i32::try_from(random.between(2, 4)).unwrap_or(2);
    Rolling {
        batch: match random.chance(40) {
            true => IntOrString::Int(count),
            false => IntOrString::String(share.into()),
        },
        hold_seconds: random.between(0, 40),
        bake_seconds: random.between(0, 90),
        deadline_seconds: random.between(60, 300),
        on_inconclusive: *random.one_of(&INSTEAD).unwrap_or(&OnInconclusive::Pause),
        tests: Vec::new(),
    }
}

/// Steps that rise: some of those that a release may be in, at other sizes, and some that it
/// never heard of.
fn steps(random: &mut Random) -> Vec<Step> {
    let percent = |share: i64| IntOrString::String(format!("{share}%"));
    let ones = i32::try_from(random.between(1, 3)).unwrap_or(1);
    let sizes = [
        ("canary", IntOrString::Int(ones)),
        ("tenth", percent(10)),
        ("half", percent(random.between(20, 60))),
        ("most", percent(80)),
    ];
    let last = if random.chance(80) { "full" } else { "all" };
    let mut kept: Vec<_> = sizes.into_iter().filter(|_| random.chance(50)).collect();
    kept.push((last, percent(100)));
    let step = |(name, replicas): (&str, IntOrString)| Step {
        name: name.into(),
        replicas: Some(replicas),
        weight: None,
        promotion: Promotion::Automatic,
        hold_seconds: random.between(0, 90),
        deadline_seconds: random.between(60, 300),
        on_inconclusive: *random.one_of(&INSTEAD).unwrap_or(&OnInconclusive::Pause),
        tests: Vec::new(),
    };
    kept.into_iter().map(step).collect()
}

/// Other limits, another number of requests that must be seen, another beat, and maybe one check
/// fewer.
fn other(random: &mut Random, mut analysis: Analysis) -> Analysis {
    analysis.interval_seconds = random.between(5, 30);
    if random.chance(50) {
        analysis.checks.truncate(1);
    }
    for check in &mut analysis.checks {
        if let Some(errors) = &mut check.error_rate {
            let most = *random.one_of(&["0.1", "0.5", "5"]).unwrap_or(&"0.5");
            errors.max_percent = most.into();
        }
        if let Some(latency) = &mut check.latency {
            latency.max_milliseconds = *random.one_of(&[50, 200, 1_000]).unwrap_or(&200);
        }
        check.min_requests = *random.one_of(&[10, 100, 1_000]).unwrap_or(&100);
    }
    analysis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::revision, simulate::scenario::shop};

    #[test]
    fn an_amendment_makes_no_other_revision_and_changes_something() {
        let mut random = Random::new(1);
        let before = shop("v1", 4, Some(1));
        let hash = |spec: &RolloutSpec| revision::hash(&spec.template, Some(1));
        let changed = (0..200).filter(|_| {
            let amendment = Amendment::any(&mut random, &before);
            assert!(!amendment.words().is_empty());
            let mut after = before.clone();
            amendment.apply(&mut after);
            assert_eq!(hash(&after), hash(&before));
            let last = after.strategy.steps_mut().last().expect("a last step");
            assert_eq!(last.replicas.as_ref().map(text).as_deref(), Some("100%"));
            after != before
        });
        assert!(changed.count() > 180);
    }
}
