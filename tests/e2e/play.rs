//! How a test is played: in a namespace of its own, with all that is known when it fails.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;
use stepgate::api::RolloutStatus;
use stepgate::api::status::Outcome;
use testbed::view::State;
use testbed::{Error, Namespace, Result, Testbed, diagnosis};

use crate::app::APP;

/// How long anything may take that has no time of its own: pods start slowly on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Plays a test in the namespace `e2e-<name>`. It is removed when the test passes.
pub async fn play(name: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) {
    let told = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    assert!(told, "these tests need a cluster: tests/e2e/run");
    let testbed = Testbed::attach(std::env::var("CONTEXT").ok().filter(|c| !c.is_empty()));
    let testbed = testbed.await.unwrap();
    let namespace = Namespace::create(&testbed, &format!("e2e-{name}"))
        .await
        .unwrap();
    let played = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
    let problem = match played {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(words(panic.as_ref())),
    };
    if let Some(problem) = problem {
        let mut text = diagnosis::describe(&testbed, namespace.name()).await;
        let _ = write!(text, "\n{problem}");
        panic!("{text}");
    }
    namespace.remove().await.unwrap();
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// A condition of a Rollout, by its type.
pub fn condition<'s>(status: &'s RolloutStatus, kind: &str) -> Option<&'s Condition> {
    status.conditions.iter().find(|c| c.type_ == kind)
}

/// Whether this condition is true.
pub fn holds(status: &RolloutStatus, kind: &str) -> bool {
    condition(status, kind).is_some_and(|c| c.status == "True")
}

/// Asks again and again until there is an answer. Who cannot be asked may be on its way up.
pub async fn until_answered<T>(
    ns: &Namespace,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let asked = async {
        loop {
            if let Ok(Some(answer)) = ask().await {
                return answer;
            }
            ns.view.changed(Duration::from_millis(200)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    answered.map_err(|_| Error::NotInTime {
        what: what.to_owned(),
        limit: PATIENCE,
    })
}

/// What is done with the application in a namespace.
pub trait Play {
    /// Applies it; the generation of its spec.
    async fn release(&self, rollout: &Value) -> Result<i64>;
    /// Applies it, and waits until its revision is stable; the revision.
    async fn release_to_the_end(&self, rollout: &Value) -> Result<String>;
    /// Waits until the spec of this generation is out; the stable revision.
    async fn ready(&self, generation: i64) -> Result<String>;
    /// Waits until a person must act on this generation for this reason; the message.
    async fn stalled(&self, generation: i64, reason: &str) -> Result<String>;
    /// Waits until a release is held at this step; its revision.
    async fn held(&self, step: &str) -> Result<String>;
    /// Waits until this step has been held for so many seconds, by its own clock.
    async fn until_held_for(&self, step: &str, seconds: i64) -> Result<()>;
    /// Waits until the message of `Ready` has these words.
    async fn says(&self, words: &str) -> Result<()>;
    /// Waits until revisions ask for and have so many pods, and no others are there.
    async fn pods(&self, of: &[(&str, usize)]) -> Result<()>;
    /// Waits for an answer to a command: `Done` or `Ignored`, and the words.
    async fn answer(&self, command: &str, id: &str) -> Result<(String, String)>;
    /// The status as it is seen now.
    fn status(&self) -> RolloutStatus;
}

impl Play for Namespace {
    async fn release(&self, rollout: &Value) -> Result<i64> {
        let applied = self.put(rollout).await?;
        Ok(applied.metadata.generation.unwrap_or_default())
    }

    async fn release_to_the_end(&self, rollout: &Value) -> Result<String> {
        let generation = self.release(rollout).await?;
        self.ready(generation).await
    }

    async fn ready(&self, generation: i64) -> Result<String> {
        let what = format!("Ready at generation {generation}");
        self.until(&what, PATIENCE, |state| {
            let status = state.status(APP);
            let ready = condition(&status, "Ready")?;
            let current = ready.status == "True" && ready.observed_generation == Some(generation);
            status.stable.filter(|_| current).map(|s| s.revision)
        })
        .await
    }

    async fn stalled(&self, generation: i64, reason: &str) -> Result<String> {
        let what = format!("Stalled={reason} at generation {generation}");
        self.until(&what, PATIENCE, |state| {
            let status = state.status(APP);
            let stalled = condition(&status, "Stalled")?;
            let current = stalled.status == "True"
                && stalled.observed_generation == Some(generation)
                && stalled.reason == reason;
            current.then(|| stalled.message.clone())
        })
        .await
    }

    async fn held(&self, step: &str) -> Result<String> {
        self.until(&format!("a hold at step {step}"), PATIENCE, |state| {
            let release = state.status(APP).release?;
            let held = release
                .step()
                .is_some_and(|s| s.name == step && s.held.since.is_some());
            held.then_some(release.revision)
        })
        .await
    }

    async fn until_held_for(&self, step: &str, seconds: i64) -> Result<()> {
        self.held(step).await?;
        let since = self
            .status()
            .release
            .and_then(|r| r.step()?.held.since.clone());
        let since = SystemTime::from(since.expect("it is held").0);
        let until = since + Duration::from_secs(seconds.try_into().expect("seconds"));
        while SystemTime::now() < until {
            self.view.changed(Duration::from_millis(200)).await;
        }
        assert_eq!(
            self.held(step).await?,
            self.status().canary.expect("a canary").revision
        );
        Ok(())
    }

    async fn says(&self, words: &str) -> Result<()> {
        self.until(&format!("the words {words:?}"), PATIENCE, |state| {
            // Words may stand for a few seconds only: each status of this generation counts.
            let now = state.versions.last()?.1.metadata.generation;
            let mut seen = state.versions.iter().rev().map(|(_, rollout)| rollout);
            let said = seen.find(|rollout| {
                let ready = rollout.status.as_ref().and_then(|s| condition(s, "Ready"));
                rollout.metadata.generation == now
                    && ready.is_some_and(|c| c.message.contains(words))
            });
            said.map(drop)
        })
        .await
    }

    async fn pods(&self, of: &[(&str, usize)]) -> Result<()> {
        let total: usize = of.iter().map(|(_, count)| count).sum();
        self.until(&format!("pods {of:?}"), PATIENCE, |state| {
            let all = state.ready_pods().count();
            let each = of.iter().all(|(revision, count)| {
                let ready = state.ready_pods().filter(|r| r == revision);
                ready.count() == *count
            });
            (each && all == total).then_some(())
        })
        .await
    }

    async fn answer(&self, command: &str, id: &str) -> Result<(String, String)> {
        self.until(&format!("an answer to {command} {id}"), PATIENCE, |state| {
            let commands = state.status(APP).commands;
            let mut mine = commands.into_iter().filter(|c| c.command == command);
            mine.find(|c| c.id == id).map(|c| (c.result, c.message))
        })
        .await
    }

    fn status(&self) -> RolloutStatus {
        self.view.read(|state| state.status(APP))
    }
}

/// How a revision's last release ended.
pub fn outcome(state: &State, revision: &str) -> Option<Outcome> {
    let history = state.status(APP).history;
    let mut of_revision = history.iter().filter(|e| e.revision == revision);
    of_revision.next().map(|e| e.outcome)
}
