//! By which way releases of the shop go.

use clap::ValueEnum;
use serde_json::{Value, json};
use stepgate::api::rollout_status::RolloutStatus;

use crate::route::{self, Gateway};
use crate::traffic::Traffic;
use crate::{Namespace, Result, install, reach};

/// Name of the shop's Rollout and of its ordinary Service.
pub const SHOP: &str = "shop";
/// The Service that users address.
pub const USERS: &str = "shop-stable";
/// That of the new revision.
const CANARY: &str = "shop-canary";
/// Who leads requests by weight.
const GATEWAY: Gateway = Gateway::Envoy;

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
    /// By the weights of an HTTPRoute, through Envoy Gateway.
    Weighted,
}

impl Way {
    /// The steps of a release that goes through.
    #[must_use]
    pub const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Canary => &["canary", "quarter", "full"],
            Self::Rolling => &["batch-1", "batch-2", "batch-3", "last"],
            Self::BlueGreen => &["preview", "switch", "live"],
            Self::Weighted => &["tenth", "half", "full"],
        }
    }

    /// The steps of one that users find out to be bad: those until they meet it.
    #[must_use]
    pub fn until_met(self) -> &'static [&'static str] {
        match self {
            Self::BlueGreen => self.steps(),
            _ => &self.steps()[..1],
        }
    }

    /// The way, in the audience's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Canary => "canary → 25% → 100%",
            Self::Rolling => "batch by batch, a quarter at a time",
            Self::BlueGreen => "preview → all of the new set → switch",
            Self::Weighted => "10% → 50% → 100% of the requests",
        }
    }

    /// Stepgate's own Services lead users.
    #[must_use]
    pub const fn has_services(self) -> bool {
        matches!(self, Self::BlueGreen | Self::Weighted)
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
            Self::Weighted => {
                let step = |(name, weight): (&&str, i32)| json!({"name": name, "weight": weight, "holdSeconds": 10});
                let steps: Vec<_> = self.steps().iter().zip([10, 50, 100]).map(step).collect();
                let mut traffic = services;
                traffic["routes"] = json!([
                    {"kind": GATEWAY.kind(), "name": route::ROUTE, "rules": [route::RULE]}
                ]);
                Some((json!({"canary": {"steps": steps}}), traffic))
            }
        }
    }

    /// What is written into a release for it, for people.
    #[must_use]
    pub fn written(self) -> Option<String> {
        let (strategy, _) = self.changes()?;
        Some(format!("spec.strategy: {strategy}"))
    }

    /// Applies a release from this folder, by this way.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(self, namespace: &Namespace, folder: &str) -> Result<()> {
        if self == Self::Canary {
            return namespace.kubectl(&["apply", "-k", folder]).await.map(drop);
        }
        let testbed = namespace.testbed();
        let text = testbed.run_kubectl(&["kustomize", folder]).await?;
        let mut rollout = install::documents(&text)?.remove(0);
        self.write_into(&mut rollout["spec"]);
        namespace.put(&rollout).await.map(drop)
    }

    /// Writes the way into a Rollout's spec, which keeps its bounds.
    pub fn write_into(self, spec: &mut Value) {
        let Some((strategy, traffic)) = self.changes() else {
            return;
        };
        let known = spec["strategy"].take();
        spec["strategy"] = strategy;
        for bound in ["maxSurge", "maxUnavailable", "progressDeadlineSeconds"] {
            spec["strategy"][bound] = known[bound].clone();
        }
        if !traffic.is_null() {
            spec["traffic"] = traffic;
        }
    }

    /// What it needs beside the shop: rights.
    ///
    /// # Errors
    /// When something is refused.
    pub async fn prepare(self, namespace: &Namespace) -> Result<()> {
        let rights: &[&str] = match self {
            Self::Canary | Self::Rolling => &[],
            Self::BlueGreen => &["deploy/roles/services.yaml"],
            Self::Weighted => &["deploy/roles/services.yaml", "deploy/roles/routes.yaml"],
        };
        for file in rights {
            namespace.kubectl(&["apply", "-f", file]).await?;
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
        if self == Self::Weighted {
            route::apply(GATEWAY, namespace, &[(USERS, 100), (CANARY, 0)]).await?;
            let (host, url) = (route::host(namespace), GATEWAY.url());
            let traffic = Traffic::start_to(&host, url, rate)?;
            return Ok((traffic, format!("{host} at {url} (Envoy Gateway)")));
        }
        let url = match (url, self) {
            (Some(url), _) => url.to_owned(),
            (None, Self::BlueGreen) => reach::service(namespace, USERS).await?,
            (None, _) => reach::service(namespace, SHOP).await?,
        };
        Ok((Traffic::start(&url, rate)?, url))
    }

    /// No user is led to this revision any more.
    #[must_use]
    pub fn leads_away(self, status: &RolloutStatus, revision: &str) -> bool {
        let Some(traffic) = &status.traffic else {
            return false;
        };
        let weight = traffic.weight.as_ref();
        traffic.stable_service.revision != revision && weight.is_none_or(|w| w.canary == 0)
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
        assert_eq!(names, ["canary", "rolling", "blueGreen", "weighted"]);
    }
}
