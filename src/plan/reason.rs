//! Reasons: the one list of the words by which conditions, Events and endings say why.
//!
//! Behaviour matches on [`Reason`], never on its word. The tables in `docs/rollout.md` are made
//! from this list.

use std::fmt;

/// Where people meet a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// On `Ready` while it is true.
    Ready,
    /// On `Reconciling` while it is true: it goes on without anybody's help.
    Reconciling,
    /// On `Stalled` while it is true: a person must act.
    Stalled,
    /// On another condition.
    Condition,
    /// In `status.history`.
    History,
    /// As an Event.
    Event,
}

macro_rules! reasons {
    ($($name:ident: $shown:ident, $meaning:literal, $action:literal;)*) => {
        /// Why.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// All of them, in the order in which a reader should meet them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The CamelCase word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Where people meet it.
            #[must_use]
            pub const fn shown(self) -> Shown {
                match self {
                    $(Self::$name => Shown::$shown,)*
                }
            }

            /// What it means.
            #[cfg(test)]
            pub(crate) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// What a person does; empty where there is nothing to do.
            #[must_use]
            pub const fn action(self) -> &'static str {
                match self {
                    $(Self::$name => $action,)*
                }
            }
        }
    };
}

reasons! {
    Stable: Ready,
        "the revision that the spec asks for is stable",
        "";

    Starting: Reconciling,
        "a new revision was seen",
        "";
    Preflight: Reconciling,
        "the Deployment and ControllerRevision of the revision are being created; then its preflight asks whether the schema may be expanded, and is tried again until its `deadlineSeconds`",
        "see the message; the command for what is missing is in it";
    Expanding: Reconciling,
        "the expand is about to run, or is running in its Job",
        "";
    Soaking: Reconciling,
        "the expand has succeeded, no pod of the revision runs yet, and Stepgate measures stable: \
         if stable is worse now, the schema change is the cause",
        "";
    WaitingForDatabase: Reconciling,
        "a phase of another Rollout runs on the same database",
        "wait, or look at the Job that the message names";
    WaitingForBackfill: Reconciling,
        "the backfill of a lower schema version has not ended; no pod of the revision starts before it. On `Stalled` once it has failed",
        "wait; if it failed, fix the cause, then `retry`";
    WaitingForRollout: Reconciling,
        "the release waits for a Rollout in `spec.after`; it has not started. On `Stalled` \
         while that Rollout is stalled",
        "wait, see the Rollout that the message names, or remove it from `spec.after`";
    DatabaseTerminating: Reconciling,
        "somebody is deleting the DatabaseSchema",
        "if it stays, see its `metadata.finalizers`";
    JobSuspended: Reconciling,
        "somebody suspended the phase's Job after it had begun; Stepgate does not resume it",
        "set the Job's `spec.suspend` to false, or delete the Job and check the database";
    WaitingForDeployment: Reconciling,
        "the Deployment that `spec.adopt` names has a rollout of its own under way; it is moved in afterwards",
        "wait, or see `kubectl rollout status`";
    Stepping: Reconciling,
        "pods are being scaled to the step's target",
        "";
    GoingSlowly: Reconciling,
        "a step takes longer than the progress deadline, but users are served and pods become available, so it is not undone",
        "nothing; if pods are lost all the time, see why they go";
    WaitingForRoom: Reconciling,
        "there is no room for new pods until others of the Rollout are gone; the progress deadline does not run",
        "wait, or see the pods that the message names; if releases often wait for them, shorten `terminationGracePeriodSeconds` or add room";
    WaitingForNode: Reconciling,
        "pods are missing because their node has stopped reporting; the progress deadline does not run until it reports again, or Kubernetes has replaced the pods",
        "see `kubectl describe node` for the node that the message names";
    Holding: Reconciling,
        "the step's target is reached and being held",
        "";
    Testing: Reconciling,
        "the step's target is reached, and its tests run; the hold begins when they have succeeded. Or the last step is passed, and the tests after the release run",
        "";
    CheckUnreadable: Reconciling,
        "the step's target is reached and being held, but a check has no usable data: its metric cannot be read, or has counted only what may be probes; also as an Event",
        "edit the field that the message names; that does not start a new release";
    Unsteady: Reconciling,
        "a container of the revision has just exited; for some seconds no pods are added and stable keeps its pods",
        "";
    NotObserved: Reconciling,
        "the Deployment controller has not acted on the last change, or pods that it counts as available have not been seen; the progress deadline waits for it",
        "see whether kube-controller-manager runs, or, where the message says so, whether the operator's watch of Pods works";
    Paused: Reconciling,
        "`spec.paused` or the `pause` command holds the rollout",
        "set `spec.paused` to false, or `resume`, whichever the message names";
    Undoing: Reconciling,
        "the revision is being undone",
        "";
    Scaling: Reconciling,
        "pods are being scaled to `spec.replicas`",
        "";
    Degraded: Reconciling,
        "too few pods are available",
        "see the message; usual causes are pods that do not start and nodes that are gone";
    ScaledToZero: Ready,
        "`spec.replicas` is 0; a release continues when it is raised",
        "";
    Switching: Reconciling,
        "a Service is being switched to another revision",
        "";
    Weighing: Reconciling,
        "all pods of the step are ready; Stepgate waits for the routes to apply the weight",
        "";
    WaitingForPromotion: Reconciling,
        "the release is ready for the next step and waits for a person to promote it",
        "`promote`, or `undo`";
    ServiceRefused: Reconciling,
        "the API server refuses a Service, or does not answer; it is tried again every ten seconds",
        "as for `DeploymentRefused`";
    RouteRefused: Reconciling,
        "the API server refuses the weights of a route, or does not answer; it is tried again every ten seconds, and an undo does not wait for it",
        "give the operator the right to patch the route (`rbac.routes`), or correct what the message names";
    ReadFailed: Reconciling,
        "a required read failed",
        "see the message; usual causes are a missing permission and an API server that does not answer";
    DeploymentRefused: Reconciling,
        "the API server refuses a Deployment for now, or does not answer; it is tried again every ten seconds",
        "see the message; usual causes are a quota, a webhook and a missing permission";
    ScaleRefused: Reconciling,
        "the API server refuses to scale a Deployment, or does not answer; it is tried again every ten seconds",
        "as for `DeploymentRefused`";
    WriteRefused: Reconciling,
        "the API server refuses another write, or does not answer; it is tried again every ten seconds",
        "as for `DeploymentRefused`";

    CheckFailed: Stalled,
        "a check failed",
        "the release was undone and stable serves: release another revision, or `retry`. If the message says that the release waits for a person, nothing was undone: a failed check stays failed for the revision, so `promote` or `undo`; `resume` helps once the limit has been changed";
    TestFailed: Stalled,
        "a test of a step failed",
        "as for `CheckFailed`; where the release waits for a person, `resume` runs the test again";
    CrashLooping: Stalled,
        "containers of the revision keep exiting",
        "as for `CheckFailed`";
    ReadinessLost: Stalled,
        "a pod of the revision stopped being ready three times within its step's hold (ten minutes at least, an hour at most), though its containers ran on",
        "as for `CheckFailed`; look at its readiness probe and its log";
    ProgressDeadlineExceeded: Stalled,
        "a step's target was not reached in time",
        "as for `CheckFailed`";
    Inconclusive: Stalled,
        "a check has no verdict; shown on `Reconciling` until the step's deadline, then on `Stalled`",
        "`promote`, `resume` or `undo`";
    TemplateRefused: Stalled,
        "the API server rejects the template; no pod was started",
        "correct the template, which makes a new revision";
    PreflightFailed: Stalled,
        "the preflight did not pass within its `deadlineSeconds`; nothing has run, and the database is unchanged",
        "fix what the message names, then `retry`; or release another revision";
    ExpandFailed: Stalled,
        "the expand failed; no pod was started",
        "correct what failed (the script, the database, `schema.expand`), then `retry`. `schema.expand` is not part of the revision, so changing it alone starts nothing";
    ExpandHurts: Stalled,
        "stable does worse since the expand, and no pod of the new revision runs yet: the schema change hurts, not the new code. The message has the figures before and now. Also as an Event. The schema stays expanded",
        "fix the cause in the database, then `resume`, which measures again; or `promote <revision>/expand` to continue anyway; or `undo`";
    JobRefused: Stalled,
        "the API server refuses the Job of the preflight or the expand; no pod was started",
        "as for `ExpandFailed`";
    SqlUnreadable: Stalled,
        "a file of SQL that a phase names cannot be read: its ConfigMap or key is not there, it is too large, or the operator may not read it; nothing has run",
        "fix what the message names; Stepgate looks again every 15 seconds";
    NoSqlRunner: Stalled,
        "a phase is `sql`, and the operator was started without an image for it",
        "give the operator `--sql-image` (`sqlImage` of the chart), or run the phase as a `command`";
    DatabaseNotAllowed: Stalled,
        "`allowedRollouts` of the DatabaseSchema does not list this Rollout; none of its phases runs there",
        "ask the database's administrator to add this Rollout to `allowedRollouts`; the release then continues automatically";
    PhaseTooLong: Stalled,
        "a phase's `deadlineSeconds` is above what the operator permits",
        "write a shorter one, or ask the operator's administrator (`--max-phase-seconds`, `limits.phaseSeconds` of the chart)";
    DatabaseDirty: Stalled,
        "an earlier phase on this database failed and may have left it inconsistent",
        "check the database, then `retry`";
    RecordDisagrees: Stalled,
        "the DatabaseSchema's record, or a file to be run, does not match the ledger in the database: one of them was restored from a backup or changed, or it is another database. Nothing ran. Also on `SchemaReady`",
        "restore the other one to the same time, or record the database's versions with `stepgate.io/baseline`; then `retry`. The Job's log says what does not match, and has the whole command";
    JobVanished: Stalled,
        "a phase's Job was deleted before its end was seen",
        "check the database, then `retry`";
    UndoImpossible: Stalled,
        "a ConfigMap or Secret that stable needs, or stable's ControllerRevision, is gone, so nothing is promoted",
        "restore what the message names, or continue without a possible rollback, with the command in the message";
    StableUnavailable: Stalled,
        "the canary has its pods but stable lacks some, so there is no automatic undo to it",
        "`promote` to continue with the canary, `undo`, or repair stable's pods";
    UndoBlocked: Stalled,
        "stable's pods do not become available; the canary keeps serving",
        "remove the cause that the message names (often a lack of room); the undo then continues automatically";
    SelectorOverlap: Stalled,
        "a Deployment or an older Rollout selects the same pods",
        "move that Deployment in with `spec.adopt`, or delete it with `--cascade=orphan` (see [moving a Deployment in](adopt.md)); or create this Rollout anew with a selector of its own";
    AdoptImpossible: Stalled,
        "the Deployment that `spec.adopt` names cannot be moved in: it does not exist, belongs to another controller or Rollout, is paused, selects other pods, or has more replicas than the Rollout asks for",
        "do what the message says; Stepgate looks again as soon as the Deployment changes";
    AdoptedContested: Stalled,
        "somebody else writes the replicas of the Deployment that is moved in, or raised them afterwards; Stepgate does not change them back",
        "remove `spec.replicas`, or the whole Deployment, from Git, and its autoscaler; then run the command of the message";
    AdoptedLabelled: Stalled,
        "somebody gave the Deployment that is moved in the label `stepgate.io/rollout`; it is not watched, so nothing moves",
        "take the label away: the message has the command";
    ServicesForbidden: Stalled,
        "`spec.traffic` needs the right to read and write Services, and the operator does not have it; everything else goes on as before",
        "grant it: `rbac.services` of the chart, or the Role in `deploy/roles/services.yaml`";
    PortsFromUnusable: Stalled,
        "the Service that `spec.traffic.portsFrom` names does not exist, or cannot be copied: it is headless, an ExternalName, without selector or ports, or does not select the Rollout's pods",
        "correct that Service, or name another one";
    ServiceNotOurs: Stalled,
        "a Service with a name from `spec.traffic` belongs to somebody else; Stepgate does not \
         change it",
        "delete it, or choose another name";
    RoutesForbidden: Stalled,
        "`spec.traffic.routes` needs the right to read and patch a route, and the operator does not have it",
        "grant it: `rbac.routes` of the chart, or the Role in `deploy/roles/routes.yaml`";
    RouteUnusable: Stalled,
        "a route that `spec.traffic.routes` names does not exist, is of a kind that the cluster does not know, does not name the two Services as it should, or is not at 100 and 0 while nothing is released",
        "correct the route as the message says";
    RouteNotAccepted: Stalled,
        "the controllers of a route have not reported its new weights for a minute; pods and users stay as they are, and the release continues as soon as they do",
        "look at the route's `status.parents`, and whether the gateway's controller runs; an `undo` does not wait for it";
    RouteContested: Stalled,
        "somebody else keeps changing the weights of a route; Stepgate leaves them alone for five minutes",
        "let your GitOps tool ignore these weights (`docs/traffic.md`); the step then continues automatically";
    ServiceBypassesSwitch: Stalled,
        "another Service of the namespace selects the pods of every revision, so its users would reach pods too early",
        "delete it, or let its users address `stableService`; if no user reaches pods through it, annotate it with `stepgate.io/not-for-users: \"true\"`";
    SurgeNeeded: Stalled,
        "there is one replica, and `maxSurge: 0` leaves no room for a canary beside it; no pod is moved",
        "set `strategy.maxSurge` to 1, scale to 2 or more, or set `strategy.type: Rolling`, by which the old pod goes first";
    ChildEdited: Stalled,
        "somebody changed the template of a Deployment, so what runs there is not the revision; it gets no more pods",
        "change the Rollout instead. For this revision: `undo`, delete the Deployment once it has no pods, then `retry`";
    MemoryLost: Stalled,
        "the ControllerRevision of a Deployment with pods is gone",
        "restore the ControllerRevision, or delete the Deployment";
    BelowUndoFloor: Stalled,
        "a contract removed something that the revision needs from the schema",
        "release a newer revision";
    VersionClaimed: Stalled,
        "another Rollout runs the backfill and contract of this schema version, and they are not the same",
        "leave `schema.backfill` and `schema.contract` out of one of the two, or raise `schema.version`";
    VersionGoesDown: Stalled,
        "the revision's schema version is lower than what is expanded on the database, and was never there",
        "give the change a `schema.version` above the one that the message names";
    OrderIsCircular: Stalled,
        "by `spec.after`, each of several Rollouts waits for another one of them",
        "remove one of the entries that the message names";
    InvalidSpec: Stalled,
        "the spec cannot be used",
        "correct the field that the message names";

    Released: History,
        "the last step passed",
        "";
    Superseded: History,
        "the spec asked for another revision",
        "";
    TrafficChanged: History,
        "`spec.traffic` was changed in mid-release",
        "";
    FlagWithRelease: History,
        "in `status.flags`: the release under which a flag was turned on is rolled back",
        "";
    UndoneByPerson: History,
        "a person gave the `undo` command",
        "";
    ReturnedToFormerStable: History,
        "the spec asked for a former stable revision",
        "";
    Unknown: History,
        "the reason was lost",
        "";

    EnoughPods: Condition,
        "`Available`: at least `replicas − maxUnavailable` pods are available",
        "";
    TooFewPods: Condition,
        "`Available` is false: too few pods are available",
        "";
    NotAsked: Condition,
        "`SchemaReady`: the spec has no schema phase",
        "";
    Waiting: Condition,
        "`SchemaReady` is false: the phase has not begun",
        "";
    Running: Condition,
        "`SchemaReady` is false: the phase runs",
        "";
    Succeeded: Condition,
        "`SchemaReady`: the phase succeeded",
        "";
    Failed: Condition,
        "`SchemaReady` is false: the phase failed",
        "";
    ContractHurts: Condition,
        "on `SchemaReady`, and as an Event: stable does worse since the contract than before it. Nothing was taken back, and nothing is blocked",
        "fix the cause in the database, or release a revision that does not need what was removed; then `retry`, which measures again";
    StableKept: Condition,
        "`UndoPossible`: stable can be returned to",
        "";
    NotChecked: Condition,
        "`UndoPossible`: stable can be restored if the objects in the message still exist; the \
         operator may not check",
        "grant the operator the right in the message, or make sure that nothing prunes these \
         objects";
    NoStable: Condition,
        "`UndoPossible` is false: no revision has been stable yet",
        "";
    Missing: Condition,
        "`UndoPossible` is false: something that stable needs is gone",
        "restore it";

    FlagsOn: Condition,
        "`FlagsReady`: every flag of `spec.flags` is on for everybody",
        "";
    FlagWaiting: Condition,
        "`FlagsReady` is false: a flag is off, and its ramp begins when the revision is stable",
        "";
    FlagRamping: Condition,
        "`FlagsReady` is false: a flag is turned on step by step",
        "";
    FlagPaused: Condition,
        "`FlagsReady` is false: a flag is on for some users, and waits for a person; also as an Event",
        "`promote <key>/<step>`, or `undo <key>`";
    FlagTakenBack: Condition,
        "`FlagsReady` is false: a flag was turned off again; also as an Event",
        "fix what failed, then `retry <key>`, or change the flag in the spec";
    FlagChangedByHand: Condition,
        "`FlagsReady` is false: somebody changed a flag in its ConfigMap, and it is left as it is; also as an Event",
        "`retry <key>` to ramp it again from off";
    FlagFrozen: Event,
        "a flag stays on for everybody, although its release is rolled back or the spec no longer \
         has it: a contract that names it has begun and removes what the off variant needs",
        "";
    FlagsNotOurs: Condition,
        "`FlagsReady` is false: the ConfigMap that a flag names is somebody else's, and is left as it is; releases go on",
        "delete it, or name another one";
    FlagsForbidden: Condition,
        "`FlagsReady` is false: the ConfigMap of a flag cannot be read or written; releases go on",
        "see the message; the right is granted by `rbac.flags` of the chart, or the Role in `deploy/roles/flags.yaml`";

    RolloutStarted: Event,
        "a release began",
        "";
    PreflightSucceeded: Event,
        "the preflight of a release found no obstacle to its expand",
        "";
    ExpandSucceeded: Event,
        "the expand of a release succeeded",
        "";
    BackfillProgress: Event,
        "a quarter, a half or three quarters of the rows of a batch are filled in",
        "";
    PodKilled: Event,
        "pods of a phase in SQL are killed, for want of memory mostly; each makes room for another, until the deadline",
        "`kubectl describe pod` says why; the runner may use 128Mi, unless a LimitRange says less";
    SoakEnded: Event,
        "the measurement of stable after the expand has ended, and the first pods may start; the message has the result",
        "";
    BackfillSucceeded: Event,
        "on a DatabaseSchema: the backfill of a version succeeded",
        "";
    ContractSucceeded: Event,
        "on a DatabaseSchema: the contract of a version succeeded; no revision below it can run any more",
        "";
    FloorLowered: Event,
        "on a DatabaseSchema: a contract ended before it applied anything; the undo floor is again what it was before",
        "";
    StableMeasured: Event,
        "stable was measured before or after a contract; the message has the result. Without a success before a contract, the contract needs an approval",
        "see `status.schema.message`";
    RevertSucceeded: Event,
        "on a DatabaseSchema: the revert of a version succeeded; its expands count as undone",
        "";
    RevertGivesWay: Event,
        "a revert was cancelled: the spec now asks for something else, or the version has become stable",
        "";
    TestPassed: Event,
        "a test of a step succeeded",
        "";
    StepPassed: Event,
        "a step was passed",
        "";
    TrafficWeighted: Event,
        "the routes send another share of the requests to the new revision",
        "";
    FlagRaised: Event,
        "a flag is on for more users",
        "";
    FlagCompleted: Event,
        "the ramp of a flag has ended: it is on for everybody",
        "";
    TrafficSwitched: Event,
        "the Service that users address selects another revision",
        "";
    RolloutPaused: Event,
        "Stepgate paused a release",
        "`promote`, `resume` or `undo`";
    RolloutCompleted: Event,
        "the revision is stable",
        "";
    Adopted: Event,
        "a running Deployment counts as stable from here on, by `spec.adopt`",
        "";
    MovedIn: Event,
        "the adopted Deployment has been replaced, and has no pods",
        "delete it, in Git too";
    AdoptedGone: Event,
        "the adopted Deployment was deleted while it was stable; the release continues, and no rollback is possible",
        "";
    AdoptedGivenBack: Event,
        "the Rollout is being deleted, and the adopted Deployment gets its replicas back",
        "";
    RolloutWithdrawn: Event,
        "a first deployment was replaced by a newer revision",
        "";
    ReturningToFormerStable: Event,
        "a return to a former stable revision began",
        "";
    UndoStarted: Event,
        "an undo began",
        "";
    UndoCompleted: Event,
        "an undo was completed",
        "";
    CommandDone: Event,
        "a command was carried out",
        "";
    CommandIgnored: Event,
        "a command was ignored; the message says why",
        "";
    SqlChanged: Event,
        "the SQL of a phase was changed before its Job was created; an approval of the former text is void, and nothing has run",
        "";
    LeftOut: Event,
        "the pod of a phase does not have what the message names of the Rollout's own pods; told before its Job is made",
        "if the phase needs it, give it in `schema.job`";
    PhaseFailed: Event,
        "on a DatabaseSchema: the Job of a phase failed",
        "see the Rollout";
    Stalled: Event,
        "the Rollout stalled; the message has the reason of the condition",
        "see that reason";
}

impl Reason {
    /// The reason of this word, if it is one of this program's.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.word() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests;
