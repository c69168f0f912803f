//! The `Rollout` resource.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Adopt, After, Analysis, Flag, RolloutStatus, SchemaSpec, Selector, Strategy, Traffic};

/// A workload that is released in steps: schema first, then code, with automatic rollback.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "stepgate.io",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    shortname = "sro",
    category = "stepgate",
    namespaced,
    status = "RolloutStatus",
    derive = "PartialEq",
    doc = "A workload that is released in steps: schema first, then code, with automatic rollback.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.summary.step"),
    printcolumn(name = "Share", type_ = "string", json_path = ".status.summary.share"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.revision"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canary.revision"),
    printcolumn(name = "Failed", type_ = "string", json_path = ".status.summary.failed"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.summary.message"),
    printcolumn(name = "Stable-Images", type_ = "string", json_path = ".status.stable.images", priority = 1),
    printcolumn(name = "Canary-Images", type_ = "string", json_path = ".status.canary.images", priority = 1),
    printcolumn(name = "Got", type_ = "string", json_path = ".status.traffic.measured.percent", priority = 1),
    printcolumn(name = "Checks", type_ = "string", json_path = ".status.summary.checks", priority = 1),
    printcolumn(name = "Schema", type_ = "string", json_path = ".status.summary.schema", priority = 1),
    printcolumn(name = "Backfill", type_ = "string", json_path = ".status.summary.backfill", priority = 1),
    printcolumn(name = "Paused", type_ = "string", json_path = ".status.summary.paused", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("a Rollout's name may have at most 40 characters, so that its Deployments, Jobs and pods fit in Kubernetes' limits: shorten metadata.name"),
    validation = Rule::new("!has(self.spec.after) || self.spec.after.all(a, a.rollout != self.metadata.name)")
        .message("spec.after names this Rollout itself: remove that entry"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Rollout's name must start with a letter and have only lower case letters, digits and dashes: it begins the names of its children"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.selector == oldSelf.selector")
        .message("spec.selector is immutable, or Stepgate would lose track of pods: create a Rollout with another name"),
    validation = Rule::new("has(self.traffic) || !(has(self.strategy) && has(self.strategy.type) && self.strategy.type == 'BlueGreen')")
        .message("strategy.type: BlueGreen needs spec.traffic: name the Service whose ports are copied, and the two that Stepgate makes"),
    validation = Rule::new("!has(self.traffic) || (has(self.traffic.routes) && size(self.traffic.routes) > 0) == (has(self.strategy) && has(self.strategy.canary) && self.strategy.canary.steps.exists(s, has(s.weight)))")
        .message("spec.traffic.routes and steps with a weight go together: write both, or neither"),
    validation = Rule::new("has(self.traffic) || !(has(self.strategy) && has(self.strategy.canary) && self.strategy.canary.steps.exists(s, has(s.weight)))")
        .message("steps with a weight need spec.traffic.routes, which get the weight: add the routes, or give the steps only replicas"),
    validation = Rule::new("!has(self.traffic) || (has(self.strategy) && has(self.strategy.type) && self.strategy.type == 'BlueGreen') || (has(self.strategy) && has(self.strategy.canary) && self.strategy.canary.steps.exists(s, has(s.weight)))")
        .message("spec.traffic is for strategy.type: BlueGreen, and for steps with a weight: write one of them, or remove spec.traffic"),
    validation = Rule::new("!has(self.adopt) || !has(self.traffic)")
        .message("spec.adopt and spec.traffic cannot be combined: the Services of spec.traffic select by a label that the pods of the adopted Deployment do not have; add spec.traffic when the Deployment stands at 0 and spec.adopt is removed"),
    validation = Rule::new("!has(self.adopt) || !has(oldSelf.adopt) || self.adopt == oldSelf.adopt")
        .message("spec.adopt.deployment cannot be changed: remove spec.adopt when the Deployment that it names stands at 0"),
    validation = Rule::new("!(has(self.schema) && has(self.schema.contract) && has(self.schema.contract.flags)) || self.schema.contract.flags.all(k, has(self.flags) && self.flags.exists(f, f.key == k))")
        .message("schema.contract.flags names a key that spec.flags does not have: write the flag there too, so that it is turned on before the contract"),
    validation = Rule::new("has(self.analysis) || !(has(self.schema) && has(self.schema.expand) && has(self.schema.expand.soak))")
        .message("schema.expand.soak measures the stable revision by the checks of spec.analysis: add them, or remove the soak"),
    validation = Rule::new("!has(self.selector.matchLabels) || (has(self.template.metadata) && has(self.template.metadata.labels) && self.selector.matchLabels.all(k, k in self.template.metadata.labels && self.template.metadata.labels[k] == self.selector.matchLabels[k]))")
        .message("spec.template.metadata.labels must carry every label of spec.selector.matchLabels with the same value: add them to the template"),
)]
pub struct RolloutSpec {
    /// Number of pods. Leave it out of Git if an autoscaler scales the Rollout.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100000))]
    pub replicas: i32,

    /// Selects the pods of the workload. Immutable.
    pub selector: Selector,

    /// The pod template, as in a Deployment.
    #[schemars(schema_with = "super::crd::pod_template")]
    pub template: Value,

    /// A running Deployment that is moved in: its pods count as stable, and the Rollout's first
    /// revision replaces them by the ordinary steps and checks. Then it stands at 0 and may be deleted.
    /// Nothing of it is written but its replicas. Only for a Rollout without a stable revision of its
    /// own; afterwards it may be removed or stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,

    /// The database schema that the template needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSpec>,

    /// Other Rollouts of the namespace that go first, as a server before its clients: a release
    /// waits for all of them, before its schema phases and its first pod. A return to stable or to a
    /// former stable waits for nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["rollout".into()]))]
    pub after: Vec<After>,

    /// How a new revision replaces the stable one.
    #[serde(default)]
    pub strategy: Strategy,

    /// The Services through which users reach one revision alone, and the routes that weigh the
    /// requests between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,

    /// Feature flags that are turned on for more and more users once the revision is stable, one
    /// after the other, in this order. They are apart from the release: it is Ready meanwhile. A check
    /// that fails takes back the flag alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub flags: Vec<Flag>,

    /// What is measured during a release, and while a flag is turned on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,

    /// Pauses the rollout where it is: no new release starts and no step is left, also when the
    /// template is changed meanwhile: the revision whose pods run stays until the pause ends. A
    /// failed check still causes an undo.
    #[serde(default)]
    pub paused: bool,

    /// Number of old revisions that are kept for a rollback.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub revision_history_limit: i32,
}

impl RolloutSpec {
    /// The DatabaseSchema that it names.
    #[must_use]
    pub(crate) fn database(&self) -> Option<&str> {
        Some(&self.schema.as_ref()?.database)
    }

    /// The schema version that its template needs.
    #[must_use]
    pub(crate) fn schema_version(&self) -> Option<i64> {
        self.schema.as_ref()?.version
    }
}

const fn one() -> i32 {
    1
}

const fn ten() -> i32 {
    10
}
