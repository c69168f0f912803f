//! Scenarios: a world, what people and fate do in it, and when.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    action::Action,
    driver::{BrokenOff, Simulation},
    object::Name,
    request::Fate,
    setting::{Behaviour, Health, Migration, MigrationEnd, Setting},
    story::Detail,
};
use crate::{
    api::{PhaseKind, RolloutSpec},
    plan::facts::ConfigRef,
};

/// Events that no scenario needs.
const MOST_EVENTS: u64 = 400_000;

/// When `v1` is stable in each scenario that is about a later release.
pub(crate) const SETTLED: i64 = 120;

/// A world, what happens in it, and for how long it is watched.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, in words joined by dashes.
    pub name: &'static str,
    /// How the world behaves.
    pub setting: Setting,
    /// Who does what, by second.
    pub script: Vec<(i64, Action)>,
    /// Seconds that it takes.
    pub seconds: i64,
    /// Processes of the operator.
    pub processes: usize,
    /// ConfigMaps that exist.
    pub configs: Vec<&'static str>,
    /// What befalls the operator's writes, by their number.
    pub fates: BTreeMap<u64, Fate>,
}

impl Scenario {
    /// A quiet world of ten minutes.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            setting: Setting::default(),
            script: Vec::new(),
            seconds: 600,
            processes: 1,
            configs: vec!["shop-config"],
            fates: BTreeMap::new(),
        }
    }

    /// Somebody acts at that second.
    #[must_use]
    pub fn then(mut self, second: i64, action: Action) -> Self {
        self.script.push((second, action));
        self
    }

    /// It is watched for so many seconds.
    #[must_use]
    pub const fn lasts(mut self, seconds: i64) -> Self {
        self.seconds = seconds;
        self
    }

    /// Its pods have a disk that one node at a time can have.
    #[must_use]
    pub(crate) const fn with_a_disk_of_one_node(mut self) -> Self {
        self.setting.disk_of_one_node = true;
        self
    }

    /// Pods of an image behave so.
    #[must_use]
    pub fn image(mut self, image: &str, behaviour: Behaviour) -> Self {
        self.setting.behaviours.insert(image.into(), behaviour);
        self
    }

    /// The world at its beginning.
    #[must_use]
    pub fn begin(&self, seed: u64, detail: Detail) -> Simulation {
        let simulation = Simulation::new(self.setting.clone(), seed, self.processes);
        {
            let mut world = simulation.world();
            world.story.detail = detail;
            world.faults.scripted.clone_from(&self.fates);
            let configs = self.configs.iter();
            world.configs = configs
                .map(|name| ConfigRef {
                    secret: false,
                    name: (*name).into(),
                })
                .collect();
        }
        for (second, action) in &self.script {
            simulation.plan(*second, action.clone());
        }
        simulation
    }

    /// The world at its end.
    ///
    /// # Errors
    /// When a rule was broken on the way; the world is as it was then.
    pub fn play(&self, seed: u64, detail: Detail) -> (Simulation, Result<(), BrokenOff>) {
        let mut simulation = self.begin(seed, detail);
        let result = simulation.run_for(self.seconds, MOST_EVENTS);
        (simulation, result)
    }
}

/// A Rollout with two checks, short steps, a ConfigMap, and a database when `version` is given.
#[must_use]
pub fn shop(image: &str, replicas: i32, version: Option<i64>) -> RolloutSpec {
    workload("shop", image, replicas, version)
}

/// The same, for a Rollout of that name.
#[must_use]
pub fn workload(name: &str, image: &str, replicas: i32, version: Option<i64>) -> RolloutSpec {
    let labels = json!({"app": name});
    let schema = version.map_or(Value::Null, |version| {
        json!({
            "database": "shop-db",
            "version": version,
            "expand": {"command": ["shop", "migrate", "expand"], "deadlineSeconds": 120},
        })
    });
    let spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": "app",
                "image": image,
                "envFrom": [{"configMapRef": {"name": "shop-config"}}],
            }]},
        },
        "schema": schema,
        "strategy": {
            "progressDeadlineSeconds": 120,
            "canary": {"steps": [
                {"name": "canary", "replicas": 1, "holdSeconds": 60, "deadlineSeconds": 300},
                {"name": "half", "replicas": "50%", "holdSeconds": 60, "deadlineSeconds": 300},
                {"name": "full", "replicas": "100%", "holdSeconds": 60, "deadlineSeconds": 300},
            ]},
        },
        "analysis": {"intervalSeconds": 10, "checks": [
            {"name": "errors", "errorRate": {"maxPercent": "0.5"}},
            {"name": "p95", "latency": {"percentile": 95, "maxMilliseconds": 200}},
        ]},
    });
    serde_json::from_value(spec).unwrap_or_else(|error| unreachable(&error))
}

/// The one spec above is written out here; a test reads it.
#[expect(clippy::panic, reason = "the manifest above is part of the program")]
fn unreachable(error: &serde_json::Error) -> ! {
    panic!("the built-in Rollout cannot be read: {error}")
}

/// Somebody applies this spec to the Rollout `shop`.
#[must_use]
pub fn apply(spec: RolloutSpec) -> Action {
    apply_to("shop", spec)
}

/// Somebody applies this spec.
#[must_use]
pub(crate) fn apply_to(rollout: &str, spec: RolloutSpec) -> Action {
    Action::Apply {
        rollout: rollout.into(),
        spec: Box::new(spec),
        keep_replicas: false,
    }
}

/// Somebody releases an image of `shop`.
#[must_use]
pub fn release(image: &str, version: Option<i64>) -> Action {
    Action::Release {
        rollout: "shop".into(),
        image: image.into(),
        version,
    }
}

/// Somebody gives `shop` a command.
#[must_use]
pub fn command(verb: &'static str) -> Action {
    Action::Command {
        rollout: "shop".into(),
        verb,
    }
}

/// `shop` is scaled.
#[must_use]
pub fn scale(replicas: i32) -> Action {
    Action::Scale {
        rollout: "shop".into(),
        replicas,
    }
}

/// `shop` is paused in its spec, or not.
#[must_use]
pub fn pause(paused: bool) -> Action {
    Action::Pause {
        rollout: name(),
        paused,
    }
}

/// So many requests come per second.
#[must_use]
pub const fn requests(per_second: f64) -> Action {
    Action::Load(per_second)
}

/// Name of the Rollout that most scenarios are about.
#[must_use]
pub fn name() -> Name {
    "shop".into()
}

/// Pods that answer with errors.
#[must_use]
pub fn wrong(error_percent: f64) -> Behaviour {
    Behaviour {
        error_percent,
        ..Behaviour::default()
    }
}

/// Pods that are slow.
#[must_use]
pub fn slow(p95_milliseconds: f64) -> Behaviour {
    Behaviour {
        p95_milliseconds,
        ..Behaviour::default()
    }
}

/// Pods that do not come up, or do not stay up.
#[must_use]
pub(crate) fn unwell(health: Health) -> Behaviour {
    Behaviour {
        health,
        ..Behaviour::default()
    }
}

/// A release whose expand goes so, attempt by attempt.
#[must_use]
pub(crate) fn migrating(attempts: &[(i64, MigrationEnd)]) -> Behaviour {
    let attempts = attempts.iter().map(|(seconds, end)| Migration {
        seconds: *seconds,
        end: *end,
    });
    Behaviour {
        migrations: BTreeMap::from([(PhaseKind::Expand, attempts.collect())]),
        ..Behaviour::default()
    }
}

/// `v1` runs with 4 pods, and `v2` is released behaving so.
#[must_use]
pub fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(shop("v1", 4, Some(1))))
        .then(SETTLED, release("v2", Some(2)))
}

/// The same, and `v2` is well.
#[must_use]
pub fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}
