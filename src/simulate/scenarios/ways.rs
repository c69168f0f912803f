//! Other ways than the canary: batch by batch.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    api::{Rolling, RolloutSpec},
    simulate::{
        action::Action,
        amend::Amendment,
        scenario::{
            SETTLED, Scenario, apply, command, name, pause, release, scale, shop, slow, unwell,
            wrong,
        },
        setting::{Behaviour, Health},
    },
};

/// Four batches, held for half a minute, the last one for a whole.
pub(crate) fn batches() -> Rolling {
    Rolling {
        hold_seconds: 30,
        bake_seconds: 60,
        deadline_seconds: 300,
        ..Rolling::default()
    }
}

fn rolling(mut spec: RolloutSpec) -> RolloutSpec {
    *spec.strategy.rolling_mut() = batches();
    spec
}

/// The old pod goes before the new one comes.
fn old_first(mut spec: RolloutSpec) -> RolloutSpec {
    spec.strategy.max_surge = IntOrString::Int(0);
    spec.strategy.max_unavailable = IntOrString::Int(1);
    spec
}

fn v2(name: &'static str, behaviour: Behaviour) -> Scenario {
    Scenario::new(name)
        .image("v2", behaviour)
        .then(1, apply(rolling(shop("v1", 8, Some(1)))))
        .then(SETTLED, release("v2", Some(2)))
        .lasts(700)
}

fn good(name: &'static str) -> Scenario {
    v2(name, Behaviour::default())
}

fn batch_of(batch: IntOrString) -> Action {
    Action::Amend {
        rollout: name(),
        amendment: Amendment::Rolling(Rolling { batch, ..batches() }),
    }
}

pub(super) fn ways() -> Vec<Scenario> {
    vec![
        good("rolling"),
        v2("rolling-errors", wrong(5.0)),
        v2("rolling-errors-at-the-last-batch", wrong(0.8)),
        v2("rolling-slow", slow(600.0)),
        v2("rolling-never-ready", unwell(Health::NeverReady)),
        Scenario::new("rolling-one-by-one-old-first")
            .then(1, apply(old_first(rolling(shop("v1", 3, None)))))
            .then(SETTLED, release("v2", None))
            .lasts(600),
        Scenario::new("rolling-one-replica-old-first")
            .with_a_disk_of_one_node()
            .then(1, apply(old_first(rolling(shop("v1", 1, None)))))
            .then(SETTLED, release("v2", None)),
        Scenario::new("rolling-one-replica-old-first-never-ready")
            .image("v2", unwell(Health::NeverReady))
            .with_a_disk_of_one_node()
            .then(1, apply(old_first(rolling(shop("v1", 1, None)))))
            .then(SETTLED, release("v2", None)),
        Scenario::new("rolling-one-replica-by-surge-with-a-disk")
            .with_a_disk_of_one_node()
            .then(1, apply(rolling(shop("v1", 1, None))))
            .then(SETTLED, release("v2", None)),
        good("rolling-paused-and-promoted")
            .then(170, pause(true))
            .then(260, command("promote"))
            .then(300, pause(false)),
        good("rolling-undone-by-a-person")
            .then(220, command("undo"))
            .then(300, command("retry"))
            .lasts(900),
        good("rolling-third-revision")
            .then(220, release("v3", Some(3)))
            .lasts(900),
        good("rolling-scaled")
            .then(190, scale(20))
            .then(240, scale(3))
            .then(330, scale(8)),
        good("rolling-in-smaller-batches").then(230, batch_of(IntOrString::String("10%".into()))),
        good("rolling-in-counted-batches")
            .then(190, batch_of(IntOrString::Int(3)))
            .then(260, scale(12)),
    ]
}
