use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    cluster::{Answer, Written, memory::tests::cached},
    plan::facts::Objects,
};

/// A cluster that answers nothing before so many questions are open.
struct Together {
    asked: AtomicUsize,
    needed: usize,
}

impl Cluster for Together {
    fn rollout(&self, _: &str, _: &str) -> Option<Objects> {
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
        Some(objects)
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
    let around = Surroundings {
        now: &|| Timestamp::UNIX_EPOCH,
        readings: &|_| None,
        source_problem: &|_| None,
        sql_image: Arc::from(""),
        limits: Limits::default(),
        trusted_since: Timestamp::UNIX_EPOCH,
        epoch: 1,
        outranks: 1,
    };
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
