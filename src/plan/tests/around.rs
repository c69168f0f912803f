//! Stable, measured before a contract and after it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    fixture::{World, condition, reading, second},
    versions::{approve, filled, recorded},
};
use crate::{
    api::{
        Approval, PhaseKind,
        database::{Dirty, Done, Found, Measured, VersionRecord},
        rollout_status::VersionJobs,
    },
    evidence::{Readings, Verdict},
    plan::{
        draft::later,
        intent::{Around, Write},
        measurable,
    },
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
    assert_eq!(said, "stable is measured again for the contract");
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
        sql: true,
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
    let counted = told.and_then(|told| told.measured).expect("a measurement");
    assert_eq!(
        (counted.around, counted.verdict),
        (Around::AfterContract, Found::Failed)
    );
    let after = next(&mut world).and_then(|v| v.stable_after).unwrap();
    assert_eq!(after.verdict, Some(Found::Failed));
    let status = world.decide();
    let ready = condition(&status, "SchemaReady");
    assert_eq!(ready.reason, "ContractHurts");
    assert!(ready.message.contains("A contract cannot be reverted"));
    // It blocks nothing.
    assert_eq!(condition(&status, "Ready").status, "True");
}

#[test]
fn what_keeps_its_job_from_beginning_takes_the_measurement_off_the_record() {
    let (mut world, version) = measured(Verdict::Pass);
    assert!(version.stable_before.is_some());
    let dirty = Dirty {
        rollout: "worker".into(),
        revision: "w1".into(),
        version: None,
        phase: PhaseKind::Expand,
        attempt: 1,
        job: "worker-w1-expand-1".into(),
        since: version.stable_before.unwrap().since,
    };
    world.database_mut().dirty = vec![dirty];
    let cleared = next(&mut world).expect("it is taken off the record");
    assert_eq!(cleared.stable_before, None);
    assert!(next(&mut world).is_none(), "nor is it measured meanwhile");
    world.database_mut().dirty.clear();
    let anew = next(&mut world).and_then(|v| v.stable_before);
    assert_eq!(anew.expect("it is measured anew").verdict, None);
}

/// Version 1 is contracted, and stable is measured since.
fn after_another(world: &mut World, since: &Time) {
    let mut first = world.database_mut().version(2).unwrap().clone();
    let mut before = Measured::begins(&first.revision, since.clone());
    before.until = Some(since.clone());
    before.verdict = Some(Found::Passed);
    first.version = 1;
    first.stable_after = Some(Measured::begins(&first.revision, since.clone()));
    first.stable_before = Some(before);
    first.contracted = Some(Done {
        attempt: 1,
        job: "shop-a-contract-1".into(),
        began: since.clone(),
        ended: since.clone(),
        sql: true,
    });
    world.database_mut().versions.insert(0, first);
}

#[test]
fn of_two_measurements_the_second_waits_and_says_for_what() {
    let mut world = world();
    let now = Time(world.now);
    after_another(&mut world, &now);
    assert!(next(&mut world).is_none(), "one is under way");
    let status = world.decide();
    let message = condition(&status, "SchemaReady").message.clone();
    let words = "which waits: stable is measured after the contract of version 1";
    assert!(message.contains(words), "{message}");
}

#[test]
fn a_measurement_is_not_judged_by_the_figures_of_another() {
    let mut world = world();
    let version = next(&mut world).expect("the measurement begins");
    let since = version.stable_before.unwrap().since;
    // As an older operator has left it: two at once.
    after_another(&mut world, &since);
    world.now = later(world.now, 100_000);
    says(&mut world, Verdict::Pass, &since, &since);
    let ended = next(&mut world).expect("a write");
    assert_eq!(ended.stable_before.and_then(|m| m.verdict), None);
}

#[test]
fn what_people_said_of_versions_goes_when_all_is_done_with_them() {
    let (mut world, _) = measured(Verdict::Fail);
    let rollout = Arc::make_mut(&mut world.seen.objects.rollout.status);
    let of = |version: i64| VersionJobs {
        measured_from: Some(Time(second(0))),
        ..VersionJobs::of(version)
    };
    rollout.version_jobs = (10..90).map(of).collect();
    world.now = later(world.now, 60);
    world.command("retry", &format!("{} again", world.spec.revision()));
    let said = world.record().version_jobs.clone();
    let versions: Vec<_> = said.iter().map(|said| said.version).collect();
    assert_eq!(versions, [2]);
}

#[test]
fn what_was_good_long_ago_or_before_another_phase_is_measured_anew() {
    let (mut world, version) = measured(Verdict::Pass);
    let first = version.stable_before.unwrap();
    world.now = later(world.now, 601);
    assert!(!takes_the_database(&world));
    let anew = next(&mut world).and_then(|v| v.stable_before);
    assert!(anew.expect("another").since.0 > first.since.0);

    let (mut world, version) = measured(Verdict::Pass);
    let until = version.stable_before.unwrap().until.unwrap();
    let record = world.database_mut();
    let mut other = record.phases[0].clone();
    other.ended = Time(later(until.0, 5));
    record.phases.push(other);
    world.now = later(world.now, 10);
    assert!(!takes_the_database(&world));
    // What was found bad waits for a person, however long.
    let (mut world, _) = measured(Verdict::Fail);
    world.now = later(world.now, 100_000);
    assert!(next(&mut world).is_none());
}
