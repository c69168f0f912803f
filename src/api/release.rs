//! `Rollout.status.release`: the release in motion.
//!
//! What is stored is flat, for people and for `kubectl -o jsonpath`. What the planner reads is a
//! [`Stage`] that carries its data, so that states which cannot be cannot be written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    PhaseKind,
    status::{Outcome, Stopwatch, one},
};

/// A release in motion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Stored", into = "Stored")]
pub struct Release {
    /// The revision that is released.
    pub revision: String,
    /// Where it stands.
    pub stage: Stage,
    /// There is no stable revision yet: full size at once, nothing to return to.
    pub first: bool,
    /// When the release began.
    pub started: Time,
    /// Which release of this revision it is; raised by a retry.
    pub attempt: i64,
    /// Its Jobs. A Job without an entry is at this attempt and has nothing else to report.
    pub jobs: Vec<JobStatus>,
    /// When the first pod of the revision was ready: the evidence starts there.
    pub measured_since: Option<Time>,
    /// Time in which the step's (or the undo's) target was not reached.
    pub unreached: Stopwatch,
    /// When pods of the revision stopped being ready, though their containers ran on.
    pub lost: Vec<Lost>,
    /// Tests of its steps that were begun.
    pub tests: Vec<TestStatus>,
    /// A person has let it go on though stable could not come back.
    pub without_undo: bool,
    /// What stable needs to come back and the operator may not read, when the present step was
    /// entered: whether it is there is not known.
    pub not_checked: Vec<String>,
}

/// A pod of the revision stopped being ready, though its containers ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// The pod.
    pub pod: String,
    /// When, by its node's clock.
    pub at: Time,
}

/// Where a release stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Names and selectors are checked and the children are made, at 0 replicas.
    Preflight,
    /// A Job that comes before the revision's pods runs, or is about to.
    Job(PhaseKind),
    /// Stable is measured after the expand.
    Soak(SoakStatus),
    /// Pods of the revision run.
    Step(AtStep),
    /// Back to stable.
    Undo(Undo),
}

/// Stable, measured after the expand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoakStatus {
    /// Since when.
    pub since: Time,
    /// Beginning of the time before the expand that it is compared with.
    pub before_from: Time,
    /// Its end: when the expand took the database.
    pub before_until: Time,
    /// Why Stepgate itself paused it. It is stored beside this, as that of a step is.
    #[serde(skip)]
    pub paused: Option<Why>,
}

/// A release at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct AtStep {
    /// The step.
    pub step: StepStatus,
    /// Why Stepgate itself paused it.
    pub paused: Option<Why>,
}

/// The step under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Position among the steps, from 0.
    pub index: i32,
    /// Its name.
    pub name: String,
    /// When the step began.
    pub began: Time,
    /// When its target was first reached; what passes the step is counted from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Time>,
    /// Time in which the target was held.
    #[serde(default)]
    pub held: Stopwatch,
    /// Highest number of available pods of the revision seen at this step, in whole batches. A higher
    /// number is progress.
    #[serde(default)]
    pub available: i32,
    /// In a rolling release: the size of a batch, as it was written when the step began. If it is
    /// edited, the release continues from the pods that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
}

/// A Job of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The phase that it runs.
    pub phase: PhaseKind,
    /// Its attempt. Only a retry raises it; a preflight is also retried automatically.
    pub attempt: i64,
    /// The Job that was reported here as one that may have left the database inconsistent. A retry
    /// accepts only what was reported before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_dirty: Option<String>,
    /// The failed Jobs whose results a person accepted with a retry, the last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub accepted_dirty: Vec<String>,
    /// Of a preflight: since when it is tried. Its time counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Of a preflight: its first attempt for this release. What passed before is no answer now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
}

impl JobStatus {
    /// At this attempt, with nothing more to be said of it.
    #[must_use]
    pub(crate) const fn new(phase: PhaseKind, attempt: i64) -> Self {
        Self {
            phase,
            attempt,
            told_dirty: None,
            accepted_dirty: Vec::new(),
            since: None,
            first: None,
        }
    }

    /// A person knows what this Job has left.
    pub(crate) fn accept(&mut self, job: &str) {
        const KEPT: usize = 16;
        if !self.accepts(job) {
            self.accepted_dirty.push(job.to_owned());
        }
        let more = self.accepted_dirty.len().saturating_sub(KEPT);
        self.accepted_dirty.drain(..more);
    }

    /// Whether a person has accepted what this Job has left.
    #[must_use]
    pub(crate) fn accepts(&self, job: &str) -> bool {
        self.accepted_dirty.iter().any(|known| known == job)
    }
}

/// A test of a step that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestStatus {
    /// The step.
    pub step: String,
    /// The test.
    pub name: String,
    /// Which run of it this is; only a `resume` after a failure raises it.
    pub attempt: i64,
    /// Its Job.
    pub job: String,
    /// The Job's uid: only the Job on record is let run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// When it was begun.
    pub since: Time,
    /// How it ended; absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TestResult>,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TestResult {
    /// Its command succeeded.
    Passed,
    /// Its command failed, or did not end in time, or its Job was deleted.
    Failed,
    /// A person promoted the step without it.
    Skipped,
}

/// A reason and its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// One CamelCase word.
    pub reason: String,
    /// For people, with the figures that decided.
    pub message: String,
}

/// An undo under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// What the revision will have ended as.
    pub outcome: Outcome,
    /// One CamelCase word.
    pub reason: String,
    /// For people, with the figures that decided.
    pub message: String,
    /// When it was decided.
    pub since: Time,
}

impl Release {
    /// The step under way.
    #[must_use]
    pub const fn step(&self) -> Option<&StepStatus> {
        match &self.stage {
            Stage::Step(at) => Some(&at.step),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) const fn step_mut(&mut self) -> Option<&mut StepStatus> {
        match &mut self.stage {
            Stage::Step(at) => Some(&mut at.step),
            _ => None,
        }
    }

    /// Why Stepgate itself paused it, if it did.
    #[must_use]
    pub const fn paused(&self) -> Option<&Why> {
        match &self.stage {
            Stage::Step(at) => at.paused.as_ref(),
            Stage::Soak(soak) => soak.paused.as_ref(),
            _ => None,
        }
    }

    /// The measurement of stable after the expand, while that is under way.
    #[must_use]
    pub const fn soak(&self) -> Option<&SoakStatus> {
        match &self.stage {
            Stage::Soak(soak) => Some(soak),
            _ => None,
        }
    }

    /// Why it is being undone, if it is.
    #[must_use]
    pub const fn undo(&self) -> Option<&Undo> {
        match &self.stage {
            Stage::Undo(undo) => Some(undo),
            _ => None,
        }
    }

    /// No pod of the revision may have started yet.
    #[must_use]
    pub(crate) const fn is_before_its_pods(&self) -> bool {
        matches!(
            self.stage,
            Stage::Preflight | Stage::Job(_) | Stage::Soak(_)
        )
    }

    /// Its Job of this phase.
    #[must_use]
    pub fn job(&self, phase: PhaseKind) -> JobStatus {
        let known = self.jobs.iter().find(|job| job.phase == phase);
        known.cloned().unwrap_or_else(|| self.new_job(phase))
    }

    /// The same, to be changed.
    pub(crate) fn job_mut(&mut self, phase: PhaseKind) -> &mut JobStatus {
        let index = self.jobs.iter().position(|job| job.phase == phase);
        let index = index.unwrap_or_else(|| {
            self.jobs.push(self.new_job(phase));
            self.jobs.len() - 1
        });
        &mut self.jobs[index]
    }

    /// The highest attempt, those of its Jobs included, but for a preflight's: it counts by itself.
    #[must_use]
    pub(crate) fn highest_attempt(&self) -> i64 {
        let counts = |job: &&JobStatus| job.phase != PhaseKind::Preflight;
        let jobs = self.jobs.iter().filter(counts).map(|job| job.attempt);
        jobs.fold(self.attempt, i64::max)
    }

    const fn new_job(&self, phase: PhaseKind) -> JobStatus {
        JobStatus::new(phase, self.attempt)
    }
}

impl Stage {
    /// In one word, for people.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Job(phase) => phase.word(),
            Self::Soak(_) => "soak",
            Self::Step(_) => "step",
            Self::Undo(_) => "undo",
        }
    }
}

/// A release in motion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Stored {
    /// The revision that is released.
    revision: String,
    /// Where it stands.
    stage: Place,
    /// There is no stable revision yet: full size at once, nothing to return to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    first: bool,
    /// When the release began.
    started: Time,
    /// Number of this release of the revision; a retry raises it.
    #[serde(default = "one")]
    attempt: i64,
    /// State of its Jobs, where it differs from the release's: a Job that is not listed is at the
    /// attempt of the release, and nothing was accepted for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    jobs: Vec<JobStatus>,
    /// The measurement of stable after the expand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soak: Option<SoakStatus>,
    /// The step under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<StepStatus>,
    /// Why Stepgate itself paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused: Option<Why>,
    /// Why and how it is being undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<Undo>,
    /// When the first pod of the revision was ready: the evidence starts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measured_since: Option<Time>,
    /// Seconds and start of the time in which the step's (or undo's) target was not reached.
    #[serde(default)]
    unreached: Stopwatch,
    /// Pods of the revision that stopped being ready lately though their containers ran on, with
    /// each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    lost_readiness: Vec<Lost>,
    /// Tests of its steps that were begun, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    tests: Vec<TestStatus>,
    /// Whether a person let the release continue although stable cannot be restored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    without_undo: bool,
    /// ConfigMaps and Secrets that stable needs for a rollback, but that the operator may not read, so
    /// it does not know whether they exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    not_checked: Vec<String>,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
enum Place {
    /// Names and selectors are checked and the children are made, at 0 replicas.
    Preflight,
    /// The preflight asks whether the schema may be expanded.
    PreflightJob,
    /// The schema is expanded.
    Expand,
    /// Stable is measured after the expand.
    Soak,
    /// Pods of the revision run.
    Step,
    /// Back to stable.
    Undo,
}

impl From<Release> for Stored {
    fn from(release: Release) -> Self {
        let mut stored = Self {
            revision: release.revision,
            stage: Place::Preflight,
            first: release.first,
            started: release.started,
            attempt: release.attempt,
            jobs: release.jobs,
            soak: None,
            step: None,
            paused: None,
            undo: None,
            measured_since: release.measured_since,
            unreached: release.unreached,
            lost_readiness: release.lost,
            tests: release.tests,
            without_undo: release.without_undo,
            not_checked: release.not_checked,
        };
        match release.stage {
            Stage::Preflight => {}
            Stage::Job(PhaseKind::Preflight) => stored.stage = Place::PreflightJob,
            // Of these only the expand comes before the pods.
            Stage::Job(
                PhaseKind::Expand | PhaseKind::Backfill | PhaseKind::Contract | PhaseKind::Revert,
            ) => stored.stage = Place::Expand,
            Stage::Soak(mut soak) => {
                stored.stage = Place::Soak;
                stored.paused = soak.paused.take();
                stored.soak = Some(soak);
            }
            Stage::Step(at) => {
                stored.stage = Place::Step;
                (stored.step, stored.paused) = (Some(at.step), at.paused);
            }
            Stage::Undo(undo) => {
                stored.stage = Place::Undo;
                stored.undo = Some(undo);
            }
        }
        stored
    }
}

impl From<Stored> for Release {
    /// Only an edit by hand can store a stage without what belongs to it. It is read as what
    /// harms nobody: a step that is not named begins anew, an undo without a reason forbids
    /// nothing.
    fn from(stored: Stored) -> Self {
        let lost = || Undo {
            outcome: Outcome::Withdrawn,
            reason: "Unknown".to_owned(),
            message: "the reason of the undo was lost".to_owned(),
            since: stored.started.clone(),
        };
        let stage = match (stored.stage, stored.step) {
            (Place::Undo, _) => Stage::Undo(stored.undo.unwrap_or_else(lost)),
            (Place::PreflightJob, _) => Stage::Job(PhaseKind::Preflight),
            (Place::Expand, _) => Stage::Job(PhaseKind::Expand),
            // The expand has succeeded, and what comes after it comes again.
            (Place::Soak, _) => match stored.soak {
                Some(soak) => Stage::Soak(SoakStatus {
                    paused: stored.paused,
                    ..soak
                }),
                None => Stage::Job(PhaseKind::Expand),
            },
            (Place::Step, Some(step)) => Stage::Step(AtStep {
                step,
                paused: stored.paused,
            }),
            (Place::Step, None) | (Place::Preflight, _) => Stage::Preflight,
        };
        Self {
            revision: stored.revision,
            stage,
            first: stored.first,
            started: stored.started,
            attempt: stored.attempt,
            jobs: stored.jobs,
            measured_since: stored.measured_since,
            unreached: stored.unreached,
            lost: stored.lost_readiness,
            tests: stored.tests,
            without_undo: stored.without_undo,
            not_checked: stored.not_checked,
        }
    }
}
