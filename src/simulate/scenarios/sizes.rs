//! How many pods there are to be, and how many there can be.

use jiff::SignedDuration;

use crate::simulate::{
    action::{Action, Autoscaler, Circumstance},
    object::Watched,
    scenario::{
        SETTLED, Scenario, apply, good, name, release, requests, scale, shop, unwell, v2, wrong,
    },
    setting::{Behaviour, DAWN, Health},
};

pub(super) fn sizes() -> Vec<Scenario> {
    vec![
        good("scaled-up").then(170, scale(10)).lasts(700),
        good("scaled-down").then(250, scale(2)).lasts(700),
        good("scaled-to-zero")
            .then(250, scale(0))
            .then(400, scale(4))
            .lasts(900),
        good("scaled-to-zero-and-left").then(250, scale(0)),
        good("autoscaler")
            .then(150, scale(6))
            .then(200, scale(9))
            .then(260, scale(5))
            .then(330, scale(7))
            .lasts(800),
        v2("scaled-while-undoing", wrong(5.0))
            .then(163, scale(8))
            .then(166, scale(3)),
        // For longer than a step may take.
        good("node-says-nothing")
            .then(165, node(true))
            .then(900, node(false))
            .lasts(1_400),
        // Its first pod is not ready when the node falls silent, and stable's are.
        v2(
            "node-says-nothing-while-pods-start",
            Behaviour {
                start_seconds: 60,
                ..Behaviour::default()
            },
        )
        .then(130, node(true))
        .then(1_000, node(false))
        .lasts(1_800),
        // Pods of stable that are to go next serve again afterwards, and those of the last step do not yet.
        v2(
            "node-says-nothing-at-the-last-step",
            Behaviour {
                start_seconds: 30,
                ..Behaviour::default()
            },
        )
        .then(352, node(true))
        .then(500, node(false))
        .lasts(1_200),
        v2("undone-on-a-node-that-says-nothing", wrong(5.0))
            .then(150, node(true))
            .then(900, node(false))
            .lasts(1_200),
        pods_are_seen_late(),
        Scenario::new("single-replica")
            .then(1, apply(shop("v1", 1, Some(1))))
            .then(SETTLED, release("v2", Some(2))),
        Scenario::new("many-pods")
            .then(1, apply(shop("v1", 40, None)))
            .then(SETTLED, release("v2", None)),
        v2("scaled-up-after-an-undo", wrong(5.0))
            .then(300, scale(8))
            .then(350, lose_pods(2)),
        v2("scaled-up-with-a-bad-canary", unwell(Health::NeverReady)).then(150, scale(8)),
        good("scaled-at-half").then(240, scale(8)).lasts(700),
        Scenario::new("scaled-and-released-at-once")
            .then(1, apply(shop("v1", 4, Some(1))))
            .then(SETTLED, apply(shop("v2", 8, Some(2))))
            .lasts(700),
        good("autoscaler-at-work")
            .then(
                100,
                Action::Autoscale {
                    autoscaler: Autoscaler {
                        rollout: name(),
                        per_pod: 50.0,
                        between: (2, 12),
                    },
                    every: 15,
                    until: DAWN + SignedDuration::from_secs(1_000),
                },
            )
            .then(150, requests(450.0))
            .then(330, requests(600.0))
            .then(450, requests(250.0))
            .lasts(1_000),
        good("quota")
            .then(100, Action::Quota(4))
            .then(200, Action::Quota(100))
            .lasts(800),
        good("quota-for-good")
            .then(100, Action::Quota(4))
            .lasts(700),
        good("no-room").then(100, Action::Capacity(4)).lasts(700),
        v2("no-room-for-the-undo", wrong(2.0))
            .then(250, Action::Capacity(4))
            .then(251, lose_pods(2))
            .then(500, Action::Capacity(100))
            .lasts(900),
        pods_go_all_the_time(),
        long_drains(),
        good("nodes-lost").then(200, lose_pods(3)).lasts(800),
        good("stable-loses-its-nodes")
            .then(400, Action::Capacity(1))
            .then(401, lose_pods(3))
            .then(750, Action::Capacity(100))
            .lasts(900),
    ]
}

/// Nodes are taken away one after the other, and each pod needs longer to come back.
fn pods_go_all_the_time() -> Scenario {
    let slow = Behaviour {
        start_seconds: 38,
        ..Behaviour::default()
    };
    let churn = Action::Churn {
        rollout: name(),
        every: 25,
        until: DAWN + SignedDuration::from_secs(560),
    };
    Scenario::new("pods-go-all-the-time")
        .image("v1", slow.clone())
        .image("v2", slow)
        .then(1, apply(shop("v1", 12, None)))
        .then(200, release("v2", None))
        .then(200, churn)
        .lasts(660)
}

/// Pods end slowly, and there is no room for new ones beside them.
fn long_drains() -> Scenario {
    let drains = Behaviour {
        stop_seconds: 290,
        ..Behaviour::default()
    };
    Scenario::new("long-drains")
        .image("v1", drains.clone())
        .image("v2", drains)
        .then(1, apply(shop("v1", 4, None)))
        .then(100, Action::Capacity(5))
        .then(SETTLED, release("v2", None))
        .lasts(1_500)
}

/// Its Deployment says that they are ready, and for two minutes nobody sees what pods say themselves.
fn pods_are_seen_late() -> Scenario {
    let mut unmeasured = shop("v1", 4, None);
    unmeasured.analysis = None;
    let breaks = Action::BreakWatch {
        process: 0,
        kind: Watched::Pods,
        seconds: 120,
    };
    Scenario::new("pods-are-seen-late")
        .then(1, apply(unmeasured))
        .then(SETTLED, release("v2", None))
        .then(SETTLED + 1, breaks)
        .lasts(700)
}

fn node(silent: bool) -> Action {
    Action::Around(Circumstance::Kubelet { silent })
}

fn lose_pods(count: usize) -> Action {
    Action::LosePods {
        rollout: name(),
        count,
    }
}
