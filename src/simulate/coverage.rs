//! What befell the operator in a run, counted: a suite that never meets a fault proves nothing
//! about it.

use std::fmt::Write as _;

use super::{
    action::{Action, Circumstance, Routed},
    object::Objects,
    prometheus::Outage,
    request::Fate,
    setting::{Behaviour, Health, MigrationEnd},
    sql_ledger::Half,
};
use crate::{
    api::{PhaseKind, RolloutSpec, StrategyType, traffic::RouteKind},
    plan::course::shrinks,
};

macro_rules! kinds {
    ($($kind:ident: $words:literal,)*) => {
        /// Something that befalls the operator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $words] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// In words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$kind => $words,)* }
            }
        }
    };
}

kinds! {
    CrashBefore: "the operator dies before a write is sent",
    CrashAfter: "the operator dies after a write was handled, before its answer",
    Crash: "the operator dies, from whatever cause",
    Overtaken: "somebody else changes the object first (409)",
    Stale: "a write rests on a copy that is out of date (409)",
    NotTaken: "a write is not taken (429)",
    UnansweredHandled: "a write is handled, and its answer is lost (500, time-out)",
    UnansweredLost: "a write is lost, and nobody says so",
    Late: "a write arrives seconds late",
    ReadFails: "a live read gets no answer",
    WatchBreaks: "a watch breaks, and is replayed",
    HandOver: "the lease changes hands, and two believe that they lead",
    Deposed: "a write of a deposed leader arrives",
    ClockAhead: "a clock jumps ahead",
    ClockBack: "a clock jumps back",
    StatusLost: "status is lost",
    Restored: "everything is restored from a backup, under new uids",
    RecordRestored: "a DatabaseSchema is restored without its database",
    DatabaseRestored: "a database is restored without its DatabaseSchema",
    RecordDisagrees: "the runner finds another ledger than what is on record",
    Unproven: "a contract finds rows that are not filled in",
    MetricsDown: "the metric source is down",
    MetricsSlow: "the metric source answers too late",
    MetricsEmpty: "the metric source has no series",
    MetricsNan: "the metric source answers what is no number",
    MetricsPartial: "the metric source knows half of the pods",
    ContainerDies: "a container is killed",
    PodLost: "a pod is lost with its node",
    Churn: "a pod is lost with its node, again and again",
    NodeSilent: "a node says nothing while its pods run on",
    NoRoom: "the nodes are full",
    Quota: "the quota is used up",
    Denied: "a policy denies writes",
    BadRelease: "a release answers with errors",
    SlowRelease: "a release is slow",
    Crashing: "a release crashes again and again",
    NeverReady: "a release is never ready",
    Flapping: "pods of a release stop being ready again and again",
    NoImage: "a release's image cannot be pulled",
    MigrationFails: "a migration fails",
    MigrationTooEarly: "a migration exits before it has applied anything",
    MigrationHangs: "a migration does not end",
    OlderWrites: "somebody older writes after a backfill",
    Contracted: "a contract removes columns",
    Reverted: "a revert removes columns",
    ExpandHurts: "an expand hurts the code before it",
    ContractHurts: "a contract hurts the code that is left",
    TestFails: "a test of a step fails",
    TestHangs: "a test of a step does not end",
    Released: "the spec asks for another revision in mid-rollout",
    Hotfix: "the spec asks for another revision while a backfill runs",
    UndoneLate: "a person undoes what a backfill has ended for",
    Amended: "steps, bounds, checks or deadlines are edited in mid-rollout",
    Scaled: "the Rollout is scaled in mid-rollout",
    PausedInSpec: "spec.paused is set or taken back",
    Command: "a person gives a command",
    Deleted: "the Rollout is deleted",
    ChildScaled: "somebody scales a Deployment by hand",
    ChildEdited: "somebody edits a Deployment by hand",
    ChildRestarted: "somebody restarts the pods of a Deployment",
    ChildDeleted: "somebody deletes a Deployment",
    RevisionDeleted: "somebody deletes a ControllerRevision",
    JobsDeleted: "somebody deletes the Jobs",
    DatabaseDeleted: "somebody deletes the DatabaseSchema",
    ConfigPruned: "a ConfigMap that pods need is pruned",
    SqlChanged: "the text of a phase's SQL is changed",
    SqlDeleted: "the text of a phase's SQL is deleted",
    ProgressWrong: "the pod of a backfill does not say how far it is, or says nonsense",
    Rolling: "a release goes batch by batch",
    BlueGreen: "a release goes from set to set",
    Weighted: "a release goes by weight",
    Shrinking: "stable's pods follow the weight",
    Unreported: "routes are of a kind that reports nothing",
    ServiceEdited: "somebody edits, makes or deletes a Service",
    RouteReset: "Git applies its route again, or somebody sets other weights",
    RouteGone: "a route is deleted",
    RouteUndefined: "the definition of routes is removed",
    GatewayAway: "the gateway's controller is down",
    FlagsEdited: "somebody changes the ConfigMap of the flags",
    Malformed: "a Rollout that cannot be read is stored",
    Load: "the load changes",
    Autoscaled: "an autoscaler scales",
    Synced: "a GitOps agent puts back what somebody else changed",
}

/// How often each of them happened.
#[derive(Clone, Debug)]
pub struct Coverage([u64; Kind::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Kind::ALL.len()])
    }
}

impl Coverage {
    /// It happened.
    pub fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// How often it happened.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// How often anything happened.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Takes in what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> impl Iterator<Item = Kind> {
        let all = Kind::ALL.iter().copied();
        all.filter(|kind| self.of(*kind) == 0)
    }

    /// A line for each of them.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        for kind in Kind::ALL {
            let _ = writeln!(table, "{:>12}  {}", self.of(*kind), kind.words());
        }
        table
    }

    pub(super) fn befell(&mut self, fate: Fate) {
        match fate {
            Fate::Arrives => {}
            Fate::Overtaken => self.count(Kind::Overtaken),
            Fate::NotTaken => self.count(Kind::NotTaken),
            Fate::Unanswered(None) => self.count(Kind::UnansweredLost),
            Fate::Unanswered(Some(_)) => self.count(Kind::UnansweredHandled),
            Fate::Late(_) => self.count(Kind::Late),
            Fate::CrashBefore => self.count(Kind::CrashBefore),
            Fate::CrashAfter => self.count(Kind::CrashAfter),
        }
    }

    /// Pods of this image are made.
    pub(super) fn pods_behave(&mut self, behaviour: &Behaviour) {
        match behaviour.health {
            Health::Good => {}
            Health::NeverReady => self.count(Kind::NeverReady),
            Health::Crashes { .. } => self.count(Kind::Crashing),
            Health::Flaps { .. } => self.count(Kind::Flapping),
            Health::NoImage => self.count(Kind::NoImage),
        }
        if behaviour.error_percent > 0.5 {
            self.count(Kind::BadRelease);
        }
        if behaviour.p95_milliseconds > 200.0 {
            self.count(Kind::SlowRelease);
        }
    }

    /// A phase's attempt begins.
    pub(super) fn migrates(&mut self, behaviour: &Behaviour, phase: PhaseKind, attempt: usize) {
        match behaviour.migration(phase, attempt).end {
            MigrationEnd::Succeeds => {}
            MigrationEnd::Fails | MigrationEnd::Refused | MigrationEnd::Unproven => {
                self.count(Kind::MigrationFails)
            }
            MigrationEnd::NothingApplied => self.count(Kind::MigrationTooEarly),
            MigrationEnd::Hangs | MigrationEnd::NeverStarts => self.count(Kind::MigrationHangs),
        }
    }

    /// A test of a step begins that will end so.
    pub(super) fn tests(&mut self, end: MigrationEnd) {
        match end {
            MigrationEnd::Succeeds => {}
            MigrationEnd::Fails
            | MigrationEnd::Refused
            | MigrationEnd::Unproven
            | MigrationEnd::NothingApplied => {
                self.count(Kind::TestFails);
            }
            MigrationEnd::Hangs | MigrationEnd::NeverStarts => self.count(Kind::TestHangs),
        }
    }

    const fn around(circumstance: &Circumstance) -> Option<Kind> {
        match circumstance {
            Circumstance::Kubelet { silent: true } => Some(Kind::NodeSilent),
            Circumstance::Service { .. } => Some(Kind::ServiceEdited),
            Circumstance::Route { is, .. } => Some(match is {
                Routed::AtRest | Routed::At(_) => Kind::RouteReset,
                Routed::Gone => Kind::RouteGone,
                Routed::Undefined => Kind::RouteUndefined,
            }),
            Circumstance::Gateway { away: true } => Some(Kind::GatewayAway),
            Circumstance::Flags(_) => Some(Kind::FlagsEdited),
            _ => None,
        }
    }

    /// A Rollout of this way is applied.
    fn goes(&mut self, spec: &RolloutSpec) {
        let strategy = &spec.strategy;
        match strategy.kind {
            Some(StrategyType::Rolling) => self.count(Kind::Rolling),
            Some(StrategyType::BlueGreen) => self.count(Kind::BlueGreen),
            Some(StrategyType::Canary) | None => {}
        }
        let routes = spec.traffic.as_ref().map(|traffic| &*traffic.routes);
        let Some([route, ..]) = routes else {
            return;
        };
        self.count(Kind::Weighted);
        if shrinks(spec) {
            self.count(Kind::Shrinking);
        }
        if route.kind == RouteKind::VirtualService {
            self.count(Kind::Unreported);
        }
    }

    /// Somebody acts between the phases of a version.
    fn acted_on_databases(&mut self, action: &Action, live: &Objects) {
        let mut records = live.databases.values().map(|database| &database.record);
        match action {
            Action::Release { .. } if records.any(|r| r.backfill_holder.is_some()) => {
                self.count(Kind::Hotfix);
            }
            Action::Command { verb: "undo", .. }
                if records.any(|record| {
                    let mut versions = record.versions.iter();
                    versions.any(|v| v.lacks_contract() && v.backfilled.is_some())
                }) =>
            {
                self.count(Kind::UndoneLate);
            }
            _ => {}
        }
    }

    /// Somebody acts; what has nothing to act on does not count.
    pub(super) fn acted(&mut self, action: &Action, live: &Objects) {
        let in_motion = |name: &str| {
            let known = live.rollouts.get(name);
            known.is_some_and(|r| r.status.release.is_some())
        };
        let has_child = |rollout: &str, image: &str| {
            let mut children = live.children(rollout);
            children.any(|c| &*c.image == image)
        };
        let has_pods = |rollout: &str| live.pods.values().any(|p| &*p.rollout == rollout);
        self.acted_on_databases(action, live);
        if let Action::Apply { spec, .. } = action {
            self.goes(spec);
        }
        let (kind, counts) = match action {
            Action::Release { rollout, .. } => (Kind::Released, in_motion(rollout)),
            Action::Amend { rollout, .. } => (Kind::Amended, in_motion(rollout)),
            Action::Scale { rollout, .. } => (Kind::Scaled, in_motion(rollout)),
            Action::Pause { rollout, .. } => {
                (Kind::PausedInSpec, live.rollouts.contains_key(rollout))
            }
            Action::Command { rollout, .. } => (Kind::Command, live.rollouts.contains_key(rollout)),
            Action::Delete(rollout) => (Kind::Deleted, live.rollouts.contains_key(rollout)),
            Action::ScaleChild { rollout, image, .. } => {
                (Kind::ChildScaled, has_child(rollout, image))
            }
            Action::EditChild { rollout, image, .. } => {
                (Kind::ChildEdited, has_child(rollout, image))
            }
            Action::RestartChild { rollout, image } => {
                (Kind::ChildRestarted, has_child(rollout, image))
            }
            Action::DeleteChild { rollout, image } => {
                (Kind::ChildDeleted, has_child(rollout, image))
            }
            Action::ForgetRevision { rollout, image } => {
                (Kind::RevisionDeleted, has_child(rollout, image))
            }
            Action::DeleteJobs(rollout) => {
                let mut jobs = live.jobs.values();
                (Kind::JobsDeleted, jobs.any(|j| j.rollout == *rollout))
            }
            Action::DeleteDatabase(database) => {
                (Kind::DatabaseDeleted, live.databases.contains_key(database))
            }
            Action::Config { exists: false, .. } => (Kind::ConfigPruned, true),
            Action::Sql { text: Some(_), .. } => (Kind::SqlChanged, true),
            Action::Sql { .. } => (Kind::SqlDeleted, true),
            Action::KillContainers { rollout, .. } => (Kind::ContainerDies, has_pods(rollout)),
            Action::LosePods { rollout, count } => (Kind::PodLost, *count > 0 && has_pods(rollout)),
            Action::LoseStatus(rollout) => (Kind::StatusLost, live.rollouts.contains_key(rollout)),
            Action::Restore => (Kind::Restored, true),
            Action::RestoreHalf { half, .. } => match half {
                Half::Record => (Kind::RecordRestored, true),
                Half::Database => (Kind::DatabaseRestored, true),
            },
            Action::Metrics(outage) => match outage {
                Outage::None => return,
                Outage::Down => (Kind::MetricsDown, true),
                Outage::Slow => (Kind::MetricsSlow, true),
                Outage::Empty => (Kind::MetricsEmpty, true),
                Outage::Nan => (Kind::MetricsNan, true),
                Outage::Partial => (Kind::MetricsPartial, true),
            },
            Action::Capacity(pods) => (Kind::NoRoom, *pods < live.pods.len()),
            Action::Quota(pods) => (Kind::Quota, *pods < live.pods.len()),
            Action::Deny(kind) => (Kind::Denied, kind.is_some()),
            Action::Around(circumstance) => match Self::around(circumstance) {
                Some(kind) => (kind, true),
                None => return,
            },
            Action::BreakWatch { .. } => (Kind::WatchBreaks, true),
            Action::HandOver { .. } => (Kind::HandOver, true),
            Action::JumpClock { seconds, .. } if *seconds < 0 => (Kind::ClockBack, true),
            Action::JumpClock { .. } => (Kind::ClockAhead, true),
            Action::ApplyNonsense(_) => (Kind::Malformed, true),
            Action::Load(_) => (Kind::Load, true),
            _ => return,
        };
        if counts {
            self.count(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_no_longer_missing() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missing().count(), Kind::ALL.len());
        coverage.count(Kind::Late);
        let mut sum = coverage.clone();
        sum.add(&coverage);
        assert_eq!((sum.of(Kind::Late), sum.sum()), (2, 2));
        assert!(sum.missing().all(|kind| kind != Kind::Late));
        assert_eq!(sum.table().lines().count(), Kind::ALL.len());
    }
}
