//! `spec.after`: a server before its clients.

use crate::{
    api::{After, RolloutSpec},
    simulate::{
        action::Action,
        scenario::{SETTLED, Scenario, apply_to, release, workload, wrong},
        setting::Behaviour,
    },
};

fn after(rollout: &str, schema_version: Option<i64>) -> After {
    After {
        rollout: rollout.into(),
        schema_version,
    }
}

/// A Rollout that comes after others.
pub(crate) fn follows(mut spec: RolloutSpec, rollouts: &[&str]) -> RolloutSpec {
    spec.after = rollouts.iter().map(|name| after(name, None)).collect();
    spec
}

fn server(image: &str, version: Option<i64>) -> RolloutSpec {
    workload("server", image, 2, version)
}

fn shop(image: &str) -> RolloutSpec {
    workload("shop", image, 2, None)
}

/// `server` and `shop` run, and `shop` comes after it.
fn both(name: &'static str) -> Scenario {
    Scenario::new(name)
        .then(1, apply_to("server", server("v1", None)))
        .then(1, apply_to("shop", follows(shop("v1"), &["server"])))
}

/// Both are to be released.
fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    both(name)
        .image("v2", behaviour)
        .then(2 * SETTLED, release_of("server", "v2"))
        .then(2 * SETTLED + 1, release("v2", None))
}

fn release_of(rollout: &str, image: &str) -> Action {
    Action::Release {
        rollout: rollout.into(),
        image: image.into(),
        version: None,
    }
}

pub(super) fn order() -> Vec<Scenario> {
    vec![
        v2("a-server-goes-before-its-client", Behaviour::default()).lasts(900),
        v2("a-client-waits-for-a-server-that-failed", wrong(5.0))
            .then(450, release_of("server", "v3"))
            .then(451, release("v3", None))
            .lasts(1_200),
        // Both are applied by one hand, the client first: its expand is under way by then.
        both("a-client-is-seen-before-its-server-was-changed")
            .then(
                2 * SETTLED,
                apply_to(
                    "shop",
                    follows(workload("shop", "v2", 2, Some(1)), &["server"]),
                ),
            )
            .then(2 * SETTLED + 5, release_of("server", "v2"))
            .lasts(900),
        Scenario::new("a-client-waits-for-a-server-that-is-missing")
            .then(1, apply_to("shop", follows(shop("v1"), &["server"])))
            .then(60, apply_to("server", server("v1", None)))
            .lasts(400),
        Scenario::new("a-client-waits-for-a-schema-version")
            .then(1, apply_to("server", server("v1", Some(1))))
            .then(2, {
                let mut client = shop("v1");
                client.after = vec![after("server", Some(2))];
                apply_to("shop", client)
            })
            .then(
                200,
                Action::Release {
                    rollout: "server".into(),
                    image: "v2".into(),
                    version: Some(2),
                },
            )
            .lasts(900),
        Scenario::new("an-order-in-a-circle")
            .then(1, apply_to("shop", follows(shop("v1"), &["server"])))
            .then(
                1,
                apply_to("server", follows(server("v1", None), &["cache"])),
            )
            .then(
                1,
                apply_to(
                    "cache",
                    follows(workload("cache", "v1", 2, None), &["shop"]),
                ),
            )
            .then(60, apply_to("cache", workload("cache", "v1", 2, None)))
            .lasts(600),
    ]
}
