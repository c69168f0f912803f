use std::{
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    cluster::{Answer, Live, Written, memory::tests::cached},
    plan::facts::Objects,
};

/// A Rollout that is about to release.
fn objects() -> Objects {
    let mut objects = cached(Vec::new(), Vec::new());
    let spec = serde_json::json!({
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "shop", "image": "shop"}]},
        },
    });
    let spec = serde_json::from_value(spec).unwrap();
    objects.rollout.spec = Ok(Arc::new(plan::revision::Wanted::new(spec)));
    objects
}

/// A cluster that answers nothing before so many questions are open.
struct Together {
    asked: AtomicUsize,
    needed: usize,
}

impl Cluster for Together {
    fn rollout(&self, _: &str, _: &str) -> Option<Objects> {
        Some(objects())
    }

    fn database(&self, _: &str, _: &str) -> Option<DatabaseObjects> {
        None
    }

    async fn ask(&self, _: &Key, question: &Question) -> Result<Answer, ReadError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let all = || self.asked.load(Ordering::SeqCst) == self.needed;
        std::future::poll_fn(|_| {
            if all() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        Err(ReadError {
            what: question.to_string(),
            message: "all of them are asked".into(),
        })
    }

    async fn write(&self, _: &str, _: &Write) -> Result<Written, WriteError> {
        unreachable!("nothing is written without the answers")
    }
}

fn around() -> Surroundings<'static> {
    Surroundings {
        now: &|| Timestamp::UNIX_EPOCH,
        readings: &|_| None,
        source_problem: &|_| None,
        sql_image: Arc::from(""),
        limits: Limits::default(),
        trusted_since: Timestamp::UNIX_EPOCH,
        epoch: 1,
        outranks: 1,
    }
}

/// A cluster whose Rollout was edited since the caches have shown it.
#[derive(Default)]
struct Edited {
    asked: Mutex<Vec<String>>,
}

impl Cluster for Edited {
    fn rollout(&self, _: &str, _: &str) -> Option<Objects> {
        Some(objects())
    }

    fn database(&self, _: &str, _: &str) -> Option<DatabaseObjects> {
        None
    }

    async fn ask(&self, _: &Key, question: &Question) -> Result<Answer, ReadError> {
        let mut asked = self.asked.lock().unwrap();
        let again = asked.contains(&question.to_string());
        asked.push(question.to_string());
        if again && matches!(question, Question::Overlaps(_)) {
            return Err(ReadError {
                what: question.to_string(),
                message: "it is asked again".into(),
            });
        }
        Ok(match question {
            Question::Rollout(_) => {
                let mut facts = objects().rollout;
                facts.generation += 1;
                facts.base.resource_version = "2".into();
                Answer::Rollout(Some(Box::new(Live { facts, whole: None })))
            }
            Question::Overlaps(_) => Answer::Overlaps(Vec::new()),
            Question::Revisions => Answer::Revisions(Vec::new()),
            other => unreachable!("{other}"),
        })
    }

    async fn write(&self, _: &str, write: &Write) -> Result<Written, WriteError> {
        unreachable!("by answers for the spec before: {write:?}")
    }
}

#[test]
fn what_was_asked_for_a_spec_that_was_edited_since_is_asked_again() {
    let cluster = Edited::default();
    let (mut memory, around) = (Memory::default(), around());
    let key = Key::Rollout {
        namespace: "ns".into(),
        name: "shop".into(),
    };
    let mut pass = pin!(run(&cluster, &key, &mut memory, &around));
    let Poll::Ready(ran) = pass.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("all is answered");
    };
    let Some(Stopped::Read(error)) = ran.error else {
        panic!("it goes on: {:?}", cluster.asked.lock().unwrap());
    };
    assert_eq!(error.message, "it is asked again");
}

#[test]
fn what_a_release_must_know_to_begin_is_asked_at_once() {
    // Deployments, ControllerRevisions, and the Rollout with its template.
    let cluster = Together {
        asked: AtomicUsize::new(0),
        needed: 3,
    };
    let key = Key::Rollout {
        namespace: "ns".into(),
        name: "shop".into(),
    };
    let around = around();
    let mut memory = Memory::default();
    let mut pass = pin!(run(&cluster, &key, &mut memory, &around));
    let mut turn = || pass.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    // With the first turn all is asked, with the second all is answered.
    assert!(turn().is_pending());
    let Poll::Ready(ran) = turn() else {
        panic!("they are asked one after the other");
    };
    let error = ran.error;
    assert!(matches!(error, Some(Stopped::Read(_))), "{error:?}");
}
