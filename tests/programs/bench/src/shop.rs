//! The shop's Rollout as it is released here, and releases followed to their ends.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use stepgate::api::{RolloutStatus, status::Ended};
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::way::{SHOP, Way};
use testbed::{Error, Namespace, Result, program};

/// The shop's pods.
pub const REPLICAS: i32 = 8;
/// The longest that a release may take.
const LIMIT: Duration = Duration::from_secs(240);

/// What is released.
#[derive(Clone, Debug)]
pub struct Release {
    /// The shop's fault, as `SHOP_FAULT` takes it.
    pub fault: String,
    /// Whether it has a schema to expand.
    pub schema: bool,
    /// Seconds that each step is held.
    pub hold: u32,
    /// By which way it goes.
    pub way: Way,
}

impl Release {
    /// A good one, with its schema, held as in the demo.
    pub fn good() -> Self {
        Self::with_fault("none")
    }

    /// One with this fault.
    pub fn with_fault(fault: &str) -> Self {
        Self {
            fault: fault.into(),
            schema: true,
            hold: 10,
            way: Way::Canary,
        }
    }

    /// By this way.
    #[must_use]
    pub const fn by(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// The Rollout; `number` makes it a revision of its own.
    fn manifest(&self, number: u32) -> Result<Value> {
        let file =
            program::repository().join("tests/programs/shop/manifests/releases/base/rollout.yaml");
        let cannot = |why: String| Error::refused(format!("{}: {why}", file.display()));
        let text = std::fs::read_to_string(&file).map_err(|error| cannot(error.to_string()))?;
        let mut rollout: Value =
            serde_saphyr::from_str(&text).map_err(|error| cannot(error.to_string()))?;
        let spec = &mut rollout["spec"];
        spec["replicas"] = json!(REPLICAS);
        let template = &mut spec["template"];
        template["metadata"]["annotations"]["bench/release"] = json!(number.to_string());
        let environment = template["spec"]["containers"][0]["env"].as_array_mut();
        let mut set = 0;
        for variable in environment.into_iter().flatten() {
            let value = match variable["name"].as_str() {
                Some("SHOP_VERSION") => "v2",
                Some("SHOP_FAULT") => &self.fault,
                _ => continue,
            };
            variable["value"] = json!(value);
            set += 1;
        }
        if set != 2 {
            return Err(cannot("it has no SHOP_VERSION and SHOP_FAULT".into()));
        }
        spec["schema"]["version"] = json!(2);
        if !self.schema
            && let Some(fields) = spec.as_object_mut()
        {
            fields.remove("schema");
        }
        for step in spec["strategy"]["canary"]["steps"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            step["holdSeconds"] = json!(self.hold);
        }
        self.way.write_into(spec);
        Ok(rollout)
    }
}

/// The shop, released again and again.
#[derive(Debug)]
pub struct Shop {
    /// Where it is.
    pub namespace: Namespace,
    releases: u32,
}

/// A release that ended.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was applied.
    pub began: SystemTime,
    /// How it ended.
    pub ended: Ended,
    /// When it was seen that the operator had decided to undo it, if it did.
    pub undone: Option<SystemTime>,
}

impl Shop {
    /// The shop in this namespace, with nothing released yet.
    pub const fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            releases: 0,
        }
    }

    /// Applies a release as a revision of its own, and follows it until it has ended and stable
    /// is whole again.
    pub async fn release(&mut self, release: &Release) -> Result<Seen> {
        let applied = self.apply(release).await?;
        if release.way == Way::BlueGreen {
            self.is_looked_at(&applied).await?;
        }
        self.finish(&applied).await
    }

    /// The first release. Its bake needs traffic too, so that is begun with its pods.
    pub async fn first_release(&mut self, way: Way, per_second: u32) -> Result<Traffic> {
        way.prepare(&self.namespace).await?;
        let applied = self.apply(&Release::good().by(way)).await?;
        let serving = self.namespace.until("pods in the Service", LIMIT, |state| {
            let pods = state.serving.last().map_or(0, |(_, pods)| pods.len());
            (pods >= REPLICAS as usize).then_some(())
        });
        serving.await?;
        let (traffic, _) = way.clients(&self.namespace, None, per_second).await?;
        self.finish(&applied).await?;
        Ok(traffic)
    }

    /// The stable revision.
    pub fn stable(&self) -> Option<String> {
        let status = self.namespace.view.read(|state| state.status(SHOP));
        status.stable.map(|stable| stable.revision)
    }

    async fn apply(&mut self, release: &Release) -> Result<Applied> {
        self.releases += 1;
        let began = SystemTime::now();
        let applied = self
            .namespace
            .put(&release.manifest(self.releases)?)
            .await?;
        Ok(Applied {
            began,
            generation: applied.metadata.generation.unwrap_or_default(),
            fault: release.fault.clone(),
        })
    }

    /// A person has looked at the preview of a blue-green release, and goes on before its hold is over.
    async fn is_looked_at(&self, applied: &Applied) -> Result<()> {
        let preview = self.namespace.until("a preview", LIMIT, |state| {
            let status = state.status(SHOP);
            let release = status.release?;
            let is_ours = status.observed_generation == Some(applied.generation);
            let step = release
                .step()
                .filter(|step| is_ours && step.reached.is_some())?;
            Some(format!("{}/{} looked-at", release.revision, step.name))
        });
        let text = preview.await?;
        self.namespace.tell(SHOP, "promote", &text).await
    }

    async fn finish(&self, applied: &Applied) -> Result<Seen> {
        let what = format!("the end of a release with fault {}", applied.fault);
        let ended = self.namespace.until(&what, LIMIT, |state| {
            let status = state.status(SHOP);
            let whole = has_ended(&status, applied.generation) && is_whole(state, &status);
            whole.then(|| status.history.first().cloned()).flatten()
        });
        let ended = ended.await?;
        let undone = self.namespace.view.read(|state| {
            let mut versions = state.versions.iter();
            let undone = versions.find(|(_, rollout)| {
                let release = rollout.status.as_ref().and_then(|s| s.release.as_ref());
                release.is_some_and(|r| r.revision == ended.revision && r.undo().is_some())
            });
            undone.map(|(at, _)| *at)
        });
        Ok(Seen {
            began: applied.began,
            ended,
            undone,
        })
    }
}

struct Applied {
    began: SystemTime,
    generation: i64,
    fault: String,
}

/// Nothing is in motion any more, as of this generation of the spec.
pub fn has_ended(status: &RolloutStatus, generation: i64) -> bool {
    let reconciling = status.conditions.iter().find(|c| c.type_ == "Reconciling");
    status.observed_generation == Some(generation)
        && status.release.is_none()
        && reconciling
            .is_some_and(|c| c.status == "False" && c.observed_generation == Some(generation))
}

/// All pods are stable's, and available.
fn is_whole(state: &State, status: &RolloutStatus) -> bool {
    let Some(stable) = &status.stable else {
        return false;
    };
    let child = state
        .deployments
        .get(&format!("{SHOP}-{}", stable.revision));
    let available = child.and_then(|c| c.status.as_ref()?.available_replicas);
    available == Some(REPLICAS) && state.pods_of(&stable.revision).count() >= REPLICAS as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_made_of_the_shops_manifest() {
        let bad = Release::with_fault("errors=0.05").manifest(7).unwrap();
        let spec = &bad["spec"];
        assert_eq!(
            spec["template"]["spec"]["containers"][0]["env"][1]["value"],
            "errors=0.05"
        );
        assert_eq!(
            spec["template"]["metadata"]["annotations"]["bench/release"],
            "7"
        );
        assert_eq!(spec["schema"]["version"], 2);
        assert_eq!(spec["analysis"]["intervalSeconds"], 1);
        let blue_green = Release::good().by(Way::BlueGreen).manifest(7).unwrap();
        let spec = &blue_green["spec"];
        assert_eq!(spec["strategy"]["type"], "BlueGreen");
        assert_eq!(spec["strategy"]["maxSurge"], "25%");
        assert_eq!(spec["traffic"]["stableService"], "shop-stable");
        let plain = Release {
            schema: false,
            hold: 3,
            ..Release::good()
        };
        let spec = &plain.manifest(8).unwrap()["spec"];
        // A null is no absence to the API server.
        assert!(spec.get("schema").is_none());
        assert_eq!(spec["strategy"]["canary"]["steps"][2]["holdSeconds"], 3);
    }
}
