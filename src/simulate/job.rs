//! The Job controller, for Jobs of one pod that is not tried again.

use jiff::SignedDuration;

use super::{
    event::Event,
    object::{JobObject, Name},
    setting::{Health, MigrationEnd},
    world::World,
};
use crate::{api::PhaseKind, plan::facts::JobEnd};

/// Seconds that a pod which is cut off may take to end.
const CUT_OFF_SECONDS: i64 = 30;
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded: Job was active longer than specified deadline";

impl World {
    /// Starts a Job that is not suspended any more.
    pub(super) fn sync_job(&mut self, name: &str) {
        let Some(job) = self.live.jobs.get(name).cloned() else {
            return;
        };
        if job.suspended || job.ended.is_some() || !self.started_jobs.insert(job.meta.uid.clone()) {
            return;
        }
        let attempt = self
            .job_starts
            .entry((job.image.clone(), job.phase))
            .or_default();
        let behaviour = self.setting.behaviour(&job.image);
        let migration = behaviour.migration(job.phase, *attempt);
        self.coverage.migrates(&behaviour, job.phase, *attempt);
        let never = behaviour.health == Health::NoImage;
        let runs = !never && migration.end != MigrationEnd::NeverStarts;
        *attempt += 1;
        let deadline = job.deadline.unwrap_or(i64::MAX);
        let hangs = !runs || migration.end == MigrationEnd::Hangs || migration.seconds > deadline;
        let (seconds, succeeded, message) = if hangs {
            (deadline, false, DEADLINE_EXCEEDED)
        } else if migration.end == MigrationEnd::Fails {
            (
                migration.seconds,
                false,
                "BackoffLimitExceeded: Job has reached the specified backoff limit",
            )
        } else {
            (
                migration.seconds,
                true,
                "CompletionsReached: Reached expected number of succeeded pods",
            )
        };
        if seconds < i64::MAX {
            let event = Event::JobEnds {
                job: job.meta.name.clone(),
                uid: job.meta.uid.clone(),
                succeeded,
                message,
            };
            self.after(SignedDuration::from_secs(seconds), event);
        }
        self.story
            .note(self.now, &job.rollout, format!("{} runs", job.meta.name));
        self.store(JobObject {
            started: Some(self.now),
            runs,
            live_pods: 1,
            ..(*job).clone()
        });
    }

    /// How often a Job of this phase was started for an image.
    #[must_use]
    pub fn runs(&self, image: &str, phase: PhaseKind) -> usize {
        let key = (Name::from(image), phase);
        self.job_starts.get(&key).copied().unwrap_or(0)
    }

    /// A Job's pod has run its time, or is cut off.
    pub(super) fn job_ends(&mut self, name: &Name, uid: &Name, succeeded: bool, message: &str) {
        if message != DEADLINE_EXCEEDED {
            self.job_ended(name, uid, succeeded, message);
            return;
        }
        let Some(job) = self.running_job(name, uid) else {
            return;
        };
        let event = Event::JobPodGone {
            job: name.clone(),
            uid: uid.clone(),
        };
        self.after(SignedDuration::from_secs(CUT_OFF_SECONDS), event);
        self.store(JobObject { runs: false, ..job });
    }

    /// A pod that was cut off has ended. Only now its Job is called failed.
    pub(super) fn job_pod_gone(&mut self, name: &Name, uid: &Name) {
        self.job_ended(name, uid, false, DEADLINE_EXCEEDED);
    }

    fn job_ended(&mut self, name: &Name, uid: &Name, succeeded: bool, message: &str) {
        let Some(job) = self.running_job(name, uid) else {
            return;
        };
        let words = if succeeded { "succeeded" } else { "failed" };
        self.story
            .note(self.now, &job.rollout, format!("{name} {words}"));
        self.store(JobObject {
            runs: false,
            live_pods: 0,
            ended: Some(JobEnd {
                succeeded,
                message: message.into(),
                at: self.now,
            }),
            ..job
        });
    }

    fn running_job(&self, name: &Name, uid: &Name) -> Option<JobObject> {
        let job = self.live.jobs.get(name)?;
        (job.meta.uid == *uid && job.ended.is_none()).then(|| (**job).clone())
    }
}
