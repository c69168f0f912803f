//! A script under way in one of the worlds.

use std::time::{Duration, Instant};

use stepgate::{
    plan::{
        facts::{Base, Question},
        intent::Write,
    },
    simulate::{Action, object::Watched},
};

use super::{
    side::{Deed, Side},
    telling::{self, Known, Look},
};

/// So long must what was agreed stand before it counts: more than the second for which the Job
/// controller gathers what it hears.
const QUIET: Duration = Duration::from_millis(1_300);
/// So long is it waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same, after something else was seen already.
const LITTLE_PATIENCE: Duration = Duration::from_secs(5);

pub struct Play<S> {
    side: S,
    known: Known,
    told: Vec<String>,
    /// What will be seen. A world that takes its time is waited for until it is.
    agreed: Option<Vec<String>>,
    patience: Duration,
}

impl<S: Side> Play<S> {
    pub fn new(side: S, agreed: Option<Vec<String>>) -> Self {
        Self {
            side,
            known: Known::default(),
            told: Vec::new(),
            agreed,
            patience: PATIENCE,
        }
    }

    /// Everything that was done, answered and seen.
    pub fn told(self) -> Vec<String> {
        self.told
    }

    /// A write of the operator, and its answer.
    pub async fn write(&mut self, words: &str, write: Write) {
        let answer = self.side.write(&write).await;
        let answer = telling::answer(&write, &answer);
        self.told.push(format!("> {words}: {answer}"));
    }

    /// A live read of the operator about Rollout `shop`, and its answer.
    pub async fn read(&mut self, question: &Question) {
        let answer = self.side.ask("shop", question).await;
        let answer = telling::found(&answer);
        self.told.push(format!("> read {question}: {answer}"));
    }

    /// Something that is not a write of the operator.
    pub async fn happens(&mut self, words: &str, deed: Deed) {
        self.side.happens(&deed).await;
        self.told.push(format!("> {words}"));
    }

    /// Somebody acts.
    pub async fn person(&mut self, words: &str, action: Action) {
        self.happens(words, Deed::Person(action)).await;
    }

    /// The kubelet finds these pods ready.
    pub async fn ready(&mut self, pods: &[&str]) {
        for pod in pods {
            let deed = Deed::Ready(self.pod(pod));
            self.happens(&format!("pod {pod} is ready"), deed).await;
        }
    }

    /// The name of a pod, of what it is called here (`web/1`).
    pub fn pod(&self, called: &str) -> String {
        self.known.pod(called)
    }

    /// An object as it is now, for a write to rest on.
    pub async fn base(&mut self, kind: Watched, name: &str) -> Base {
        let all = self.side.all().await;
        let found = all.iter().find(|s| s.kind == kind && s.name == name);
        let found = found.unwrap_or_else(|| panic!("there is no {kind:?} {name}: {all:?}"));
        self.known.meets(found);
        Base {
            name: name.into(),
            uid: found.uid.clone(),
            resource_version: found.version.clone(),
        }
    }

    /// Everything there is, once it is quiet.
    pub async fn look(&mut self) {
        self.see(&Look::All, QUIET).await;
    }

    /// Which pods of a Deployment are left.
    pub async fn which(&mut self, deployment: &str) {
        let look = Look::Which(deployment.into());
        self.see(&look, Duration::ZERO).await;
    }

    /// What a watcher was told of an object that nobody else writes.
    pub async fn history(&mut self, kind: Watched, name: &str) {
        let look = Look::History(kind, name.into());
        self.see(&look, Duration::ZERO).await;
    }

    async fn see(&mut self, look: &Look, quiet: Duration) {
        let begun = Instant::now();
        let mut since = None;
        loop {
            self.side.work().await;
            let all = self.side.all().await;
            let heard = self.side.heard().await;
            let lines = self.known.tell(look, &all, &heard);
            let done = match self.is_agreed(&lines) {
                None => true,
                Some(true) => since.get_or_insert_with(Instant::now).elapsed() >= quiet,
                Some(false) => {
                    since = None;
                    let out = begun.elapsed() > self.patience;
                    if out {
                        self.patience = LITTLE_PATIENCE;
                    }
                    out
                }
            };
            if done {
                if matches!(look, Look::All) {
                    self.known.remember(&all);
                }
                self.told.extend(lines);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether these lines are what comes next; `None` when nothing is agreed.
    fn is_agreed(&self, lines: &[String]) -> Option<bool> {
        let agreed = self.agreed.as_ref()?;
        let rest = agreed.get(self.told.len()..).unwrap_or_default();
        let after = rest.get(lines.len());
        let ends = after.is_none_or(|line| !line.starts_with(' '));
        Some(rest.starts_with(lines) && ends)
    }
}
