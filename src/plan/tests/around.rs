//! Stable, measured before a contract and after it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    fixture::{World, condition, reading},
    versions::{approve, filled, recorded},
};
use crate::{
    api::{
        Approval,
        database::{Done, Found, VersionRecord},
    },
    evidence::{Readings, Verdict},
    plan::{draft::later, intent::Write, measurable},
};

/// Everything but a verdict about stable is there.
fn world() -> World {
    let mut world = filled().with_check("errors");
    let version = world.database_mut().version_mut(2).unwrap();
    for asked in &mut version.asked {
        asked.approval = Approval::Automatic;
        asked.after_seconds = 0;
    }
    world.seen.answers.users = Some(Vec::new().into());
    world.edit_spec(|spec| {
        let contract = spec.schema.as_mut().and_then(|s| s.contract.as_mut());
        let contract = contract.unwrap();
        contract.approval = Approval::Automatic;
        contract.after_seconds = 0;
    });
    world
}

/// What is put on record next, and is from then on.
fn next(world: &mut World) -> Option<VersionRecord> {
    let version = recorded(world)?;
    *world.database_mut().version_mut(2).unwrap() = version.clone();
    Some(version)
}

/// The checks say this of stable since then, where its hold began.
fn says(world: &mut World, verdict: Verdict, since: &Time, hold: &Time) {
    let analysis = world.spec.analysis.as_ref().unwrap();
    world.seen.readings = Some(Readings {
        revision: world.status().stable.as_ref().unwrap().revision.clone(),
        since: since.0,
        source: analysis.source.clone(),
        checks: measurable::checks(analysis),
        hold_since: Some(hold.0),
        polled_at: Some(world.now),
        split: None,
        complete_polls: 3,
        readings: vec![reading("errors", verdict)],
    });
}

/// It is measured before the contract until the hold and the time for a verdict are over.
fn measured(verdict: Verdict) -> (World, VersionRecord) {
    let mut world = world();
    let version = next(&mut world).expect("the measurement begins");
    let since = version.stable_before.unwrap().since;
    let measure = world.plan().measure.expect("stable is measured");
    assert_eq!((measure.since, measure.before), (since.0, None));
    world.now = later(world.now, 100_000);
    says(&mut world, verdict, &since, &since);
    let version = next(&mut world).expect("its end");
    (world, version)
}

fn takes_the_database(world: &World) -> bool {
    world.plan().writes.iter().any(|write| match write {
        Write::RecordDatabase { record, .. } => record.holder.is_some(),
        _ => false,
    })
}

#[test]
fn a_contract_begins_after_stable_has_passed() {
    let mut early = world();
    let begins = next(&mut early).and_then(|v| v.stable_before);
    let since = begins.expect("the measurement begins").since;
    says(&mut early, Verdict::Pass, &since, &since);
    assert!(recorded(&early).is_none(), "the hold is not over");
    assert!(!takes_the_database(&early));

    let (world, version) = measured(Verdict::Pass);
    let before = version.stable_before.unwrap();
    assert_eq!(before.verdict, Some(Found::Passed));
    assert!(before.message.contains("check errors: "), "{before:?}");
    assert!(takes_the_database(&world));
}

#[test]
fn without_a_verdict_a_contract_asks_for_an_approval_and_takes_one_that_is_there() {
    let (mut world, version) = measured(Verdict::Inconclusive);
    let before = version.stable_before.unwrap();
    assert_eq!(before.verdict, Some(Found::NoVerdict));
    assert!(!takes_the_database(&world));
    let message = condition(&world.decide(), "SchemaReady").message.clone();
    for words in [
        "an approval of the contract of version 2",
        "no verdict about stable",
        "stepgate.io/approve=\"2/contract/",
        "stepgate.io/retry=\"",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    approve(&mut world, 0);
    assert!(takes_the_database(&world));
}

#[test]
fn where_stable_does_badly_only_an_approval_after_that_counts() {
    let (mut world, version) = measured(Verdict::Fail);
    let until = version.stable_before.unwrap().until.unwrap();
    approve(&mut world, 0);
    assert!(!takes_the_database(&world));
    let version = world.database_mut().version_mut(2).unwrap();
    version.approved.as_mut().unwrap().at = Time(later(until.0, 1));
    assert!(takes_the_database(&world));
}

#[test]
fn a_retry_measures_anew() {
    let (mut world, version) = measured(Verdict::Fail);
    let first = version.stable_before.unwrap();
    world.now = later(world.now, 60);
    world.command("retry", &format!("{} again", world.spec.revision()));
    let said = world.record().commands[0].message.clone();
    assert_eq!(said, "stable is measured anew around the contract");
    let second = next(&mut world).and_then(|v| v.stable_before);
    let second = second.expect("another measurement");
    assert_eq!(second.verdict, None);
    assert!(second.since.0 > first.since.0);
}

#[test]
fn what_comes_into_the_way_ends_a_measurement_and_the_next_begins_anew() {
    let mut world = world();
    next(&mut world).expect("the measurement begins");
    world.edit_spec(|spec| {
        let contract = spec.schema.as_mut().and_then(|s| s.contract.as_mut());
        contract.unwrap().approval = Approval::Manual;
    });
    next(&mut world).expect("what the spec asks for");
    let cleared = next(&mut world).expect("it is taken off the record");
    assert_eq!(cleared.stable_before, None);
}

#[test]
fn after_a_contract_stable_is_compared_with_before_it() {
    let (mut world, version) = measured(Verdict::Pass);
    let before = version.stable_before.unwrap();
    let version = world.database_mut().version_mut(2).unwrap();
    version.contracted = Some(Done {
        attempt: 1,
        job: "shop-b-contract-1".into(),
        began: before.since.clone(),
        ended: before.since.clone(),
    });
    world.now = later(world.now, 100);
    let after = next(&mut world).and_then(|v| v.stable_after);
    let since = after.expect("the measurement begins").since;
    let measure = world.plan().measure.expect("stable is measured");
    assert_eq!(measure.since, before.since.0);
    assert_eq!(measure.before, before.until.as_ref().map(|until| until.0));
    assert_eq!(measure.hold_since, Some(since.0));

    says(&mut world, Verdict::Fail, &before.since, &since);
    let events = world.plan().events;
    let told = events.iter().find(|e| e.reason.word() == "ContractHurts");
    assert!(told.is_some_and(|told| told.warning), "{events:?}");
    let after = next(&mut world).and_then(|v| v.stable_after).unwrap();
    assert_eq!(after.verdict, Some(Found::Failed));
    let status = world.decide();
    let ready = condition(&status, "SchemaReady");
    assert_eq!(ready.reason, "ContractHurts");
    assert!(ready.message.contains("Nothing takes a contract back"));
    // It blocks nothing.
    assert_eq!(condition(&status, "Ready").status, "True");
}
