//! `spec.strategy`: the way a release takes, and the bounds it keeps on it.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepTest, name::DNS_LABEL};

/// How a new revision replaces the stable one. Only the member of `type` may be given; one that is
/// left out has its documented values, and none is written into the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.canary) || !has(self.type) || self.type == 'Canary'")
        .message("strategy.canary is read with type: Canary alone: write strategy.type: Canary, or remove strategy.canary"),
    validation = Rule::new("!has(self.rolling) || (has(self.type) && self.type == 'Rolling')")
        .message("strategy.rolling is read with type: Rolling alone: write strategy.type: Rolling, or remove strategy.rolling"),
    validation = Rule::new("!has(self.blueGreen) || (has(self.type) && self.type == 'BlueGreen')")
        .message("strategy.blueGreen is read with type: BlueGreen alone: write strategy.type: BlueGreen, or remove strategy.blueGreen"),
)]
pub struct Strategy {
    /// The way of a release. Left out: `Canary`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StrategyType>,

    /// Maximum number of pods above `spec.replicas` during a release: a number, or a percentage
    /// rounded up.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "super::crd::count_or_percent")]
    pub max_surge: IntOrString,

    /// Maximum number of pods below `spec.replicas` that may be unavailable during a release: a
    /// number, or a percentage rounded down. If both bounds round to 0, one surge pod is used.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "super::crd::count_or_percent")]
    pub max_unavailable: IntOrString,

    /// Seconds without progress at a step after which the release is undone. Only time in which the
    /// target is not reached counts, from the last batch of pods that became available. It starts
    /// again at 0 after the target was held for this many seconds. Pods that appear and disappear
    /// are not progress.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 1, max = 604800))]
    pub progress_deadline_seconds: i64,

    /// Former stable revisions to which a return skips the steps.
    #[serde(default)]
    pub rollback_window: RollbackWindow,

    /// What happens to a release whose pods run when the spec asks for a newer revision. `Replace`:
    /// it is withdrawn at once, also at its last step, and the newer one begins at the first step.
    /// `Finish`: it ends first, unless it fails; then the newest revision begins, and those in
    /// between are skipped. Choose `Finish` where revisions come faster than releases end. While
    /// `spec.paused` is true, a newer revision does nothing.
    #[serde(default)]
    pub on_new_revision: OnNewRevision,

    /// The steps of a canary release. Left out: one pod for 300 s, 25% for 600 s, 100% for 900 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,

    /// The batches of a rolling release. Left out: 25% at a time, each held for 30 s, the last one
    /// for 300 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Rolling>,

    /// The sets of a blue-green release. Left out: a preview of one pod, a switch by a person, and an
    /// old set that stays for 600 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
}

/// The ways of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    /// Step by step, from few pods to all, as `canary` says.
    #[default]
    Canary,
    /// Batch by batch until all pods are new, as `rolling` says.
    Rolling,
    /// Two whole sets: users are switched from one to the other at once, as `blueGreen` says. It
    /// needs `spec.traffic`, and room for twice the pods.
    BlueGreen,
}

/// What a newer revision does to a release whose pods run. While `spec.paused` is true, it does
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNewRevision {
    /// The running release is withdrawn at once, also at its last step, and the newer one begins at
    /// the first step.
    #[default]
    Replace,
    /// The running release ends first, unless it fails; then the newest revision begins. Revisions
    /// in between are skipped. A first deployment is replaced all the same.
    Finish,
}

/// How far back a return to a former stable revision skips the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackWindow {
    /// Number of former stable revisions, counted from the latest.
    #[serde(default = "default_window")]
    #[schemars(range(min = 0, max = 100))]
    pub revisions: i64,
}

/// The steps of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.stablePods) || self.steps.exists(s, has(s.weight))")
        .message("strategy.canary.stablePods needs steps with weights: give each step a weight and spec.traffic its routes, or remove stablePods"),
)]
pub struct Canary {
    /// Whether stable keeps its pods while a weight splits the requests. Left out: `Keep`. Only for
    /// steps with weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_pods: Option<StablePods>,

    /// Target states in ascending order. The last must be 100%.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("has(self[size(self) - 1].replicas) ? self[size(self) - 1].replicas == '100%' : has(self[size(self) - 1].weight)")
            .message("the last step must have replicas: \"100%\": add one, so that the release ends whole"),
        validation = Rule::new("self.all(s, has(s.weight)) || self.all(s, has(s.replicas) && !has(s.weight))")
            .message("each step needs replicas, or a weight; once one step has a weight, give every step its own"),
        validation = Rule::new("!has(self[size(self) - 1].weight) || self[size(self) - 1].weight == 100")
            .message("the last step must have weight: 100: add one, so that the release ends with all requests on the new revision"),
        validation = Rule::new("self.all(s, s.name == self[size(self) - 1].name || !has(s.tests) || s.tests.all(t, !has(t.after) || t.after != 'Release'))")
            .message("a test with after: Release runs after the last step: write it into the last one's tests"),
        validation = Rule::new("self.filter(s, has(s.weight)).map(s, s.weight).isSorted()")
            .message("weights must rise: order the steps from the smallest weight to the largest"),
        // The API server reckons with strings of any length here, so no rule may turn them into
        // numbers: "5%" and "25%" are ordered by length, then as text.
        validation = Rule::new("self.filter(s, has(s.replicas) && type(s.replicas) == string).map(s, size(s.replicas)).isSorted() && [2, 3].all(l, self.filter(s, has(s.replicas) && type(s.replicas) == string && size(s.replicas) == l).map(s, s.replicas).isSorted())")
            .message("steps must rise: order the percentages from small to large"),
        validation = Rule::new("self.filter(s, has(s.replicas) && type(s.replicas) == int).map(s, int(s.replicas)).isSorted()")
            .message("steps must rise: order the pod counts from small to large"),
    )]
    pub steps: Vec<Step>,
}

/// Whether stable keeps its pods while a weight splits the requests. `Keep` (the default): all of
/// them stay until the release ends, so up to twice `spec.replicas` run, and an undo is one write.
/// `Shrink`: they become fewer as the weight rises, within `maxSurge`. In an undo, requests go back
/// only as fast as stable's pods are ready for them. Needs steps with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StablePods {
    /// All of them stay until the release ends: an undo finds everybody, and takes seconds. Up to
    /// twice `spec.replicas` run.
    Keep,
    /// They become fewer as the weight rises: no more pods run than `maxSurge` allows, or than the
    /// steps ask for. In an undo requests go back only as fast as pods of stable are ready for them,
    /// so it takes as long as these take to start.
    Shrink,
}

/// A target state: how many pods run the new revision, and how long that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step, shown in status and used in commands.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = DNS_LABEL)
    )]
    #[x_kube(
        validation = Rule::new("self != 'without-undo'")
            .message("a step cannot be called without-undo: promote <revision>/without-undo continues although stable cannot be restored"),
    )]
    pub name: String,

    /// Pods of the new revision: a number (at least 1), or a percentage of `spec.replicas` rounded
    /// up. Below 100%, at least one pod of each revision runs. Left out beside a weight: as many
    /// percent as the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::crd::step_replicas")]
    pub replicas: Option<IntOrString>,

    /// Percent of the requests that go to the new revision, through the routes of `spec.traffic`.
    /// They get there once its pods of this step are ready. `stablePods` says what happens to the
    /// pods of the stable revision meanwhile. Left out: requests follow the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<i32>,

    /// Whether the step passes as soon as nothing holds it, or when a person gives `promote
    /// <revision>/<step>`.
    #[serde(default = "automatic")]
    pub promotion: Promotion,

    /// Seconds for which the target must be reached before the step can be passed.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2592000))]
    pub hold_seconds: i64,

    /// Seconds after the hold within which every check must have a verdict, and no container of the
    /// revision may have ended recently.
    #[serde(default = "default_step_deadline")]
    #[schemars(range(min = 1, max = 2592000))]
    pub deadline_seconds: i64,

    /// What happens at that deadline if a check is still inconclusive.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,

    /// Tests that must succeed, one after the other, before the hold begins; at the last step those
    /// with `after: Release` come after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tests: Vec<StepTest>,
}

/// The batches of a rolling release. Each is a step of its own, called `batch-1`, `batch-2`, … and
/// `last`: it is reached, held and checked like any other, and undone from wherever it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rolling {
    /// Pods that are replaced at a time: a number (at least 1), or a percentage of `spec.replicas`
    /// rounded up. There are at most 100 batches. How many of its pods start or go at once is
    /// bounded by `maxSurge` and `maxUnavailable`, as always.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "super::crd::step_replicas")]
    pub batch: IntOrString,

    /// Seconds for which a batch must be complete before the next one begins.
    #[serde(default = "default_batch_hold")]
    #[schemars(range(min = 0, max = 2592000))]
    pub hold_seconds: i64,

    /// Seconds for which the last batch is held, with all pods new, before the revision is stable.
    #[serde(default = "default_bake")]
    #[schemars(range(min = 0, max = 2592000))]
    pub bake_seconds: i64,

    /// Seconds after its hold within which every check must have a verdict at a batch, and no
    /// container of the revision may have ended recently.
    #[serde(default = "default_step_deadline")]
    #[schemars(range(min = 1, max = 2592000))]
    pub deadline_seconds: i64,

    /// What happens at that deadline if a check is still inconclusive.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,

    /// Tests that must succeed, one after the other, when the first batch is complete, before its
    /// hold begins; those with `after: Release` when the last one has been held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tests: Vec<StepTest>,
}

/// Two whole sets of pods, of which users reach one. The steps are `preview` (few pods, which
/// `canaryService` alone selects), `switch` (all of them), and `live` (`stableService` selects them,
/// and the old set stays). `maxSurge` is not used: there are twice the pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreen {
    /// Pods of the new revision before it is grown to full size. They take work from queues and open
    /// connections as all pods do.
    #[serde(default = "default_preview")]
    #[schemars(range(min = 1, max = 100000))]
    pub preview_replicas: i32,

    /// Whether users are switched as soon as the new set is whole and no check fails, or when a
    /// person says `promote <revision>/switch`.
    #[serde(default)]
    pub promotion: Promotion,

    /// Seconds for which the old set stays after the switch, at full size. Checks go on, and a
    /// return within them is one write. Then the revision is stable.
    #[serde(default = "default_scale_down_delay")]
    #[schemars(range(min = 0, max = 2592000))]
    pub scale_down_delay_seconds: i64,

    /// Tests that must succeed, one after the other: when the preview is ready, which no user
    /// reaches; those with `after: Release` when users have been switched, before the old set's time
    /// begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tests: Vec<StepTest>,
}

/// Who says that a step is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Promotion {
    /// A person, by the `promote` command.
    #[default]
    Manual,
    /// Automatic: the release leaves the step as soon as nothing holds it there.
    Automatic,
}

/// What happens if a step's checks have no verdict in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInconclusive {
    /// Wait for a person.
    #[default]
    Pause,
    /// Roll back to stable.
    Undo,
    /// Continue without a verdict.
    Proceed,
}

fn quarter() -> IntOrString {
    IntOrString::String("25%".into())
}

const fn default_progress_deadline() -> i64 {
    600
}

const fn default_window() -> i64 {
    3
}

const fn default_step_deadline() -> i64 {
    3600
}

const fn default_batch_hold() -> i64 {
    30
}

const fn default_preview() -> i32 {
    1
}

const fn default_scale_down_delay() -> i64 {
    600
}

const fn default_bake() -> i64 {
    300
}

const fn automatic() -> Promotion {
    Promotion::Automatic
}

fn default_steps() -> Vec<Step> {
    let step = |name: &str, replicas: IntOrString, hold_seconds| Step {
        name: name.into(),
        replicas: Some(replicas),
        weight: None,
        promotion: automatic(),
        hold_seconds,
        deadline_seconds: default_step_deadline(),
        on_inconclusive: OnInconclusive::default(),
        tests: Vec::new(),
    };
    vec![
        step("canary", IntOrString::Int(1), 300),
        step("quarter", quarter(), 600),
        step("full", IntOrString::String("100%".into()), 900),
    ]
}

impl Default for RollbackWindow {
    fn default() -> Self {
        Self {
            revisions: default_window(),
        }
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            stable_pods: None,
            steps: default_steps(),
        }
    }
}

impl Default for Rolling {
    fn default() -> Self {
        Self {
            batch: quarter(),
            hold_seconds: default_batch_hold(),
            bake_seconds: default_bake(),
            deadline_seconds: default_step_deadline(),
            on_inconclusive: OnInconclusive::default(),
            tests: Vec::new(),
        }
    }
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self {
            preview_replicas: default_preview(),
            promotion: Promotion::default(),
            scale_down_delay_seconds: default_scale_down_delay(),
            tests: Vec::new(),
        }
    }
}

impl Canary {
    /// Its steps say how many of the requests the new revision gets.
    #[must_use]
    pub(crate) fn is_weighted(&self) -> bool {
        self.steps.iter().any(|step| step.weight.is_some())
    }
}

impl Strategy {
    /// All tests of its steps.
    pub(crate) fn tests_mut(&mut self) -> impl Iterator<Item = &mut StepTest> {
        let steps = self.canary.iter_mut().flat_map(|canary| &mut canary.steps);
        let batches = self
            .rolling
            .iter_mut()
            .flat_map(|rolling| &mut rolling.tests);
        let sets = self.blue_green.iter_mut().flat_map(|sets| &mut sets.tests);
        let tests = steps.flat_map(|step| &mut step.tests);
        tests.chain(batches).chain(sets)
    }

    /// The same, with where each stands in the spec.
    pub(crate) fn tests(&self) -> impl Iterator<Item = (String, &StepTest)> {
        const FIELD: &str = "spec.strategy";
        let steps = self.canary.iter().flat_map(|canary| &canary.steps);
        let steps = steps.enumerate().map(|(index, step)| {
            let field = format!("{FIELD}.canary.steps[{index}]");
            (field, &step.tests)
        });
        let batches = self.rolling.iter();
        let batches = batches.map(|rolling| (format!("{FIELD}.rolling"), &rolling.tests));
        let sets = self.blue_green.iter();
        let sets = sets.map(|sets| (format!("{FIELD}.blueGreen"), &sets.tests));
        let all = steps.chain(batches).chain(sets);
        all.flat_map(|(field, tests)| {
            let tests = tests.iter().enumerate();
            tests.map(move |(index, test)| (format!("{field}.tests[{index}]"), test))
        })
    }

    /// The way of a release.
    #[must_use]
    pub fn way(&self) -> StrategyType {
        self.kind.unwrap_or_default()
    }

    /// The member of its type is given.
    #[must_use]
    pub(crate) fn is_written_out(&self) -> bool {
        match self.way() {
            StrategyType::Canary => self.canary.is_some(),
            StrategyType::Rolling => self.rolling.is_some(),
            StrategyType::BlueGreen => self.blue_green.is_some(),
        }
    }

    /// The steps of its canary, written out, to be changed: it is one from here on.
    pub(crate) fn steps_mut(&mut self) -> &mut Vec<Step> {
        if self.way() != StrategyType::Canary {
            (self.kind, self.rolling, self.blue_green) = (None, None, None);
        }
        &mut self.canary.get_or_insert_default().steps
    }

    /// The batches of its rolling release, written out, to be changed: it is one from here on.
    pub(crate) fn rolling_mut(&mut self) -> &mut Rolling {
        self.kind = Some(StrategyType::Rolling);
        (self.canary, self.blue_green) = (None, None);
        self.rolling.get_or_insert_default()
    }

    /// Its blue-green release, written out, to be changed: it is one from here on.
    pub(crate) fn blue_green_mut(&mut self) -> &mut BlueGreen {
        self.kind = Some(StrategyType::BlueGreen);
        (self.canary, self.rolling) = (None, None);
        self.blue_green.get_or_insert_default()
    }

    /// Nobody is asked before a step is passed.
    pub(crate) fn promote_itself(&mut self) {
        if self.way() == StrategyType::BlueGreen {
            self.blue_green_mut().promotion = Promotion::Automatic;
        }
        for step in self.canary.iter_mut().flat_map(|canary| &mut canary.steps) {
            step.promotion = Promotion::Automatic;
        }
    }

    /// A release is over as soon as all of it runs.
    pub(crate) fn without_bake(&mut self) {
        match self.way() {
            StrategyType::Canary => {
                if let Some(last) = self.steps_mut().last_mut() {
                    last.hold_seconds = 0;
                }
            }
            StrategyType::Rolling => self.rolling_mut().bake_seconds = 0,
            StrategyType::BlueGreen => self.blue_green_mut().scale_down_delay_seconds = 0,
        }
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            max_surge: quarter(),
            max_unavailable: quarter(),
            progress_deadline_seconds: default_progress_deadline(),
            rollback_window: RollbackWindow::default(),
            on_new_revision: OnNewRevision::default(),
            kind: None,
            canary: None,
            rolling: None,
            blue_green: None,
        }
    }
}
