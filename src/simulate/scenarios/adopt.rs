//! `spec.adopt`: a running Deployment is moved in.

use jiff::SignedDuration;

use super::soak::soaked;
use crate::{
    api::{Adopt, OnInconclusive, RolloutSpec},
    simulate::{
        action::{Action, Adoptable, Circumstance},
        scenario::{
            Scenario, apply, apply_to, command, name, release, scale, shop, workload, wrong,
        },
        setting::DAWN,
    },
};

/// A Rollout that moves Deployment `web` in.
pub(crate) fn adopts(mut spec: RolloutSpec) -> RolloutSpec {
    spec.adopt = Some(Adopt {
        deployment: "web".to_owned(),
    });
    spec
}

pub(crate) fn web(is: Adoptable) -> Action {
    Action::Around(Circumstance::Adoptable(is))
}

fn runs(replicas: i32) -> Action {
    let image = "v0";
    web(Adoptable::Runs { image, replicas })
}

/// `web` runs with 4 pods when the Rollout is made.
fn moved(name: &'static str) -> Scenario {
    Scenario::new(name)
        .then(0, runs(4))
        .then(60, apply(adopts(shop("v1", 4, Some(1)))))
        .lasts(800)
}

/// An agent sets its replicas to 4 again and again.
fn agent() -> Action {
    let by = "argocd-controller";
    let apply = web(Adoptable::Scaled { by, replicas: 4 });
    Action::Reapply {
        apply: Box::new(apply),
        every: 5,
        until: DAWN + SignedDuration::from_secs(400),
    }
}

fn scaled(by: &'static str, replicas: i32) -> Action {
    web(Adoptable::Scaled { by, replicas })
}

pub(super) fn adopt() -> Vec<Scenario> {
    let overlaps = Scenario::new("a-running-deployment-selects-the-same-pods").then(0, runs(4));
    vec![
        moved("a-deployment-is-moved-in").then(700, web(Adoptable::Gone)),
        moved("a-deployment-comes-back-when-the-revision-fails").image("v1", wrong(5.0)),
        moved("an-agent-asks-for-its-replicas")
            .then(100, agent())
            .then(500, scaled("kubectl", 3))
            .lasts(1_200),
        moved("an-agent-raises-what-was-replaced")
            .then(600, scaled("kustomize-controller", 4))
            .then(900, web(Adoptable::Gone))
            .lasts(1_000),
        moved("deleted-in-mid-move").then(250, Action::Delete(name())),
        moved("deleted-in-the-foreground-in-mid-move")
            .then(250, Action::DeleteInForeground(name())),
        moved("the-deployment-is-deleted-in-mid-move").then(250, web(Adoptable::Gone)),
        moved("the-deployment-is-made-again-in-mid-move")
            .then(250, web(Adoptable::Gone))
            .then(250, runs(2))
            .then(700, scaled("kubectl", 0)),
        Scenario::new("an-expand-is-measured-on-the-deployment")
            .then(0, runs(4))
            .then(
                60,
                apply(adopts(soaked(
                    OnInconclusive::Pause,
                    shop("v1", 4, Some(1)),
                ))),
            )
            .lasts(900),
        moved("undone-by-a-person-in-mid-move").then(250, command("undo")),
        moved("scaled-in-mid-move").then(250, scale(6)).lasts(900),
        moved("another-release-after-the-move")
            .then(600, release("v2", Some(2)))
            .lasts(1_200),
        moved("status-is-lost-in-mid-move")
            .then(250, Action::LoseStatus(name()))
            .lasts(1_000),
        Scenario::new("there-is-no-such-deployment")
            .then(1, apply(adopts(shop("v1", 4, Some(1)))))
            .then(100, runs(4))
            .lasts(800),
        Scenario::new("a-deployment-at-zero")
            .then(0, runs(0))
            .then(60, apply(adopts(shop("v1", 4, Some(1))))),
        Scenario::new("a-deployment-of-another-controller")
            .then(0, runs(4))
            .then(1, web(Adoptable::Owned(true)))
            .then(60, apply(adopts(shop("v1", 4, Some(1)))))
            .then(200, web(Adoptable::Owned(false)))
            .then(201, web(Adoptable::Paused(true)))
            .then(300, web(Adoptable::Paused(false)))
            .lasts(900),
        Scenario::new("a-deployment-with-other-labels")
            .then(0, runs(4))
            .then(1, web(Adoptable::Labelled("store")))
            .then(60, apply(adopts(shop("v1", 4, Some(1)))))
            .lasts(120),
        Scenario::new("fewer-replicas-than-the-deployment-has")
            .then(0, runs(4))
            .then(60, apply(adopts(shop("v1", 1, Some(1)))))
            .then(120, scale(4))
            .lasts(900),
        Scenario::new("two-rollouts-adopt-the-same")
            .then(0, runs(4))
            .then(60, apply(adopts(shop("v1", 4, Some(1)))))
            .then(
                61,
                apply_to("worker", adopts(workload("worker", "v1", 4, None))),
            )
            .lasts(700),
        overlaps
            .then(60, apply(shop("v1", 4, Some(1))))
            .then(120, apply(adopts(shop("v1", 4, Some(1)))))
            .lasts(900),
    ]
}
