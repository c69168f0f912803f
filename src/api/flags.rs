//! `spec.flags`: feature flags that are turned on for more and more users, after the release.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Promotion,
    name::{DNS_LABEL, FLAG_NAME},
    release::Why,
};

/// A feature flag that Stepgate turns on for more and more users, once, after the revision is
/// stable. It is written to a ConfigMap in the file format of flagd (OpenFeature), which pods mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.onVariant != self.offVariant")
        .message("flags[].onVariant and offVariant must be different names"),
    validation = Rule::new("self.configMap.name == oldSelf.configMap.name")
        .message("flags[].configMap is immutable, because pods read the flag from it: remove the flag, then add it again with the other ConfigMap"),
)]
pub struct Flag {
    /// Key of the flag, by which the application asks for it.
    #[schemars(length(min = 1, max = 63), regex(pattern = FLAG_NAME))]
    pub key: String,

    /// The ConfigMap that holds the flag, under `flags.json`. Stepgate makes and owns it.
    pub config_map: FlagConfigMap,

    /// Name of the variant that a user has for whom the flag is on. Its value is `true`.
    #[schemars(length(min = 1, max = 63), regex(pattern = FLAG_NAME))]
    pub on_variant: String,

    /// Name of the variant that all other users have. Its value is `false`.
    #[schemars(length(min = 1, max = 63), regex(pattern = FLAG_NAME))]
    pub off_variant: String,

    /// For how many users the flag is on, step by step. The last must be 100%.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self[size(self) - 1].percent == 100")
            .message("the last step of a ramp must have percent: 100: add one, so that the flag ends on for everybody"),
        validation = Rule::new("self.map(s, s.percent).isSorted()")
            .message("the steps of a ramp must rise: order the percentages from small to large"),
    )]
    pub ramp: Vec<RampStep>,
}

/// The ConfigMap of a flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlagConfigMap {
    /// Its name. One that Stepgate did not make for this Rollout is left as it is.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
}

/// For how many users a flag is on, and how long that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RampStep {
    /// Name of the step, shown in status and used in commands.
    #[schemars(length(min = 1, max = 40), regex(pattern = DNS_LABEL))]
    pub name: String,

    /// Percentage of users for whom the flag is on. The targeting key of a request identifies the
    /// user. A user for whom the flag is on keeps it until the flag is turned off.
    #[schemars(range(min = 1, max = 100))]
    pub percent: i32,

    /// Seconds for which the step is held, after the 90 that the flag may need to reach every pod.
    /// Then every check of `spec.analysis` must pass.
    #[serde(default = "default_hold")]
    #[schemars(range(min = 0, max = 2592000))]
    pub hold_seconds: i64,

    /// Whether the step is left as soon as nothing stands against it, or when a person says
    /// `promote <key>/<step>`.
    #[serde(default = "automatic")]
    pub promotion: Promotion,
}

/// Where a flag stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlagStatus {
    /// Its key.
    pub key: String,
    /// The ConfigMap that holds it.
    pub config_map: String,
    /// Where it stands.
    pub state: FlagState,
    /// Percentage of users for whom it is to be on.
    pub percent: i32,
    /// The step of its ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The stable revision under which it was raised last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Since when its requests are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// By when what the ConfigMap says has reached every pod: the hold begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaches_pods_by: Option<Time>,
    /// Why it was taken back, waits for a person, or is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Number of the last change that was decided. The ConfigMap has the number of the last one that
    /// was written.
    pub change: i64,
    /// A person said that what was changed by hand may be written over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overwrites: bool,
    /// Hash of the flag as the spec had it then.
    pub asked: String,
}

/// Where a flag stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlagState {
    /// It is off, and its ramp has not begun.
    Waiting,
    /// It is on for some users, and its ramp goes on.
    Ramping,
    /// It is on for some users, and waits for a person.
    Paused,
    /// Its ramp has ended: it is on for everybody.
    On,
    /// It was taken back, and stays off until a person says `retry <key>`, or the flag is changed in
    /// the spec.
    TakenBack,
    /// Somebody changed it in the ConfigMap: it is left as it is, until a person says `retry <key>`.
    ChangedByHand,
}

impl FlagState {
    /// The word, as the API has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Ramping => "Ramping",
            Self::Paused => "Paused",
            Self::On => "On",
            Self::TakenBack => "TakenBack",
            Self::ChangedByHand => "ChangedByHand",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [
            Self::Waiting,
            Self::Ramping,
            Self::Paused,
            Self::On,
            Self::TakenBack,
            Self::ChangedByHand,
        ]
        .into_iter()
        .find(|state| state.word() == word)
    }
}

const fn default_hold() -> i64 {
    600
}

const fn automatic() -> Promotion {
    Promotion::Automatic
}
