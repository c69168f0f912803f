//! The Job controller, for Jobs of one pod that is tried again only after it has applied nothing.

use jiff::SignedDuration;

use super::{
    coverage::Kind,
    event::{End, Occurrence},
    object::{JobObject, Name},
    setting::{Health, MigrationEnd},
    world::World,
};
use crate::{
    api::{PhaseKind, database::SqlRefusal},
    plan::facts::JobEnd,
};

/// Seconds that a pod which is cut off may take to end.
const CUT_OFF_SECONDS: i64 = 30;
/// Seconds before the second pod of a Job; each time after that twice as long.
const BACKOFF_SECONDS: i64 = 10;

/// The words of the Job controller, once this ends a Job.
const fn words_of(end: End, has_policy: bool) -> &'static str {
    match end {
        End::Succeeded => "CompletionsReached: Reached expected number of succeeded pods",
        End::Failed if has_policy => {
            "PodFailurePolicy: Container failed with an exit code that matches a FailJob rule"
        }
        End::Refused => "PodFailurePolicy: Container failed with exit code 64",
        End::Unproven => "PodFailurePolicy: Container failed with exit code 65",
        End::Disagrees => "PodFailurePolicy: Container failed with exit code 66",
        End::Failed | End::NothingApplied => {
            "BackoffLimitExceeded: Job has reached the specified backoff limit"
        }
        End::Deadline => "DeadlineExceeded: Job was active longer than specified deadline",
    }
}

impl World {
    /// Starts a Job that is not suspended any more.
    pub(super) fn sync_job(&mut self, name: &str) {
        let Some(job) = self.live.jobs.get(name).cloned() else {
            return;
        };
        if job.suspended || job.ended.is_some() || !self.started_jobs.insert(job.meta.uid.clone()) {
            return;
        }
        let job = JobObject {
            started: Some(self.now),
            ..(*job).clone()
        };
        self.run_a_pod(job);
    }

    /// The next pod of a Job runs, until its own end or the Job's deadline.
    fn run_a_pod(&mut self, job: JobObject) {
        let refused = if !self.holds(&job.files) {
            Some((End::Refused, "another text than it was given"))
        } else if !self.ledger_agrees(&job) {
            Some((End::Disagrees, "another ledger than what is on record"))
        } else if job.proves && self.loses_rows(&job) {
            Some((End::Unproven, "rows that are not filled in"))
        } else {
            None
        };
        if let Some((end, found)) = refused {
            self.job_event(&job, 1, |job, uid| Occurrence::JobEnds { job, uid, end });
            if end == End::Disagrees {
                self.coverage.count(Kind::RecordDisagrees);
            }
            let words = format!("{} finds {found}", job.meta.name);
            self.story.note(self.now, &job.rollout, words);
            self.store(JobObject {
                runs: true,
                live_pods: 1,
                ..job
            });
            return;
        }
        let behaviour = self.setting.behaviour(&job.image);
        let attempt = self
            .job_starts
            .entry((job.image.clone(), job.phase))
            .or_default();
        let migration = match job.phase {
            Some(phase) => behaviour.migration(phase, *attempt),
            None => behaviour.test(*attempt),
        };
        match job.phase {
            Some(phase) => self.coverage.migrates(&behaviour, phase, *attempt),
            None => self.coverage.tests(migration.end),
        }
        let never = behaviour.health == Health::NoImage;
        let runs = !never && migration.end != MigrationEnd::NeverStarts;
        *attempt += 1;
        let applies = !matches!(
            migration.end,
            MigrationEnd::NothingApplied | MigrationEnd::Refused | MigrationEnd::Unproven
        );
        if runs && applies {
            self.phase_runs(&job);
            self.sql_begins(&job);
        }
        let left = self.seconds_left(&job);
        let hangs = !runs || migration.end == MigrationEnd::Hangs || migration.seconds > left;
        self.job_takes(&job.meta.name, (!hangs).then_some(migration.seconds));
        let (seconds, end) = match migration.end {
            _ if hangs => (left, End::Deadline),
            MigrationEnd::Fails => (migration.seconds, End::Failed),
            MigrationEnd::NothingApplied => (migration.seconds, End::NothingApplied),
            MigrationEnd::Refused => (migration.seconds, End::Refused),
            MigrationEnd::Unproven => (migration.seconds, End::Unproven),
            _ => (migration.seconds, End::Succeeded),
        };
        self.job_event(&job, seconds, |job, uid| Occurrence::JobEnds {
            job,
            uid,
            end,
        });
        self.story
            .note(self.now, &job.rollout, format!("{} runs", job.meta.name));
        self.store(JobObject {
            runs,
            live_pods: 1,
            ..job
        });
    }

    fn seconds_left(&self, job: &JobObject) -> i64 {
        let ran = job
            .started
            .map_or(0, |at| self.now.duration_since(at).as_secs());
        job.deadline.map_or(i64::MAX, |deadline| deadline - ran)
    }

    fn job_event(
        &mut self,
        job: &JobObject,
        seconds: i64,
        event: impl Fn(Name, Name) -> Occurrence,
    ) {
        if seconds < i64::MAX {
            let event = event(job.meta.name.clone(), job.meta.uid.clone());
            self.after(SignedDuration::from_secs(seconds), event);
        }
    }

    /// How often a Job of this phase was started for an image.
    #[must_use]
    pub fn runs(&self, image: &str, phase: PhaseKind) -> usize {
        let key = (Name::from(image), Some(phase));
        self.job_starts.get(&key).copied().unwrap_or(0)
    }

    /// A Job's pod has run its time, or is cut off.
    pub(super) fn job_ends(&mut self, name: &Name, uid: &Name, end: End) {
        let Some(job) = self.running_job(name, uid) else {
            return;
        };
        match end {
            End::Deadline if job.live_pods > 0 => {
                let gone = |job, uid| Occurrence::JobPodGone { job, uid };
                self.job_event(&job, CUT_OFF_SECONDS, gone);
                self.store(JobObject { runs: false, ..job });
            }
            End::NothingApplied if i64::from(job.failed_pods) < job.backoff_limit => {
                let pause = BACKOFF_SECONDS << job.failed_pods.min(5);
                let left = self.seconds_left(&job);
                if pause < left {
                    self.job_event(&job, pause, |job, uid| Occurrence::JobTries { job, uid });
                } else {
                    let end = End::Deadline;
                    self.job_event(&job, left, |job, uid| Occurrence::JobEnds { job, uid, end });
                }
                self.story
                    .note(self.now, &job.rollout, format!("{name} exits with 75"));
                self.store(JobObject {
                    runs: false,
                    live_pods: 0,
                    failed_pods: job.failed_pods + 1,
                    ..job
                });
            }
            end => self.job_ended(name, uid, end),
        }
    }

    /// The next pod of a Job whose last one has applied nothing.
    pub(super) fn job_tries(&mut self, name: &Name, uid: &Name) {
        if let Some(job) = self.running_job(name, uid).filter(|job| !job.suspended) {
            self.run_a_pod(job);
        }
    }

    /// A pod that was cut off has ended. Only now its Job is called failed.
    pub(super) fn job_pod_gone(&mut self, name: &Name, uid: &Name) {
        self.job_ended(name, uid, End::Deadline);
    }

    fn job_ended(&mut self, name: &Name, uid: &Name, end: End) {
        let Some(job) = self.running_job(name, uid) else {
            return;
        };
        let succeeded = end == End::Succeeded;
        if end == End::Unproven {
            self.coverage.count(Kind::Unproven);
        }
        self.phase_ended(&job, end);
        if succeeded {
            self.sql_ended(&job);
            self.phase_hurts(&job);
        }
        let words = if succeeded { "succeeded" } else { "failed" };
        self.story
            .note(self.now, &job.rollout, format!("{name} {words}"));
        self.store(JobObject {
            runs: false,
            live_pods: 0,
            ended: Some(JobEnd {
                succeeded,
                refusal: match end {
                    End::Unproven if job.is_sql() || job.proves => Some(SqlRefusal::ProofFailed),
                    End::Disagrees => Some(SqlRefusal::RecordDisagrees),
                    _ => None,
                },
                sql: job.is_sql(),
                nothing_applied: job.has_policy
                    && (end == End::NothingApplied
                        || (end == End::Unproven && job.proves)
                        || matches!(end, End::Refused | End::Unproven | End::Disagrees)
                            && job.is_sql()),
                message: words_of(end, job.has_policy).into(),
                at: self.now,
            }),
            ..job
        });
    }

    /// Code does worse from now on, if it is so: that before an expand, and all after a contract.
    fn phase_hurts(&mut self, job: &JobObject) {
        let behaviour = self.setting.behaviour(&job.image);
        let (percent, spared, kind) = match job.phase {
            Some(PhaseKind::Expand) => (
                behaviour.hurts_percent,
                job.revision.clone(),
                Kind::ExpandHurts,
            ),
            Some(PhaseKind::Contract) => (
                behaviour.contract_hurts_percent,
                Name::default(),
                Kind::ContractHurts,
            ),
            _ => return,
        };
        if percent > 0.0 {
            self.coverage.count(kind);
            let rollout = &job.rollout;
            self.traffic
                .hurt(rollout, &spared, percent / 100.0, self.now);
        }
    }

    fn running_job(&self, name: &Name, uid: &Name) -> Option<JobObject> {
        let job = self.live.jobs.get(name)?;
        (job.meta.uid == *uid && job.ended.is_none()).then(|| (**job).clone())
    }
}
