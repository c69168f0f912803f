//! A world for one test: facts, and what writes make of them when all goes well at once.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::flags;
use crate::{
    api::{DatabaseRecord, RolloutSpec, RolloutStatus, keys, status::Outcome},
    evidence::{Reading, Readings, Reason, Unit, Verdict},
    plan::{
        self,
        facts::{
            Answers, Base, ChildFacts, DatabaseFacts, DatabaseObjects, JobEnd, JobFacts, Limits,
            Objects, Observed, PodFacts, Question, RevisionFacts, RolloutFacts, Services,
        },
        intent::{Kind, Plan, Write},
        measurable,
        revision::{self, Wanted, Whole},
    },
};

pub fn second(n: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + n).unwrap()
}

pub fn condition<'s>(status: &'s RolloutStatus, kind: &str) -> &'s Condition {
    status.conditions.iter().find(|c| c.type_ == kind).unwrap()
}

/// Why it is stalled; fails the test when it is not.
pub fn stalled(status: &RolloutStatus) -> String {
    let condition = condition(status, "Stalled");
    assert_eq!(condition.status, "True", "{condition:?}");
    condition.reason.clone()
}

pub fn reading(name: &str, verdict: Verdict) -> Reading {
    Reading {
        name: name.into(),
        verdict,
        reason: Reason::Passed,
        bad: 1.0,
        total: 1000.0,
        hold_bad: 1.0,
        hold_total: 1000.0,
        value: Some(0.1),
        unit: Unit::Percent,
        limit: 0.5,
        test: 1.0,
        threshold: 100.0,
        message: "1 of 1000".into(),
    }
}

#[derive(Clone)]
pub struct World {
    pub seen: Observed,
    pub spec: Arc<Wanted>,
    whole: Arc<Whole>,
    pub now: Timestamp,
    versions: u64,
}

impl World {
    pub fn new() -> Self {
        let whole = Arc::new(Whole::new(
            serde_json::from_value(json!({
                "replicas": 8,
                "selector": {"matchLabels": {"app": "shop"}},
                "template": template("v1"),
                "schema": {"database": "db", "expand": {"command": ["migrate"]}},
            }))
            .unwrap(),
        ));
        let spec = whole.wanted();
        let rollout = RolloutFacts {
            namespace: "ns".into(),
            base: Base {
                name: "shop".into(),
                uid: "u-shop".into(),
                resource_version: "1".into(),
            },
            created: second(-1_000),
            generation: 1,
            annotations: Arc::default(),
            finalizers: Vec::new(),
            deleted: None,
            spec: Ok(spec.clone()),
            status: Arc::default(),
        };
        let seen = Observed {
            objects: Objects {
                sharers: Vec::new(),
                rollout,
                revisions: Vec::new(),
                children: Vec::new(),
                pods: Vec::new(),
                jobs: Vec::new(),
                database: None,
                frozen: BTreeMap::new(),
                neighbours: Vec::new(),
                earlier: Vec::new(),
                services: Services::default(),
                adopted: None,
                rival: None,
            },
            answers: Answers {
                whole: Some((1, Arc::clone(&whole))),
                hold_live: Some("u-db".into()),
                ..Answers::default()
            },
            refusals: Vec::new(),
            unread: None,
            source_problem: None,
            sql_image: "stepgate-sql:test".into(),
            limits: Limits::default(),
            readings: None,
            heard: None,
            users: None,
            flags_looked: None,
            looked: second(0),
            trusted_since: second(-1_000_000),
            status_written: None,
            confirmed: true,
            listed: false,
            epoch: 1,
            outranks: 1,
        };
        Self {
            seen,
            spec,
            whole,
            now: second(0),
            versions: 1,
        }
    }

    /// A Rollout whose revision of this name is stable.
    pub fn stable(version: &str) -> Self {
        let mut world = Self::new();
        world.seen.answers.overlaps = Some(Vec::new());
        world.seen.answers.revisions_live = true;
        world = world.wants(version);
        world.edit_spec(|spec| spec.schema = None);
        for _ in 0..3 {
            world.settle();
            world.hold(1000);
        }
        world.settle();
        assert_eq!(condition(world.status(), "Ready").status, "True");
        world.edit_spec(|spec| {
            spec.schema = serde_json::from_value(
                json!({"database": "db", "expand": {"command": ["migrate"]}}),
            )
            .unwrap();
        });
        world.settle();
        world
    }

    pub fn wants(mut self, version: &str) -> Self {
        self.edit_spec(|spec| spec.template = template(version));
        self
    }

    pub(crate) fn edit_spec(&mut self, edit: impl FnOnce(&mut RolloutSpec)) {
        self.seen.objects.rollout.generation += 1;
        self.change_spec(edit);
    }

    fn change_spec(&mut self, change: impl FnOnce(&mut RolloutSpec)) {
        let mut spec = (**self.whole).clone();
        change(&mut spec);
        self.whole = Arc::new(Whole::new(spec));
        self.spec = self.whole.wanted();
        let rollout = &mut self.seen.objects.rollout;
        rollout.spec = Ok(self.spec.clone());
        self.seen.answers.whole = Some((rollout.generation, Arc::clone(&self.whole)));
    }

    pub(crate) fn edit_steps(&mut self, edit: impl Fn(&mut Value)) {
        self.edit_spec(|spec| {
            for step in spec.strategy.steps_mut() {
                let mut value = serde_json::to_value(&*step).unwrap();
                edit(&mut value);
                *step = serde_json::from_value(value).unwrap();
            }
        });
    }

    pub(crate) fn with_check(mut self, name: &str) -> Self {
        self.edit_spec(|spec| {
            spec.analysis = serde_json::from_value(
                json!({"checks": [{"name": name, "errorRate": {"maxPercent": "0.5"}}]}),
            )
            .unwrap();
        });
        self
    }

    pub fn revision(&self, version: &str) -> String {
        revision::hash(&template(version), None)
    }

    pub fn status(&self) -> &RolloutStatus {
        &self.seen.objects.rollout.status
    }

    pub fn outcome(&self, version: &str) -> Option<Outcome> {
        self.seen
            .objects
            .revision(&self.revision(version))
            .and_then(|r| r.outcome)
    }

    pub fn plan(&self) -> Plan {
        plan::plan(&self.seen, self.now)
    }

    /// The status that the next decision records, or that news bring; nothing is applied.
    pub(crate) fn decide(&self) -> RolloutStatus {
        let plan = self.plan();
        // What waits is told on the database besides.
        let mut writes = plan.writes.into_iter();
        match writes.find(|w| !matches!(w, Write::RecordDatabase { .. })) {
            Some(Write::RecordStatus { status, .. }) => *status,
            other => panic!("no decision: {other:?} {:?}", plan.questions),
        }
    }

    /// Applies writes up to the next status, and returns that.
    pub fn record(&mut self) -> RolloutStatus {
        for _ in 0..10 {
            let before = self.status().clone();
            self.step();
            if *self.status() != before {
                return self.status().clone();
            }
        }
        panic!("no status was written: {:?}", self.plan());
    }

    pub fn step(&mut self) {
        for write in self.plan().writes {
            self.apply(write);
        }
    }

    /// Goes on until nothing is wanted any more. Jobs succeed at once, pods come up at once.
    pub fn settle(&mut self) {
        for _ in 0..60 {
            let plan = self.plan();
            if plan.writes.is_empty() && plan.questions.is_empty() {
                return;
            }
            assert!(plan.questions.is_empty(), "{:?}", plan.questions);
            for write in plan.writes {
                self.apply(write);
            }
            self.finish_jobs();
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    /// Goes on to the stage; the target of a step is reached on the way.
    pub(crate) fn at_stage(mut self, stage: &str) -> Self {
        for _ in 0..40 {
            if self
                .status()
                .release
                .as_ref()
                .is_some_and(|r| r.stage.word() == stage)
            {
                return self;
            }
            self.step();
            if stage != "expand" {
                self.finish_jobs();
            }
        }
        panic!("stage {stage} is not reached: {:?}", self.status().release);
    }

    pub(crate) fn at_step(mut self, index: i32) -> Self {
        for _ in 0..20 {
            self.settle();
            let step = self
                .status()
                .release
                .as_ref()
                .and_then(|r| r.step().cloned());
            if step
                .as_ref()
                .is_some_and(|s| s.index == index && s.reached.is_some())
            {
                return self;
            }
            let names: Vec<_> = self.checks();
            self.hold(1000);
            self.says(
                names
                    .iter()
                    .map(|name| reading(name, Verdict::Pass))
                    .collect(),
            );
        }
        panic!("step {index} is not reached: {:?}", self.status().release);
    }

    fn checks(&self) -> Vec<String> {
        let analysis = self.spec.analysis.as_ref();
        analysis
            .map(|a| a.checks.iter().map(|c| c.name.clone()).collect())
            .unwrap_or_default()
    }

    /// Lets time pass.
    pub fn hold(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
        self.edit_hold(seconds);
    }

    fn edit_hold(&mut self, seconds: i64) {
        // Holds of the default steps are longer than a test wants to think of.
        if seconds < 1000 {
            self.change_spec(|spec| {
                for step in spec.strategy.steps_mut() {
                    step.hold_seconds = step.hold_seconds.min(10);
                }
            });
        }
    }

    pub fn says(&mut self, readings: Vec<Reading>) {
        let release = self.status().release.clone().unwrap();
        let analysis = self.spec.analysis.as_ref();
        let ready = self.seen.objects.pods_of(&release.revision);
        let ready = ready.filter_map(|pod| pod.ready_since).min();
        let since = release.measured_since.as_ref().map(|t| t.0).or(ready);
        self.seen.readings = Some(Readings {
            revision: release.revision.clone(),
            since: since.unwrap_or(self.now),
            source: analysis.map(|a| a.source.clone()).unwrap_or_default(),
            checks: analysis.map(measurable::checks).unwrap_or_default(),
            hold_since: release.step().and_then(|s| s.reached.clone()).map(|t| t.0),
            polled_at: Some(self.now),
            split: None,
            complete_polls: 3,
            readings,
        });
    }

    /// A check of this name fails.
    pub fn fails(&mut self, name: &str) {
        *self = self.clone().with_check(name);
        self.says(vec![reading(name, Verdict::Fail)]);
    }

    pub fn command(&mut self, command: &str, text: &str) {
        let annotations: &mut BTreeMap<_, _> =
            Arc::make_mut(&mut self.seen.objects.rollout.annotations);
        annotations.insert(format!("stepgate.io/{command}"), text.into());
    }

    pub(crate) fn database_mut(&mut self) -> &mut DatabaseRecord {
        let database = self
            .seen
            .objects
            .database
            .get_or_insert_with(|| DatabaseFacts {
                annotations: Arc::default(),
                base: Base {
                    name: "db".into(),
                    uid: "u-db".into(),
                    resource_version: "1".into(),
                },
                record: Arc::default(),
                allowed: None,
                finalizers: Vec::new(),
                deleting: false,
            });
        Arc::make_mut(&mut database.record)
    }

    pub fn pod(&mut self, revision: &str) -> &mut PodFacts {
        let mut pods = self.seen.objects.pods.iter_mut();
        pods.find(|p| p.revision == revision).unwrap()
    }

    fn finish_jobs(&mut self) {
        let at = self.now;
        let jobs = self.seen.objects.jobs.iter_mut();
        for job in jobs.filter(|j| !j.suspended && j.ended.is_none()) {
            job.ended = Some(JobEnd {
                refusal: None,
                sql: false,
                nothing_applied: false,
                succeeded: true,
                message: String::new(),
                at,
            });
        }
        self.finish_database();
    }

    /// What is asked before a release begins.
    pub fn overlaps(&self) -> Question {
        Question::Overlaps(Arc::clone(&self.spec))
    }

    /// What becomes of the database by itself.
    pub(crate) fn finish_database(&mut self) {
        let Some(database) = self.seen.objects.database.clone() else {
            return;
        };
        let shown = plan::database::Shown {
            hold: (self.seen.answers.hold_live.clone())
                .map(|uid| (uid, database.record.holders().cloned().collect())),
            gone: std::collections::BTreeSet::new(),
        };
        let seen = DatabaseObjects {
            database,
            jobs: self.seen.objects.jobs.clone(),
            rollouts: BTreeMap::from([("shop".into(), "u-shop".into())]),
        };
        for write in plan::database::plan(&seen, &shown, self.now, self.seen.epoch).writes {
            self.apply(write);
        }
    }

    fn version(&mut self) -> String {
        self.versions += 1;
        self.versions.to_string()
    }

    pub fn apply(&mut self, write: Write) {
        let version = self.version();
        let objects = &mut self.seen.objects;
        match write {
            Write::RecordStatus { status, .. } => {
                objects.rollout.status = Arc::new(*status);
                objects.rollout.base.resource_version = version;
                self.seen.status_written = Some(self.now);
            }
            Write::Create { kind, manifest } => self.create(kind, &manifest, version),
            Write::MarkRevision {
                base,
                outcome,
                reason,
                number,
            } => {
                let mut revisions = objects.revisions.iter_mut();
                let facts = revisions.find(|r| r.base.uid == base.uid).unwrap();
                facts.outcome = outcome;
                facts.outcome_reason = reason;
                facts.number = number.unwrap_or(facts.number);
            }
            Write::Scale { base, to, .. } | Write::Resize { base, to, .. } => {
                self.scale(&base.uid, to, version);
            }
            Write::Finalize { finalizers, .. } => objects.rollout.finalizers = finalizers,
            Write::RecordDatabase {
                record, finalizers, ..
            } => {
                *self.database_mut() = *record;
                self.seen.objects.database.as_mut().unwrap().finalizers = finalizers;
            }
            Write::ReleaseJob { base } => {
                let mut jobs = objects.jobs.iter_mut();
                jobs.find(|j| j.base.uid == base.uid).unwrap().suspended = false;
            }
            Write::Delete { base, .. } => {
                objects.revisions.retain(|r| r.base.uid != base.uid);
                objects.children.retain(|c| c.base.uid != base.uid);
                objects.jobs.retain(|j| j.base.uid != base.uid);
                objects.services.all.retain(|s| s.base.uid != base.uid);
            }
            Write::Select { base, spec, .. } => super::services::select(objects, &base, &spec),
            Write::Weigh { canary, .. } => super::routes::weighed(&mut self.seen, canary),
            Write::Flags { base, change } => flags::write(&mut self.seen, &base.name, &change),
            Write::Fence { .. } | Write::Adopt { .. } => {}
        }
    }

    fn create(&mut self, kind: Kind, manifest: &Value, version: String) {
        let base = Base {
            name: text(manifest, "/metadata/name"),
            uid: format!("u-{version}"),
            resource_version: version,
        };
        let revision = text(manifest, "/metadata/labels/stepgate.io~1revision");
        let owner_uid = Some(text(manifest, "/metadata/ownerReferences/0/uid"));
        let objects = &mut self.seen.objects;
        match kind {
            Kind::Revision => objects.revisions.push(RevisionFacts {
                base,
                revision,
                number: 0,
                outcome: None,
                outcome_reason: String::new(),
                images: crate::plan::template::images(&manifest["data"]["template"]).into(),
                config: crate::plan::template::config_refs(&manifest["data"]["template"]).into(),
                probes: crate::plan::measurable::probes(&manifest["data"]["template"]).into(),
                schema_version: None,
                database: manifest["data"]["schema"]["database"]
                    .as_str()
                    .map(str::to_owned),
                asked: Vec::new().into(),
                created: self.now,
                owner_uid,
                deleting: false,
            }),
            Kind::Deployment => objects.children.push(ChildFacts {
                base,
                revision,
                owner_uid,
                epoch: Some(1),
                replicas: 0,
                possible: (0, 0),
                current: true,
                status_replicas: 0,
                available: 0,
                adopted: None,
                edited: false,
                template: None,
                problem: None,
                deleting: false,
            }),
            Kind::Database => drop(self.database_mut()),
            Kind::ConfigMap => flags::write(&mut self.seen, &base.name, manifest),
            Kind::Service => super::services::create(objects, base, owner_uid, manifest),
            Kind::HttpRoute | Kind::GrpcRoute | Kind::VirtualService => {}
            Kind::Job => objects.jobs.push(JobFacts {
                base,
                rollout: "shop".into(),
                revision,
                test: manifest["metadata"]["labels"][keys::TEST].is_string(),
                owner_uid,
                epoch: Some(1),
                suspended: true,
                started: None,
                runs: false,
                live_pods: 0,
                failed_pods: 0,
                ended: None,
                deleting: false,
            }),
        }
    }

    fn scale(&mut self, uid: &str, to: i32, version: String) {
        let now = self.now;
        let mut children = self.seen.objects.children.iter_mut();
        let child = children.find(|c| c.base.uid == uid).unwrap();
        child.epoch = Some(self.seen.epoch);
        if let Some(adopted) = &mut child.adopted {
            adopted.epochs = vec![self.seen.epoch];
        }
        child.replicas = to;
        child.possible = (to, to);
        child.status_replicas = to;
        child.available = to;
        child.base.resource_version = version;
        let revision = child.revision.clone();
        self.seen.objects.pods.retain(|p| p.revision != revision);
        self.seen.objects.pods.extend((0..to).map(|n| PodFacts {
            name: format!("shop-{revision}-{n}"),
            revision: revision.clone(),
            created: now,
            placed: None,
            lost: None,
            silent: None,
            node: None,
            ready_since: Some(now),
            restarts: 0,
            ended: None,
            waiting: None,
            unschedulable: None,
            deleting: false,
            ends_by: None,
        }));
    }
}

fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "shop", "image": format!("shop:{version}")}]},
    })
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}
