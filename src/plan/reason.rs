//! Reasons: the one list of the words by which conditions, Events and endings say why.
//!
//! Behaviour matches on [`Reason`], never on its word. The tables in `docs/rollout.md` are made
//! from this list.

use std::fmt::{self, Write as _};

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
            #[must_use]
            pub const fn meaning(self) -> &'static str {
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
        "the Deployment and ControllerRevision of the revision are being created",
        "";
    Expanding: Reconciling,
        "the expand is about to run, or runs in its Job",
        "";
    WaitingForDatabase: Reconciling,
        "another Rollout's phase runs on the database",
        "wait, or look at the Job that the message names";
    DatabaseTerminating: Reconciling,
        "the DatabaseSchema is being deleted",
        "see its `metadata.finalizers` if it stays";
    JobSuspended: Reconciling,
        "somebody suspended the phase's Job after it had begun",
        "set `spec.suspend` of that Job to false, or delete it and check the database";
    Stepping: Reconciling,
        "pods are on their way to the step's target",
        "";
    Holding: Reconciling,
        "the step's target is reached and is held",
        "";
    Unsteady: Reconciling,
        "a container of the revision ended; no pods are added and stable keeps its pods for a while",
        "";
    Paused: Reconciling,
        "`spec.paused` or the `pause` command holds the rollout",
        "set `spec.paused` to false, or `resume`";
    Undoing: Reconciling,
        "the revision is being undone",
        "";
    Scaling: Reconciling,
        "pods are on their way to `spec.replicas`",
        "";
    Degraded: Reconciling,
        "too few pods are available",
        "see the message: pods that do not start, or nodes that are gone";
    ScaledToZero: Reconciling,
        "`spec.replicas` is 0",
        "scale up";
    ReadFailed: Reconciling,
        "something that must be known cannot be read",
        "see the message: a missing permission, or an API server that does not answer";
    DeploymentRefused: Reconciling,
        "the API server refuses a Deployment for now",
        "see the message: a quota, a webhook, or a missing permission";
    ScaleRefused: Reconciling,
        "the API server refuses to scale a Deployment",
        "see the message";
    WriteRefused: Reconciling,
        "the API server refuses another write",
        "see the message";

    CheckFailed: Stalled,
        "a check failed",
        "undone; stable serves. Release another revision, or `retry`. Where the message says that the release waits for a person, nothing was undone: a failed check stays failed for the revision, so `promote` or `undo`, or change the check";
    CrashLooping: Stalled,
        "containers of the revision keep ending",
        "as for `CheckFailed`";
    ProgressDeadlineExceeded: Stalled,
        "a step was not reached in time",
        "as for `CheckFailed`";
    Inconclusive: Stalled,
        "a check has no verdict: `Reconciling` until the step's deadline, then `Stalled`",
        "`promote`, `resume` or `undo`";
    TemplateRefused: Stalled,
        "the API server refuses the Deployment; no pod was started",
        "correct the template: that is a new revision";
    ExpandFailed: Stalled,
        "the expand failed; no pod was started",
        "correct what failed (the script, the database, `schema.expand`), then `retry`: the expand is no part of the revision's name, so changing it alone starts nothing";
    JobRefused: Stalled,
        "the API server refuses the expand's Job; no pod was started",
        "as for `ExpandFailed`";
    DatabaseDirty: Stalled,
        "an earlier phase failed and may have left the database inconsistent",
        "check the database, then `retry`";
    JobVanished: Stalled,
        "a phase's Job was deleted while it ran",
        "check the database, then `retry`";
    UndoImpossible: Stalled,
        "a ConfigMap or Secret that stable needs is gone, so nothing is promoted",
        "create it again";
    StableUnavailable: Stalled,
        "the canary has its pods, stable lacks some: nothing is undone to what does not serve",
        "`promote` to go on with the canary, `undo`, or repair stable's pods";
    UndoBlocked: Stalled,
        "stable's pods do not come back",
        "make room for them; the undo then goes on";
    SelectorOverlap: Stalled,
        "another Deployment or Rollout selects the same pods",
        "delete it, or give the Rollout a selector of its own";
    ChildEdited: Stalled,
        "somebody changed the template of a Deployment, so what runs is not the revision; it gets no more pods",
        "change the Rollout instead; for this revision `undo`, delete that Deployment when it is empty, and `retry`";
    MemoryLost: Stalled,
        "the ControllerRevision of a Deployment with pods is gone",
        "restore it, or delete the Deployment";
    BelowUndoFloor: Stalled,
        "a contract removed what the revision needs",
        "release a newer revision";
    InvalidSpec: Stalled,
        "the spec cannot be used",
        "correct the field that the message names";

    Released: History,
        "the last step passed",
        "";
    Superseded: History,
        "the spec asked for another revision",
        "";
    UndoneByPerson: History,
        "a person said `undo`",
        "";
    ReturnedToFormerStable: History,
        "the spec asked for a former stable revision",
        "";
    Unknown: History,
        "the reason was lost",
        "";

    EnoughPods: Condition,
        "`Available`: at least the least number of pods is available",
        "";
    TooFewPods: Condition,
        "`Available` is false: fewer are",
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
    StableKept: Condition,
        "`UndoPossible`: stable can be returned to",
        "";
    NoStable: Condition,
        "`UndoPossible` is false: no revision has been stable yet",
        "";
    Missing: Condition,
        "`UndoPossible` is false: something that stable needs is gone",
        "create it again";

    RolloutStarted: Event,
        "a release began",
        "";
    ExpandSucceeded: Event,
        "the expand of a release succeeded",
        "";
    StepPassed: Event,
        "a step was passed",
        "";
    RolloutPaused: Event,
        "Stepgate paused a release",
        "`promote`, `resume` or `undo`";
    RolloutCompleted: Event,
        "the revision is stable",
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
        "an undo ended",
        "";
    CommandDone: Event,
        "a command was carried out",
        "";
    CommandIgnored: Event,
        "a command was ignored; the message says why",
        "";
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

/// The tables of all reasons, as `docs/rollout.md` has them.
#[must_use]
pub fn tables() -> String {
    let parts = [
        (Shown::Stalled, "Reasons of `Stalled`", true),
        (Shown::Reconciling, "Reasons of `Reconciling`", true),
        (Shown::Event, "Events", false),
        (Shown::History, "Other reasons in `status.history`", false),
        (Shown::Condition, "Reasons of the other conditions", false),
    ];
    let mut text = String::new();
    for (shown, title, with_action) in parts {
        let head = if with_action {
            "| reason | what it means | what to do |\n|---|---|---|"
        } else {
            "| reason | what it means |\n|---|---|"
        };
        let _ = writeln!(text, "#### {title}\n\n{head}");
        for reason in Reason::ALL.iter().filter(|r| r.shown() == shown) {
            let _ = write!(text, "| `{reason}` | {} |", reason.meaning());
            if with_action {
                let _ = write!(
                    text,
                    " {} |",
                    match reason.action() {
                        "" => "nothing",
                        action => action,
                    }
                );
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}
