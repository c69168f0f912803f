//! A scenario on film: the world, looked at four times a second, so that a test can say what was
//! true at every moment.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{SignedDuration, Timestamp};
use stepgate::{
    api::PhaseKind,
    simulate::{
        Simulation, object::RolloutObject, scenario::Scenario, scenarios, setting::DAWN,
        story::Detail, world::World,
    },
};

/// Milliseconds between two frames.
const EVERY: i64 = 250;
/// Events that no scenario needs.
const MOST_EVENTS: u64 = 400_000;
/// Pods of `shop` that must serve: 4 replicas, of which a quarter may be missing.
pub const FLOOR: usize = 3;

/// A scenario that was played, frame by frame.
pub struct Film {
    pub frames: Vec<Frame>,
    simulation: Simulation,
    /// Nothing was asked of it yet: told on failure, and with `--nocapture`.
    told: Cell<bool>,
}

/// The world at one moment.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Seconds since the world began.
    pub at: f64,
    /// By Rollout and image.
    pods: BTreeMap<(String, String), Pods>,
    /// By Rollout.
    standing: BTreeMap<String, Standing>,
    /// Jobs whose pod runs.
    pub running_jobs: BTreeSet<String>,
    /// Writes that the operator has made so far.
    pub writes: u64,
    /// Deployments and ControllerRevisions there are.
    pub children: usize,
}

/// Pods of one image.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// `spec.replicas` of the Deployment.
    pub asked: i32,
    /// That exist, the ones on their way out too.
    pub there: usize,
    /// That are ready and not on their way out.
    pub ready: usize,
}

/// What a Rollout says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What kstatus makes of it: `Current`, `InProgress` or `Failed`.
    pub kstatus: &'static str,
    /// Reason of the condition `Ready`.
    pub reason: String,
    /// Stable is the revision that the spec asks for.
    pub stable_is_wanted: bool,
}

impl Frame {
    /// Pods of an image of the Rollout `shop`.
    pub fn pods(&self, image: &str) -> Pods {
        self.pods_of("shop", image)
    }

    pub fn pods_of(&self, rollout: &str, image: &str) -> Pods {
        let key = (rollout.to_owned(), image.to_owned());
        self.pods.get(&key).cloned().unwrap_or_default()
    }

    /// Pods of an image that serve.
    pub fn ready(&self, image: &str) -> usize {
        self.pods(image).ready
    }

    /// Pods of `shop` that serve, whatever their image.
    pub fn serving(&self) -> usize {
        let own = self
            .pods
            .iter()
            .filter(|((rollout, _), _)| rollout == "shop");
        own.map(|(_, pods)| pods.ready).sum()
    }

    /// Pods that are asked for of `shop`, whatever their image.
    pub fn asked(&self) -> i32 {
        let own = self
            .pods
            .iter()
            .filter(|((rollout, _), _)| rollout == "shop");
        own.map(|(_, pods)| pods.asked).sum()
    }

    /// No pod of the image is there or asked for.
    pub fn is_out(&self, image: &str) -> bool {
        let pods = self.pods(image);
        pods.asked == 0 && pods.there == 0
    }

    /// Reason of `Ready`, of `shop`.
    pub fn reason(&self) -> &str {
        self.standing.get("shop").map_or("", |s| &s.reason)
    }

    /// As a waiting tool reads `shop`.
    pub fn kstatus(&self) -> &'static str {
        self.standing.get("shop").map_or("NotFound", |s| s.kstatus)
    }

    /// Stable is the revision that the spec of `shop` asks for.
    pub fn stable_is_wanted(&self) -> bool {
        let standing = self.standing.get("shop");
        standing.is_some_and(|s| s.stable_is_wanted)
    }
}

impl Film {
    /// The kept scenario of that name.
    pub fn of(name: &str) -> Self {
        Self::shot(&scenarios::named(name).expect(name))
    }

    /// A scenario, to its end. No rule is broken on the way.
    pub fn shot(scenario: &Scenario) -> Self {
        let simulation = scenario.begin(1, Detail::Decisions);
        let mut film = Self {
            frames: Vec::new(),
            simulation,
            told: Cell::new(false),
        };
        let mut images = BTreeMap::new();
        for number in 0..=scenario.seconds * 1_000 / EVERY {
            let until = DAWN + SignedDuration::from_millis(number * EVERY);
            let ran = film.simulation.run(until, MOST_EVENTS);
            let frame = frame(&film.simulation.world(), &mut images);
            film.frames.push(frame);
            if let Err(error) = ran {
                film.fail(&error.to_string());
            }
        }
        film
    }

    /// The world at the end.
    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.simulation.world()
    }

    /// The last frame.
    pub fn end(&self) -> &Frame {
        self.frames.last().unwrap()
    }

    /// What people read of it.
    pub fn story(&self) -> String {
        let world = self.world();
        format!("{}{}", world.story.text(), world.story.ending(&world.live))
    }

    /// How often the story has these words.
    pub fn told(&self, words: &str) -> usize {
        self.story().matches(words).count()
    }

    /// It holds in every frame of that time (seconds from the beginning).
    #[track_caller]
    pub fn always(&self, from: f64, to: f64, what: &str, holds: impl Fn(&Frame) -> bool) {
        let mut looked = 0;
        for frame in self.frames.iter().filter(|f| from <= f.at && f.at <= to) {
            looked += 1;
            if !holds(frame) {
                self.fail(&format!(
                    "at {} s it is not so that {what}: {frame:?}",
                    frame.at
                ));
            }
        }
        assert!(looked > 0, "nothing was looked at from {from} to {to} s");
    }

    /// The first moment from then on at which it holds.
    #[track_caller]
    pub fn when(&self, from: f64, what: &str, holds: impl Fn(&Frame) -> bool) -> f64 {
        let mut frames = self.frames.iter().filter(|f| from <= f.at);
        match frames.find(|f| holds(f)) {
            Some(frame) => frame.at,
            None => self.fail(&format!("from {from} s on it is never so that {what}")),
        }
    }

    /// It holds at the end.
    #[track_caller]
    pub fn ends(&self, what: &str, holds: impl Fn(&Frame) -> bool) {
        let end = self.end();
        if !holds(end) {
            self.fail(&format!("in the end it is not so that {what}: {end:?}"));
        }
    }

    #[track_caller]
    pub fn check(&self, what: &str, holds: bool) {
        if !holds {
            self.fail(&format!("it is not so that {what}"));
        }
    }

    #[track_caller]
    fn fail(&self, words: &str) -> ! {
        self.told.set(true);
        panic!("{}\n{words}", self.story())
    }

    /// How often the expand of an image was started.
    pub fn expands(&self, image: &str) -> usize {
        self.world().runs(image, PhaseKind::Expand)
    }

    /// Names of all pods of an image that there ever were.
    pub fn made(&self, image: &str) -> usize {
        let world = self.world();
        world
            .live
            .children("shop")
            .filter(|d| &*d.image == image)
            .map(|d| world.pods_made(&d.meta.uid))
            .sum()
    }

    /// Requests that pods of `shop` were given in that time.
    pub fn requests(&self, from: f64, to: f64) -> f64 {
        let world = self.world();
        let revisions: BTreeSet<_> = world
            .live
            .revisions
            .values()
            .map(|r| r.revision.clone())
            .collect();
        let given = |revision: &str| {
            world
                .traffic
                .between("shop", revision, second(from), second(to))
                .0
        };
        revisions.iter().map(|r| given(r)).sum()
    }
}

impl Drop for Film {
    /// The story, for `--nocapture`.
    fn drop(&mut self) {
        if !self.told.get() && !std::thread::panicking() {
            println!("{}", self.story());
        }
    }
}

fn second(seconds: f64) -> Timestamp {
    DAWN + SignedDuration::from_secs_f64(seconds)
}

fn frame(world: &World, images: &mut BTreeMap<String, String>) -> Frame {
    let mut frame = Frame {
        at: world.now.duration_since(DAWN).as_secs_f64(),
        writes: world.arrived,
        children: world.live.deployments.len() + world.live.revisions.len(),
        ..Frame::default()
    };
    for child in world.live.deployments.values() {
        let image = child.image.to_string();
        images.insert(child.meta.name.to_string(), image.clone());
        let key = (child.rollout.to_string(), image);
        frame.pods.entry(key).or_default().asked += child.replicas;
    }
    for pod in world.live.pods.values() {
        let image = images.get(&*pod.deployment).cloned().unwrap_or_default();
        let pods = frame
            .pods
            .entry((pod.rollout.to_string(), image))
            .or_default();
        pods.there += 1;
        pods.ready += usize::from(pod.ready_since.is_some() && !pod.meta.deleting);
    }
    for job in world.live.jobs.values().filter(|j| j.live_pods > 0) {
        frame.running_jobs.insert(job.meta.name.to_string());
    }
    for rollout in world.live.rollouts.values() {
        frame
            .standing
            .insert(rollout.meta.name.to_string(), standing(rollout));
    }
    frame
}

fn standing(rollout: &RolloutObject) -> Standing {
    let status = &rollout.status;
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    let wanted = rollout.spec.as_ref().ok().map(|spec| spec.revision());
    Standing {
        kstatus: kstatus(rollout),
        reason: ready.map(|c| c.reason.clone()).unwrap_or_default(),
        stable_is_wanted: wanted.is_some_and(|wanted| {
            status
                .stable
                .as_ref()
                .is_some_and(|s| *s.revision == *wanted)
        }),
    }
}

/// What kstatus makes of it, by its published rules.
fn kstatus(rollout: &RolloutObject) -> &'static str {
    let status = &rollout.status;
    // The definition's default is −1, so that what was never looked at is not called current.
    if status.observed_generation.unwrap_or(-1) != rollout.meta.generation {
        return "InProgress";
    }
    for condition in &status.conditions {
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Reconciling", "True") => return "InProgress",
            ("Stalled", "True") => return "Failed",
            _ => {}
        }
    }
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    match ready.map(|c| c.status.as_str()) {
        Some("True") | None => "Current",
        Some(_) => "InProgress",
    }
}
