//! What is seen, in words that are the same in both worlds: uids, versions, times and the names
//! of pods are told by what became of them.

use std::collections::BTreeMap;

use stepgate::{
    api::RolloutStatus,
    cluster::{Answer, ReadError, WriteError, Written},
    plan::{
        facts::{
            ChildFacts, DatabaseFacts, JobFacts, PodFacts, RevisionFacts, RolloutFacts,
            ServiceFacts,
        },
        intent::Write,
    },
    simulate::object::Watched,
};

use super::side::{Facts, Heard, Seen};

/// What is looked at.
#[derive(Clone, Debug)]
pub enum Look {
    All,
    /// The pods of this Deployment that are not going.
    Which(String),
    /// What a watcher was told of this object.
    History(Watched, String),
}

/// What earlier looks have shown.
#[derive(Debug, Default)]
pub struct Known {
    /// Names by uid.
    names: BTreeMap<String, String>,
    /// Versions by uid, as of the last look.
    versions: BTreeMap<String, String>,
    /// Generations by uid, as of the first look.
    generations: BTreeMap<String, i64>,
    /// Uids by kind and name, as of the last look.
    uids: BTreeMap<(Watched, String), String>,
    /// What pods are called here, by name.
    pods: BTreeMap<String, String>,
}

impl Known {
    /// An object is met, so that others can be said to be its own.
    pub fn meets(&mut self, seen: &Seen) {
        self.names.insert(seen.uid.clone(), seen.name.clone());
    }

    /// Name of the pod that is called so.
    pub fn pod(&self, called: &str) -> String {
        let found = self.pods.iter().find(|(_, c)| *c == called);
        let found = found.unwrap_or_else(|| panic!("no pod is called {called}: {:?}", self.pods));
        found.0.clone()
    }

    /// A look is over.
    pub fn remember(&mut self, all: &[Seen]) {
        for seen in all {
            self.meets(seen);
            let uid = seen.uid.clone();
            self.versions.insert(uid.clone(), seen.version.clone());
            self.generations
                .entry(uid.clone())
                .or_insert(seen.generation);
            self.uids.insert((seen.kind, seen.name.clone()), uid);
        }
        let mut fresh: Vec<&Seen> = all
            .iter()
            .filter(|s| s.kind == Watched::Pods && !self.pods.contains_key(&s.name))
            .collect();
        fresh.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        for pod in fresh {
            let Facts::Pod(facts) = &pod.facts else {
                continue;
            };
            let before = format!("{}/", facts.revision);
            let count = self
                .pods
                .values()
                .filter(|c| c.starts_with(&before))
                .count();
            let called = format!("{before}{}", count + 1);
            self.pods.insert(pod.name.clone(), called);
        }
    }

    /// A look in lines; the first of them is not indented, the others are.
    pub fn tell(&self, look: &Look, all: &[Seen], heard: &[Heard]) -> Vec<String> {
        match look {
            Look::All => {
                let objects = all.iter().filter(|s| s.kind != Watched::Pods);
                let mut lines: Vec<String> = objects.map(|s| self.object(s)).collect();
                lines.extend(pods(all));
                if lines.is_empty() {
                    lines.push("  nothing".into());
                }
                lines.insert(0, "= once all is quiet:".into());
                lines
            }
            Look::Which(deployment) => {
                let mut left: Vec<&str> = all
                    .iter()
                    .filter(|s| !s.deleting)
                    .filter_map(|s| self.pods.get(&s.name))
                    .filter(|called| called.starts_with(&format!("{deployment}/")))
                    .map(String::as_str)
                    .collect();
                left.sort_unstable();
                vec![format!("= left of {deployment}: {}", left.join(" "))]
            }
            Look::History(kind, name) => {
                let of_it = heard.iter();
                let of_it = of_it.filter(|h| h.seen.kind == *kind && h.seen.name == *name);
                let mut lines = vec![format!("= a watcher was told of {name}:")];
                let mut uid = "";
                for told in of_it {
                    let seen = &told.seen;
                    let event = match (told.gone, seen.uid == uid) {
                        (true, _) => "  DELETED".into(),
                        (false, true) => format!("  MODIFIED {}", self.says(seen)),
                        (false, false) => format!("  ADDED {}", self.says(seen)),
                    };
                    uid = if told.gone { "" } else { &seen.uid };
                    lines.push(event);
                }
                lines
            }
        }
    }

    fn object(&self, seen: &Seen) -> String {
        let passive = matches!(
            seen.kind,
            Watched::Rollouts | Watched::Revisions | Watched::Databases | Watched::Services
        );
        let before = self.uids.get(&(seen.kind, seen.name.clone()));
        let news = match (before, self.versions.get(&seen.uid)) {
            (None, _) => " (new)",
            (Some(uid), _) if *uid != seen.uid => " (made anew)",
            // Others write these on their own.
            _ if !passive => "",
            (_, Some(version)) if *version == seen.version => " (as before)",
            _ => " (changed)",
        };
        format!(
            "  {} {}{news}: {}",
            word(seen.kind),
            seen.name,
            self.says(seen)
        )
    }

    fn says(&self, seen: &Seen) -> String {
        let mut words = match &seen.facts {
            Facts::Rollout(facts) => rollout(facts),
            Facts::Revision(facts) => revision(facts),
            Facts::Deployment(facts) => self.deployment(seen, facts),
            Facts::Pod(facts) => vec![pod(facts)],
            Facts::Job(facts) => self.job(seen, facts),
            Facts::Database(facts) => database(seen, facts),
            Facts::Service(facts) => service(facts),
            Facts::ConfigMap(facts) => vec![format!("{:?}, {:?}", facts.file, facts.notes)],
        };
        if let Some(owner) = &seen.owner {
            let name = self.names.get(owner).map_or("somebody unknown", |n| n);
            words.push(format!("of {name}"));
        }
        if seen.deleting {
            words.push("being deleted".into());
        }
        words.join(", ")
    }

    fn generation(&self, seen: &Seen) -> String {
        let first = self.generations.get(&seen.uid).unwrap_or(&seen.generation);
        format!("generation +{}", seen.generation - first)
    }

    fn deployment(&self, seen: &Seen, facts: &ChildFacts) -> Vec<String> {
        let seen_by = if facts.current { "" } else { "not " };
        let mut words = vec![
            self.generation(seen),
            format!("{seen_by}seen by its controller"),
            format!("{} wanted", facts.replicas),
            format!("{} there", facts.status_replicas),
            format!("{} available", facts.available),
        ];
        words.extend(facts.epoch.map(|e| format!("epoch {e}")));
        words.extend(facts.edited.then(|| "edited".into()));
        words.extend(facts.problem.as_ref().map(|p| problem(p)));
        words
    }

    fn job(&self, seen: &Seen, facts: &JobFacts) -> Vec<String> {
        let mut words = vec![self.generation(seen)];
        words.extend(facts.suspended.then(|| "suspended".into()));
        words.extend(facts.started.map(|_| "started".into()));
        words.extend(facts.runs.then(|| "runs".into()));
        words.push(format!("{} live pods", facts.live_pods));
        words.extend(facts.epoch.map(|e| format!("epoch {e}")));
        words.extend(facts.ended.as_ref().map(|end| {
            let how = if end.succeeded { "succeeded" } else { "failed" };
            format!("{how}: {}", end.message)
        }));
        words
    }
}

const fn word(kind: Watched) -> &'static str {
    match kind {
        Watched::Rollouts => "Rollout",
        Watched::Revisions => "ControllerRevision",
        Watched::Deployments => "Deployment",
        Watched::Pods => "pod",
        Watched::Jobs => "Job",
        Watched::Databases => "DatabaseSchema",
        Watched::Services => "Service",
        Watched::ConfigMaps => "ConfigMap",
    }
}

/// What matters in the words of a controller that cannot make pods.
fn problem(said: &str) -> String {
    if said.contains("exceeded quota") {
        "cannot make pods: exceeded quota".into()
    } else {
        format!("cannot make pods: {said}")
    }
}

fn rollout(facts: &RolloutFacts) -> Vec<String> {
    let mut words = vec![format!("generation {}", facts.generation)];
    match &facts.spec {
        Ok(spec) => {
            let image = spec.revision();
            words.push(format!("{} replicas of {image}", spec.replicas));
            words.extend(spec.paused.then(|| "paused".into()));
        }
        Err(error) => words.push(format!("cannot be read: {error}")),
    }
    for annotation in facts.annotations.keys() {
        words.push(format!("annotation {annotation}"));
    }
    if *facts.status == RolloutStatus::default() {
        words.push("no status".into());
    } else {
        words.push(serde_json::to_string(&*facts.status).expect("JSON"));
    }
    words
}

fn revision(facts: &RevisionFacts) -> Vec<String> {
    let mut words = vec![format!("number {}", facts.number)];
    words.extend(facts.outcome.map(|o| format!("{o:?}")));
    if !facts.outcome_reason.is_empty() {
        words.push(format!("because {}", facts.outcome_reason));
    }
    words
}

fn database(seen: &Seen, facts: &DatabaseFacts) -> Vec<String> {
    let record = serde_json::to_string(&*facts.record).expect("JSON");
    vec![format!("generation {}", seen.generation), record]
}

fn service(facts: &ServiceFacts) -> Vec<String> {
    let selector = facts
        .selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let mut words = vec![
        format!("selects {}", selector.collect::<Vec<_>>().join(" ")),
        format!("{:?}", facts.reach),
        facts.ports.to_string(),
    ];
    words.extend(
        facts
            .rollout
            .as_ref()
            .map(|rollout| format!("made for {rollout}")),
    );
    words.extend(facts.epoch.map(|e| format!("epoch {e}")));
    words
}

fn pod(facts: &PodFacts) -> String {
    let ready = if facts.ready_since.is_some() {
        "ready"
    } else {
        "not ready"
    };
    let mut words = vec![ready.to_owned()];
    if facts.restarts > 0 {
        words.push(format!("restarted {} times", facts.restarts));
    }
    words.extend(facts.ended.map(|_| "a container has ended".into()));
    words.extend(facts.waiting.as_ref().map(|(reason, _)| reason.clone()));
    words.extend(facts.unschedulable.as_ref().map(|_| "no room".into()));
    words.extend(facts.deleting.then(|| "being deleted".into()));
    words.join(", ")
}

/// How many pods of each Deployment are in which state.
fn pods(all: &[Seen]) -> Vec<String> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for seen in all {
        if let Facts::Pod(facts) = &seen.facts {
            *counts
                .entry((facts.revision.clone(), pod(facts)))
                .or_default() += 1;
        }
    }
    let line = |((of, state), count)| format!("  {count} pods of {of}: {state}");
    counts.into_iter().map(line).collect()
}

/// The answer to a question.
pub fn found(answer: &Result<Answer, ReadError>) -> String {
    match answer {
        Ok(Answer::Rollout(None)) => "not there".into(),
        Ok(Answer::Rollout(Some(live))) => {
            let spec = live.facts.spec.as_ref().expect("a spec");
            format!("there, {} replicas", spec.replicas)
        }
        Ok(Answer::Overlaps(all)) => {
            let names: Vec<_> = all.iter().map(|one| &one.deployment).collect();
            format!("overlapping {names:?}")
        }
        Ok(Answer::Hold(hold)) => match &hold.database {
            None => "not there".into(),
            Some(database) => {
                let record = serde_json::to_string(&*database.record).expect("JSON");
                let job = hold.jobs.first().map_or("no Job", |_| "its Job");
                format!("{record}, {job}")
            }
        },
        Ok(Answer::Config(missing)) => {
            let names: Vec<&str> = missing.missing.iter().map(|c| c.name.as_str()).collect();
            format!("missing {names:?}")
        }
        Ok(Answer::Revisions(revisions)) => {
            let mut said: Vec<String> = revisions
                .iter()
                .map(|r| format!("{} ({})", r.base.name, revision(r).join(", ")))
                .collect();
            said.sort_unstable();
            format!("{said:?}")
        }
        other => format!("{other:?}"),
    }
}

/// The answer to a write.
pub fn answer(write: &Write, answer: &Result<Written, WriteError>) -> String {
    let (version, more) = match answer {
        Ok(Written::Gone | Written::Unkept) => return "accepted".into(),
        Ok(Written::Rollout(o)) => (
            &o.base.resource_version,
            format!("generation {}", o.generation),
        ),
        Ok(Written::Revision(o)) => (&o.base.resource_version, String::new()),
        Ok(Written::Child(o)) if o.current => (
            &o.base.resource_version,
            "nothing to do for its controller".into(),
        ),
        Ok(Written::Child(o)) => (
            &o.base.resource_version,
            "its controller has yet to see it".into(),
        ),
        Ok(Written::Job(o)) if o.suspended => (&o.base.resource_version, "suspended".into()),
        Ok(Written::Job(o)) => (&o.base.resource_version, String::new()),
        Ok(Written::Database(o)) => (&o.base.resource_version, String::new()),
        Ok(Written::Service(o)) => (&o.base.resource_version, String::new()),
        Err(WriteError::Conflict { .. }) => return "conflict".into(),
        Err(WriteError::Exists { .. }) => return "exists already".into(),
        Err(WriteError::Refused { transient, .. }) => {
            return format!("refused{}", if *transient { " for now" } else { "" });
        }
        Err(other) => return format!("{other:?}"),
    };
    let what = match write.base() {
        None => "made",
        Some(base) if base.resource_version == *version => "accepted, and nothing changed",
        Some(_) => "accepted",
    };
    let both = [what, more.as_str()];
    both.into_iter()
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
