//! By which way releases go (`STRATEGY=` of `make demo`).

use clap::ValueEnum;
use serde_json::{Value, json};
use stepgate::api::rollout_status::RolloutStatus;
use testbed::traffic::Traffic;
use testbed::{Namespace, Result, install, reach};

use crate::release::SHOP;

/// The Service that users address.
const USERS: &str = "shop-stable";
/// That of the new revision.
const CANARY: &str = "shop-canary";
/// The way of the shop's releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum Way {
    /// One pod, a quarter, all.
    #[default]
    Canary,
    /// Batch by batch.
    Rolling,
    /// Two whole sets, and a Service that leads users to one of them.
    BlueGreen,
}

impl Way {
    /// The steps of a release that goes through.
    pub const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Canary => &["canary", "quarter", "full"],
            Self::Rolling => &["batch-1", "batch-2", "batch-3", "last"],
            Self::BlueGreen => &["preview", "switch", "live"],
        }
    }

    /// The steps of one that users find out to be bad: those until they meet it.
    pub fn until_met(self) -> &'static [&'static str] {
        match self {
            Self::BlueGreen => self.steps(),
            _ => &self.steps()[..1],
        }
    }

    /// The way, in the audience's words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Canary => "canary → 25% → 100%",
            Self::Rolling => "batch by batch, a quarter at a time",
            Self::BlueGreen => "preview → all of the new set → switch",
        }
    }

    /// Stepgate's own Services lead users.
    pub const fn has_services(self) -> bool {
        matches!(self, Self::BlueGreen)
    }

    /// What of the spec it changes: strategy and traffic.
    fn changes(self) -> Option<(Value, Value)> {
        let services = json!({
            "portsFrom": {"name": SHOP}, "stableService": USERS, "canaryService": CANARY,
        });
        match self {
            Self::Canary => None,
            Self::Rolling => {
                let rolling = json!({"batch": "25%", "holdSeconds": 10, "bakeSeconds": 10});
                let strategy = json!({"type": "Rolling", "rolling": rolling});
                Some((strategy, Value::Null))
            }
            Self::BlueGreen => {
                let sets = json!({"promotion": "Automatic", "scaleDownDelaySeconds": 15});
                let strategy = json!({"type": "BlueGreen", "blueGreen": sets});
                Some((strategy, services))
            }
        }
    }

    /// What is written into a release for it, for people.
    pub fn written(self) -> Option<String> {
        let (strategy, _) = self.changes()?;
        Some(format!("spec.strategy: {strategy}"))
    }

    /// Applies a release from this folder, by this way.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(self, namespace: &Namespace, folder: &str) -> Result<()> {
        let Some((strategy, traffic)) = self.changes() else {
            return namespace.kubectl(&["apply", "-k", folder]).await.map(drop);
        };
        let testbed = namespace.testbed();
        let text = testbed.run_kubectl(&["kustomize", folder]).await?;
        let mut rollout = install::documents(&text)?.remove(0);
        let spec = &mut rollout["spec"];
        let known = spec["strategy"].take();
        spec["strategy"] = strategy;
        for bound in ["maxSurge", "maxUnavailable", "progressDeadlineSeconds"] {
            spec["strategy"][bound] = known[bound].clone();
        }
        if !traffic.is_null() {
            spec["traffic"] = traffic;
        }
        namespace.put(&rollout).await.map(drop)
    }

    /// What it needs beside the shop: rights.
    ///
    /// # Errors
    /// When something is refused.
    pub async fn prepare(self, namespace: &Namespace) -> Result<()> {
        if self.has_services() {
            namespace
                .kubectl(&["apply", "-f", "deploy/roles/services.yaml"])
                .await?;
        }
        Ok(())
    }

    /// Begins to send requests as users do; with where to, for people.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn clients(
        self,
        namespace: &Namespace,
        url: Option<&str>,
        rate: u32,
    ) -> Result<(Traffic, String)> {
        let url = match (url, self) {
            (Some(url), _) => url.to_owned(),
            (None, Self::BlueGreen) => reach::service(namespace, USERS).await?,
            (None, _) => reach::service(namespace, SHOP).await?,
        };
        Ok((Traffic::start(&url, rate)?, url))
    }

    /// No user is led to this revision any more.
    pub fn leads_away(self, status: &RolloutStatus, revision: &str) -> bool {
        let Some(traffic) = &status.traffic else {
            return false;
        };
        traffic.stable_service.revision != revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_have_the_names_of_the_spec() {
        let names = Way::value_variants().iter().map(|way| {
            let value = way.to_possible_value().expect("none is hidden");
            value.get_name().to_owned()
        });
        let names: Vec<_> = names.collect();
        assert_eq!(names, ["canary", "rolling", "blueGreen"]);
    }
}
