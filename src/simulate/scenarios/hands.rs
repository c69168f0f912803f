//! Hands of others: on children, on configuration, on the whole Rollout.

use jiff::SignedDuration;

use crate::{
    api::RolloutSpec,
    simulate::{
        action::{Action, Circumstance},
        scenario::{SETTLED, Scenario, apply, command, good, name, pause, scale, shop, v2, wrong},
        setting::DAWN,
    },
};

/// It waits for a person before anything happens.
fn paused(mut spec: RolloutSpec) -> RolloutSpec {
    spec.paused = true;
    spec
}

pub(super) fn hands() -> Vec<Scenario> {
    vec![
        good("child-scaled-by-hand").then(
            250,
            Action::ScaleChild {
                rollout: name(),
                image: "v1".into(),
                replicas: 0,
            },
        ),
        good("child-edited-by-hand").then(
            180,
            Action::EditChild {
                rollout: name(),
                image: "v2".into(),
                to: "v9".into(),
            },
        ),
        good("stable-restarted").then(100, restart_child("v1")),
        v2("stable-restarted-in-mid-release", wrong(5.0)).then(SETTLED + 25, restart_child("v1")),
        good("canary-restarted").then(180, restart_child("v2")),
        good("canary-deleted-by-hand")
            .then(180, delete_child("v2"))
            .lasts(800),
        good("stable-deleted-by-hand")
            .then(180, delete_child("v1"))
            .lasts(800),
        v2("memory-of-stable-deleted-by-hand", wrong(5.0)).then(150, forget_revision("v1")),
        good("memory-of-canary-deleted-by-hand").then(180, forget_revision("v2")),
        good("live-reads-fail")
            .then(SETTLED - 10, Action::Reads(100))
            .then(200, Action::Reads(0)),
        good("webhook-down")
            .then(SETTLED - 10, webhook(true))
            .then(400, webhook(false))
            .lasts(900),
        good("deleted-in-mid-rollout")
            .then(240, Action::Delete(name()))
            .lasts(400),
        good("config-pruned")
            .then(130, config(false))
            .then(300, config(true))
            .lasts(800),
        good("config-pruned-and-given-up")
            .then(100, command("promote-without-undo"))
            .then(130, config(false))
            .then(200, command("promote-without-undo"))
            .then(210, command("promote-without-undo"))
            .lasts(700),
        v2("config-pruned-given-up-and-wrong", wrong(5.0))
            .then(SETTLED - 1, config(false))
            .then(SETTLED + 20, command("promote-without-undo"))
            .lasts(600),
        good("agent-re-applies-a-failed-release").then(130, reapply()),
        v2("git-keeps-asking-for-a-failed-release", wrong(5.0))
            .then(150, reapply())
            .then(310, scale(6)),
        v2("stable-deleted-after-an-undo", wrong(5.0)).then(300, delete_child("v1")),
        Scenario::new("released-while-paused")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(100, pause(true))
            .then(SETTLED, apply(paused(shop("v2", 8, Some(2)))))
            .then(150, apply(paused(shop("v2", 6, Some(2)))))
            .then(300, pause(false))
            .lasts(900),
        Scenario::new("deployment-of-the-same-pods")
            .then(0, Action::Around(Circumstance::Deployment { exists: true }))
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(
                200,
                Action::Around(Circumstance::Deployment { exists: false }),
            )
            .lasts(500),
    ]
}

fn delete_child(image: &str) -> Action {
    Action::DeleteChild {
        rollout: name(),
        image: image.into(),
    }
}

fn restart_child(image: &str) -> Action {
    Action::RestartChild {
        rollout: name(),
        image: image.into(),
    }
}

fn forget_revision(image: &str) -> Action {
    Action::ForgetRevision {
        rollout: name(),
        image: image.into(),
    }
}

fn config(exists: bool) -> Action {
    let name = "shop-config".into();
    Action::Config { name, exists }
}

fn reapply() -> Action {
    Action::Reapply {
        apply: Box::new(apply(shop("v2", 4, Some(2)))),
        every: 30,
        until: DAWN + SignedDuration::from_secs(500),
    }
}

fn webhook(down: bool) -> Action {
    Action::Around(Circumstance::Webhook { down })
}
