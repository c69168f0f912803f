//! Contenders as processes.

use std::time::Duration;

use kube::api::DeleteParams;

use super::contender::{Act, Contender};
use super::{eventually, lease_name, leases};

/// A leader in its first acts and a standby.
async fn pair(lease: &str) -> (Contender, Contender) {
    let first = Contender::start(lease, "first");
    eventually("the first to lead", || first.first()).await;
    let second = Contender::start(lease, "second");
    eventually("the second to look twice", || {
        second.has_looked_twice().then_some(())
    })
    .await;
    assert_eq!(second.first(), None, "a renewed Lease was taken");
    (first, second)
}

/// All that one did lies before all that the other did, under a lower epoch.
fn assert_in_turn(before: &[Act], after: &[Act]) {
    let (Some(last), Some(first)) = (before.last(), after.first()) else {
        panic!("one of them never acted")
    };
    assert!(last.at < first.at, "{last:?} overlaps {first:?}");
    assert!(
        last.epoch < first.epoch,
        "the epoch did not rise: {last:?} {first:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_hands_over_within_two_seconds() {
    let (mut first, second) = pair(&lease_name("clean-stop")).await;
    first.signal("TERM");
    let taken = eventually("the second to lead", || second.first()).await;
    assert!(first.wait().success(), "a clean stop exits with 0");
    let last = first.last().unwrap();
    assert!(
        taken.since(last) < Duration::from_secs(2),
        "it took {:?}",
        taken.since(last)
    );
    assert_in_turn(&first.acts(), &second.acts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_duration_and_retry() {
    let (first, second) = pair(&lease_name("kill")).await;
    first.signal("KILL");
    let taken = eventually("the second to lead", || second.first()).await;
    let took = taken.since(first.last().unwrap());
    assert!(took < Duration::from_secs(15 + 2), "it took {took:?}");
    assert!(
        took > Duration::from_secs(15 - 2),
        "taken before the Lease ran out: {took:?}"
    );
    assert_in_turn(&first.acts(), &second.acts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_and_continued_leader_acts_no_more() {
    let (first, mut second) = pair(&lease_name("stop-cont")).await;
    first.signal("STOP");
    eventually("the second to lead", || second.first()).await;
    let before = first.acts().len();
    first.signal("CONT");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_in_turn(&first.acts(), &second.acts());

    // It stands by and is there when the other goes.
    second.signal("TERM");
    assert!(second.wait().success());
    let again = eventually("the first to lead again", || {
        first.acts().get(before).copied()
    })
    .await;
    assert_in_turn(&second.acts(), &[again]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_for_less_than_its_deadline_goes_on() {
    let (first, second) = pair(&lease_name("short-stop")).await;
    first.signal("STOP");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = first.last().unwrap();
    first.signal("CONT");
    let after = eventually("the first to act", || {
        first.last().filter(|a| a.at > before.at)
    })
    .await;
    assert_eq!(after.epoch, before.epoch);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(second.first(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_again_leads_at_once_under_a_new_epoch() {
    let lease = lease_name("restart");
    let (killed, _standby) = pair(&lease).await;
    killed.signal("KILL");
    let started = std::time::Instant::now();
    let again = Contender::start(&lease, "first");
    eventually("the new process to lead", || again.first()).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "it took {:?}",
        started.elapsed()
    );
    assert_in_turn(&killed.acts(), &again.acts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lease_is_made_anew_under_a_higher_epoch() {
    let lease = lease_name("delete");
    let (first, second) = pair(&lease).await;
    let before = first.last().unwrap();
    leases()
        .await
        .delete(&lease, &DeleteParams::default())
        .await
        .unwrap();
    let after = eventually("a higher epoch", || {
        [first.last(), second.last()]
            .into_iter()
            .flatten()
            .find(|act| act.epoch > before.epoch)
    })
    .await;
    assert!(after.since(before) < Duration::from_secs(20));
    assert_eq!(
        second.first(),
        None,
        "the standby waits until the old leader must have noticed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn however_soon_a_deleted_lease_is_made_anew_no_epoch_comes_twice() {
    let lease = lease_name("delete-and-start");
    let mut before: Vec<Act> = Vec::new();
    for _ in 0..3 {
        let mut only = Contender::start(&lease, "only");
        eventually("it to lead", || only.first()).await;
        only.signal("KILL");
        let _ = only.wait();
        if !before.is_empty() {
            assert_in_turn(&before, &only.acts());
        }
        before = only.acts();
        let deleted = leases()
            .await
            .delete(&lease, &DeleteParams::default())
            .await;
        deleted.unwrap();
    }
}
