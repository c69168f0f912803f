//! The cluster in memory, as a script plays it.

use std::sync::Arc;

use jiff::SignedDuration;
use stepgate::{
    api::PhaseKind,
    cluster::{Answer, ReadError, WriteError, Written},
    plan::{facts::Question, intent::Write},
    simulate::{
        Action,
        event::PodStep,
        facts,
        object::{Meta, Object, Watched},
        setting::{Behaviour, Migration, MigrationEnd, Setting},
        world::World,
    },
};

use super::{
    manifest::{FAILS, HANGS, IMAGES, NEVER_STARTS},
    side::{Deed, Facts, Heard, Seen, Side},
};

/// What follows from something follows within this time.
const GAP: SignedDuration = SignedDuration::from_secs(2);
/// Longer than any script.
const FOR_EVER: i64 = 1_000_000;
/// How long a Job's pod runs.
const JOB_SECONDS: i64 = 100;
/// Longer than a pod that is cut off takes to end.
const CUT_OFF: i64 = 31;
/// Longer than the ReplicaSet controller waits before it tries again.
const RETRY: i64 = 11;

pub struct Memory {
    world: World,
}

impl Memory {
    pub fn new() -> Self {
        let mut setting = Setting::default();
        for image in IMAGES {
            setting.behaviours.insert(image.into(), by_hand(image));
        }
        let mut world = World::new(setting, 1);
        world.listen();
        Self { world }
    }

    fn settle(&mut self) {
        assert!(self.world.settle(GAP), "something turns in circles");
    }
}

/// Nothing happens to pods but what the script does.
fn by_hand(image: &str) -> Behaviour {
    let end = match image {
        FAILS => MigrationEnd::Fails,
        HANGS => MigrationEnd::Hangs,
        NEVER_STARTS => MigrationEnd::NeverStarts,
        _ => MigrationEnd::Succeeds,
    };
    let migration = Migration {
        seconds: JOB_SECONDS,
        end,
    };
    Behaviour {
        pull_seconds: FOR_EVER,
        start_seconds: FOR_EVER,
        stop_seconds: FOR_EVER,
        migrations: [(PhaseKind::Expand, vec![migration])].into(),
        ..Behaviour::default()
    }
}

impl Side for Memory {
    async fn write(&mut self, write: &Write) -> Result<Written, WriteError> {
        self.world.request(write)
    }

    async fn ask(&mut self, rollout: &str, question: &Question) -> Result<Answer, ReadError> {
        self.world.ask(rollout, question)
    }

    async fn happens(&mut self, deed: &Deed) {
        let world = &mut self.world;
        match deed {
            Deed::Ready(pod) => {
                world.take_step(pod, PodStep::Start);
                self.settle();
                self.world.take_step(pod, PodStep::Ready);
            }
            Deed::Crash(pod) => world.take_step(pod, PodStep::Exit),
            Deed::Stopped(pod) => world.take_step(pod, PodStep::Gone),
            Deed::Lost(pod) => world.take_node_of(pod),
            Deed::DeletePod(pod) => world.ask_to_end(pod),
            Deed::Room(pods) => world.act(Action::Capacity(*pods)),
            Deed::Quota(pods) => {
                world.act(Action::Quota(*pods));
                world.pass_time(RETRY);
            }
            // It runs by itself.
            Deed::JobRuns(_) => {}
            Deed::JobEnds(..) => world.pass_time(JOB_SECONDS),
            Deed::JobPodStopped(_) => world.pass_time(CUT_OFF),
            Deed::JobCutOff(_, seconds) | Deed::Seconds(seconds) => world.pass_time(*seconds),
            Deed::Person(action) => world.act(action.clone()),
        }
    }

    async fn work(&mut self) {
        self.settle();
    }

    async fn all(&mut self) -> Vec<Seen> {
        let live = &self.world.live;
        let rollouts = live.rollouts.values().cloned().map(Object::Rollout);
        let revisions = live.revisions.values().cloned().map(Object::Revision);
        let deployments = live.deployments.values().cloned().map(Object::Deployment);
        let pods = live.pods.values().cloned().map(Object::Pod);
        let jobs = live.jobs.values().cloned().map(Object::Job);
        let databases = live.databases.values().cloned().map(Object::Database);
        let all = rollouts.chain(revisions).chain(deployments).chain(pods);
        let services = live.services.values().cloned().map(Object::Service);
        let all = all.chain(jobs).chain(databases).chain(services);
        all.map(|o| seen(&o)).collect()
    }

    async fn heard(&mut self) -> Vec<Heard> {
        let told = self.world.heard().iter();
        told.map(|told| Heard {
            seen: seen(&told.object),
            gone: told.gone,
        })
        .collect()
    }
}

fn seen(object: &Object) -> Seen {
    let Meta {
        name,
        uid,
        version,
        generation,
        created,
        owner,
        deleting,
    } = object.meta().clone();
    let (kind, facts) = match object {
        Object::Rollout(o) => (Watched::Rollouts, Facts::Rollout(facts::rollout(o))),
        Object::Revision(o) => (Watched::Revisions, Facts::Revision(facts::revision(o))),
        Object::Deployment(o) => (Watched::Deployments, Facts::Deployment(facts::child(o))),
        Object::Pod(o) => (Watched::Pods, Facts::Pod(facts::pod(o))),
        Object::Job(o) => (Watched::Jobs, Facts::Job(facts::job(o))),
        Object::Database(o) => (Watched::Databases, Facts::Database(facts::database(o))),
        Object::Service(o) => (Watched::Services, Facts::Service(facts::service(o))),
        Object::ConfigMap(o) => (Watched::ConfigMaps, Facts::ConfigMap(facts::config_map(o))),
    };
    let text = |name: Arc<str>| name.to_string();
    Seen {
        kind,
        name: text(name),
        uid: text(uid),
        version: version.to_string(),
        generation,
        created,
        owner: owner.map(text),
        deleting,
        facts,
    }
}
