//! One release on the stage: applied, followed to its end, and what was seen of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stepgate::api::status::Ended;
use stepgate::api::{Rollout, RolloutStatus};
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Error, Namespace, Result};

use crate::screen::Screen;
use testbed::way::{SHOP, Way};

/// Its pods.
const REPLICAS: i32 = 8;
/// The longest that anything may take here.
const LIMIT: Duration = Duration::from_secs(120);

/// Where the story is played.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The clients; none before the first pods serve.
    pub traffic: Option<Traffic>,
    /// The audience's view.
    pub screen: Screen,
    /// By which way releases go.
    pub way: Way,
    /// The release that is played.
    playing: String,
    /// Versions of the Rollout that have been shown.
    shown: usize,
}

/// What was seen of a release.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What people call it.
    pub name: String,
    /// Its revision.
    pub revision: String,
    /// When it was applied.
    pub began: SystemTime,
    /// Every version of the Rollout since then, and when it was seen.
    pub versions: Vec<(SystemTime, Arc<Rollout>)>,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// The status in the end.
    pub status: RolloutStatus,
    /// Every pod of it that was ever seen.
    pub pods: BTreeSet<String>,
    /// When the last of them left the Service, if it did; or where Stepgate's Services lead users, when
    /// those had left it.
    pub out: Option<SystemTime>,
}

impl Seen {
    /// When it was seen that the operator had decided to undo it.
    pub fn undone(&self) -> Option<SystemTime> {
        let mut versions = self.versions.iter();
        let found = versions.find(|(_, rollout)| {
            let release = rollout.status.as_ref().and_then(|s| s.release.as_ref());
            release.is_some_and(|r| r.revision == self.revision && r.undo().is_some())
        });
        found.map(|(at, _)| *at)
    }

    /// When it was seen that the operator had decided against it: by an undo, or before any pod.
    pub fn refused(&self) -> Option<SystemTime> {
        self.undone().or_else(|| {
            let mut versions = self.versions.iter();
            let found = versions.find(|(_, rollout)| {
                let history = rollout.status.as_ref().and_then(|s| s.history.first());
                history.is_some_and(|e| {
                    e.revision == self.revision
                        && e.outcome == stepgate::api::status::Outcome::Failed
                })
            });
            found.map(|(at, _)| *at)
        })
    }

    /// When it was seen, after the decision to undo it, that no Service leads users to it.
    fn led_away(&self, way: Way) -> Option<SystemTime> {
        let undone = self.undone()?;
        let mut versions = self.versions.iter().filter(|(at, _)| *at >= undone);
        let found = versions.find(|(_, rollout)| {
            let status = rollout.status.as_ref();
            status.is_some_and(|status| way.leads_away(status, &self.revision))
        });
        found.map(|(at, _)| *at)
    }

    /// The steps it went through, in the order in which they were seen.
    pub fn steps(&self) -> Vec<String> {
        let steps = self.versions.iter().filter_map(|(_, rollout)| {
            let release = rollout.status.as_ref()?.release.as_ref()?;
            let step = release.step()?;
            (release.revision == self.revision).then(|| step.name.clone())
        });
        let mut names: Vec<String> = steps.collect();
        names.dedup();
        names
    }
}

impl<'a> Stage<'a> {
    /// An empty one.
    pub fn new(namespace: &'a Namespace, way: Way) -> Self {
        Self {
            namespace,
            traffic: None,
            screen: Screen::new(),
            way,
            playing: String::new(),
            shown: 0,
        }
    }

    /// Applies a release.
    pub async fn apply(&mut self, name: &str, title: &str) -> Result<Opened> {
        let folder = format!("tests/programs/shop/manifests/releases/{name}");
        self.apply_folder(name, &folder, title).await
    }

    /// Applies a release from this folder.
    pub async fn apply_folder(&mut self, name: &str, folder: &str, title: &str) -> Result<Opened> {
        let command = match self.way.written() {
            None => format!("kubectl apply -k {folder}"),
            Some(written) => format!("kubectl apply -k {folder}   # with {written}"),
        };
        self.screen.chapter(title, &command);
        name.clone_into(&mut self.playing);
        let opened = Opened {
            began: SystemTime::now(),
            versions: self.namespace.view.read(|state| state.versions.len()),
            generation: 0,
        };
        self.way.apply(self.namespace, folder).await?;
        let rollout = self.namespace.api::<Rollout>().get(SHOP).await;
        let rollout = rollout.map_err(Error::api("the shop's Rollout"))?;
        Ok(Opened {
            generation: rollout.metadata.generation.unwrap_or_default(),
            ..opened
        })
    }

    /// Shows what happens until `done` says so.
    pub async fn follow(&mut self, what: &str, done: impl Fn(&State) -> bool) -> Result<()> {
        self.follow_within(what, LIMIT, done).await
    }

    /// Shows what happens until `done` says so, at the longest for `limit`.
    pub async fn follow_within(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&State) -> bool,
    ) -> Result<()> {
        let until = SystemTime::now() + limit;
        loop {
            let ended = self.show(&done)?;
            if ended {
                return Ok(());
            }
            if SystemTime::now() > until {
                return Err(Error::NotInTime {
                    what: format!("{what} of {}", self.playing),
                    limit,
                });
            }
            self.namespace
                .view
                .changed(Duration::from_millis(500))
                .await;
        }
    }

    /// Shows what has happened; whether it is done.
    fn show(&mut self, done: &impl Fn(&State) -> bool) -> Result<bool> {
        let records = match &mut self.traffic {
            Some(traffic) => traffic.records()?,
            None => &[],
        };
        let (versions, done) = self.namespace.view.read(|state| {
            (
                state.versions.get(self.shown..).map(<[_]>::to_vec),
                done(state),
            )
        });
        for (at, rollout) in versions.unwrap_or_default() {
            let status = rollout.status.as_ref();
            if let Some(canary) = status.and_then(|s| s.canary.as_ref()) {
                // A release that is on its way out still has its own name.
                self.screen.name(&canary.revision, &self.playing);
            }
            self.screen.line(at, &rollout, records);
            self.shown += 1;
        }
        Ok(done)
    }

    /// Shows what happens for so long, at the longest until the next change.
    pub async fn follow_for(&mut self, time: Duration) -> Result<()> {
        self.show(&|_| true)?;
        self.namespace.view.changed(time).await;
        Ok(())
    }

    /// Follows a release to its end, either way, and until stable is whole.
    pub async fn finish(&mut self, opened: &Opened) -> Result<Seen> {
        let generation = opened.generation;
        self.follow("the end", |state| {
            has_ended(&state.status(SHOP), generation)
        })
        .await?;
        self.follow("all pods of stable", |state| serving(state) == REPLICAS)
            .await?;
        // Until then a request may still meet it, and would be counted to the next one.
        self.follow("the last pod of the other revision", |state| {
            let stable = state.status(SHOP).stable;
            stable.is_some_and(|stable| !state.has_pods_beside(&stable.revision))
        })
        .await?;
        let state = self.namespace.view.now();
        let status = state.status(SHOP);
        let ended = status.history.first().cloned();
        let revision = ended
            .as_ref()
            .map(|e| e.revision.clone())
            .unwrap_or_default();
        let versions = state.versions.get(opened.versions..);
        let mut seen = Seen {
            name: self.playing.clone(),
            began: opened.began,
            versions: versions.unwrap_or_default().to_vec(),
            pods: state.all_pods_of(&revision),
            out: state.left_service(&revision),
            revision,
            ended,
            status,
        };
        if self.way.has_services() {
            seen.out = seen.led_away(self.way);
        }
        Ok(seen)
    }
}

/// A release that was applied.
#[derive(Clone, Debug)]
pub struct Opened {
    began: SystemTime,
    versions: usize,
    generation: i64,
}

impl Opened {
    /// Whether the operator speaks of it.
    pub fn is_observed(&self, state: &State) -> bool {
        state.status(SHOP).observed_generation == Some(self.generation)
    }
}

/// Available pods of the stable revision, as its Deployment says.
fn serving(state: &State) -> i32 {
    let stable = state.status(SHOP).stable.map(|stable| stable.revision);
    let child = stable.and_then(|revision| state.deployments.get(&format!("{SHOP}-{revision}")));
    let status = child.and_then(|child| child.status.as_ref());
    status
        .and_then(|s| s.available_replicas)
        .unwrap_or_default()
}

/// Nothing is in motion any more, as of this generation of the spec.
pub fn has_ended(status: &RolloutStatus, generation: i64) -> bool {
    let reconciling = status.conditions.iter().find(|c| c.type_ == "Reconciling");
    status.observed_generation == Some(generation)
        && status.release.is_none()
        && reconciling
            .is_some_and(|c| c.status == "False" && c.observed_generation == Some(generation))
}
