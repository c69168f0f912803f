//! The election, case by case.

use std::time::Duration;

use super::Leadership;
use super::election::{Action, Election, LeaseFacts, Term, Timing, TimingError};
use crate::operator::metrics::Metrics;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn lease(holder: Option<&str>, epoch: u32, renewed: i64) -> LeaseFacts {
    LeaseFacts {
        holder: holder.map(str::to_owned),
        epoch,
        made: 0,
        duration: s(15),
        renewed: Some(renewed),
        resource_version: format!("{epoch}.{renewed}"),
        uid: "u".into(),
    }
}

fn contender() -> Election {
    Election::new("a", Timing::default())
}

/// A contender that leads in `epoch` by a write that was sent and answered at `now`.
fn leader(epoch: u32, now: Duration) -> Election {
    let mut election = contender();
    let free = lease(None, epoch - 1, 0);
    assert_eq!(election.step(Some(&free), now), Action::Acquire { epoch });
    election.sending(epoch);
    election.accepted(lease(Some("a"), epoch, 1), now, now);
    election
}

#[test]
fn without_an_election_the_process_leads_and_shows_it() {
    let metrics = Metrics::new();
    assert!(Leadership::without_election(&metrics).epoch().is_some());
    let text = metrics.render();
    assert!(text.contains("stepgate_leader 1\n"), "{text}");
}

#[test]
fn nobody_leads_by_a_lease_before_the_second_in_which_it_was_made_is_over() {
    let mut election = contender();
    assert_eq!(election.step(None, s(0)), Action::Create { epoch: 1 });
    assert_eq!(election.term(s(0)), None, "asking is not leading");
    election.sending(1);
    let made = LeaseFacts {
        made: 7,
        ..lease(Some("a"), 1, 1)
    };
    election.accepted(made.clone(), s(0), s(1));
    assert_eq!(election.term(s(1)), None);
    assert_eq!(election.step(Some(&made), s(2)), Action::Wait(s(1)));
    let take = Action::Acquire { epoch: 2 };
    assert_eq!(election.step(Some(&made), s(3)), take);
    let taken = LeaseFacts {
        made: 7,
        ..lease(Some("a"), 2, 2)
    };
    election.accepted(taken, s(3), s(3));
    let epoch = election.term(s(3)).map(|term| term.epoch);
    assert_eq!(epoch, Some(7_000_002));

    // Whoever finds it so waits as well: its maker's answer may have been lost.
    let mut other = contender();
    let found = lease(None, 1, 1);
    assert_eq!(other.step(Some(&found), s(5)), Action::Wait(s(2)));
    assert_eq!(other.step(Some(&found), s(7)), take);
    // Another one of that name is new again.
    let another = LeaseFacts {
        uid: "v".into(),
        ..lease(None, 1, 1)
    };
    assert_eq!(other.step(Some(&another), s(8)), Action::Wait(s(2)));
}

#[test]
fn a_free_lease_is_taken_at_once_and_its_epoch_raised() {
    assert_eq!(
        contender().step(Some(&lease(None, 7, 0)), s(0)),
        Action::Acquire { epoch: 8 }
    );
}

#[test]
fn a_foreign_lease_is_left_alone_for_its_duration_as_seen_here() {
    let mut election = contender();
    let held = lease(Some("b"), 7, 1);
    assert_eq!(election.step(Some(&held), s(100)), Action::Wait(s(1)));
    assert_eq!(
        election.step(Some(&held), ms(114_600)),
        Action::Wait(ms(400))
    );
    let renewed = lease(Some("b"), 7, 2);
    assert_eq!(
        election.step(Some(&renewed), ms(114_900)),
        Action::Wait(s(1))
    );
    assert_eq!(
        election.step(Some(&renewed), ms(129_900)),
        Action::Acquire { epoch: 8 }
    );
}

#[test]
fn the_holders_duration_counts_not_ours() {
    let mut election = contender();
    let held = LeaseFacts {
        duration: s(60),
        ..lease(Some("b"), 7, 1)
    };
    election.step(Some(&held), s(0));
    assert_eq!(election.step(Some(&held), s(59)), Action::Wait(s(1)));
    assert_eq!(
        election.step(Some(&held), s(60)),
        Action::Acquire { epoch: 8 }
    );
}

#[test]
fn somebody_who_labels_the_lease_does_not_renew_it() {
    let mut election = contender();
    election.step(Some(&lease(Some("b"), 7, 1)), s(0));
    let touched = LeaseFacts {
        resource_version: "99".into(),
        ..lease(Some("b"), 7, 1)
    };
    assert_eq!(
        election.step(Some(&touched), s(15)),
        Action::Acquire { epoch: 8 }
    );
}

#[test]
fn a_term_is_counted_from_the_sending_of_the_renewal() {
    let mut election = contender();
    election.step(Some(&lease(None, 7, 0)), s(0));
    election.accepted(lease(Some("a"), 8, 1), s(1), s(4));
    assert_eq!(
        election.term(s(4)),
        Some(Term {
            epoch: 8,
            until: s(11)
        })
    );
    assert_eq!(election.term(s(11)), None);
}

#[test]
fn an_answer_after_the_deadline_is_no_lead_and_the_epoch_is_raised_again() {
    let mut election = contender();
    election.step(Some(&lease(None, 7, 0)), s(0));
    election.sending(8);
    election.accepted(lease(Some("a"), 8, 1), s(0), s(10));
    assert_eq!(election.term(s(10)), None);
    let step = election.step(Some(&lease(Some("a"), 8, 1)), s(10));
    assert_eq!(step, Action::Acquire { epoch: 9 });
}

#[test]
fn a_leader_renews_every_retry_period() {
    let mut election = leader(8, s(0));
    let own = lease(Some("a"), 8, 1);
    assert_eq!(election.step(Some(&own), ms(500)), Action::Wait(ms(1500)));
    assert_eq!(election.step(Some(&own), s(2)), Action::Renew { epoch: 8 });
    election.hasten();
    election.accepted(lease(Some("a"), 8, 2), s(2), s(2));
    assert_eq!(
        election.step(Some(&lease(Some("a"), 8, 2)), s(3)),
        Action::Wait(s(1))
    );
    election.hasten();
    assert_eq!(
        election.step(Some(&lease(Some("a"), 8, 2)), s(3)),
        Action::Renew { epoch: 8 },
        "when asked to, before it is due"
    );
}

#[test]
fn a_leader_that_finds_another_holder_stops_at_once() {
    let mut election = leader(8, s(0));
    assert_eq!(
        election.step(Some(&lease(Some("b"), 9, 5)), s(3)),
        Action::Wait(s(1))
    );
    assert_eq!(election.term(s(3)), None);
}

#[test]
fn a_leader_whose_lease_is_gone_stops_and_makes_another() {
    let mut election = leader(8, s(0));
    assert_eq!(election.step(None, s(3)), Action::Create { epoch: 1 });
    assert_eq!(election.term(s(3)), None);
}

#[test]
fn a_lease_deleted_under_its_holder_is_not_made_anew_before_that_one_has_noticed() {
    let mut election = contender();
    election.step(Some(&lease(Some("b"), 7, 1)), s(0));
    assert_eq!(election.step(None, s(5)), Action::Wait(s(1)));
    assert_eq!(election.step(None, s(15)), Action::Create { epoch: 1 });
}

#[test]
fn after_a_restart_the_same_identity_takes_its_lease_back_under_a_new_epoch() {
    let step = contender().step(Some(&lease(Some("a"), 8, 1)), s(0));
    assert_eq!(step, Action::Acquire { epoch: 9 });
}

#[test]
fn an_acquisition_whose_answer_was_lost_is_made_again_under_a_new_epoch() {
    let mut election = contender();
    election.step(Some(&lease(None, 7, 0)), s(0));
    election.sending(8);
    let step = election.step(Some(&lease(Some("a"), 8, 1)), s(6));
    assert_eq!(step, Action::Acquire { epoch: 9 });
}

#[test]
fn a_twin_with_our_name_is_treated_as_a_stranger() {
    let mut election = leader(8, s(0));
    let twin = lease(Some("a"), 9, 5);
    assert_eq!(election.step(Some(&twin), s(3)), Action::Wait(s(1)));
    assert_eq!(election.term(s(3)), None);
    assert_eq!(
        election.step(Some(&twin), s(18)),
        Action::Acquire { epoch: 10 }
    );
}

#[test]
fn a_renewal_whose_answer_was_lost_costs_nothing() {
    let mut election = leader(8, s(0));
    assert_eq!(
        election.step(Some(&lease(Some("a"), 8, 1)), s(2)),
        Action::Renew { epoch: 8 }
    );
    // Read again after the timeout: it had been stored.
    assert_eq!(
        election.step(Some(&lease(Some("a"), 8, 2)), s(7)),
        Action::Renew { epoch: 8 }
    );
    assert_eq!(
        election.term(s(7)),
        Some(Term {
            epoch: 8,
            until: s(10)
        })
    );
}

#[test]
fn a_leader_past_its_deadline_takes_the_lead_again_only_under_a_new_epoch() {
    let mut election = leader(8, s(0));
    let step = election.step(Some(&lease(Some("a"), 8, 1)), s(11));
    assert_eq!(step, Action::Acquire { epoch: 9 });
    assert_eq!(election.term(s(11)), None);
}

#[test]
fn stopping_gives_back_what_is_held_and_stops_leading_before_the_write() {
    let mut election = leader(8, s(0));
    election.stop();
    assert_eq!(
        election.step(Some(&lease(Some("a"), 8, 1)), s(1)),
        Action::Release
    );
    assert_eq!(election.term(s(1)), None);
    election.accepted(lease(None, 8, 2), s(1), s(1));
    assert_eq!(election.step(Some(&lease(None, 8, 2)), s(1)), Action::Done);
}

#[test]
fn stopping_leaves_a_foreign_lease_alone() {
    let mut standby = contender();
    standby.step(Some(&lease(Some("b"), 7, 1)), s(0));
    standby.stop();
    assert_eq!(
        standby.step(Some(&lease(Some("b"), 7, 1)), s(1)),
        Action::Done
    );
    let mut deposed = leader(8, s(0));
    deposed.stop();
    assert_eq!(
        deposed.step(Some(&lease(Some("b"), 9, 2)), s(1)),
        Action::Done
    );
}

#[test]
fn a_count_that_cannot_be_raised_makes_no_leader() {
    let full = lease(None, i32::MAX as u32, 0);
    assert_eq!(contender().step(Some(&full), s(0)), Action::Wait(s(15)));
}

#[test]
fn times_that_would_allow_two_leaders_are_refused() {
    let refused = |d, r, p| Timing::new(d, r, p).unwrap_err();
    assert!(matches!(
        refused(s(15), s(15), s(2)),
        TimingError::DeadlineNotBelowDuration { .. }
    ));
    assert!(matches!(
        refused(s(15), s(10), s(6)),
        TimingError::RetryTooLong { .. }
    ));
    assert_eq!(refused(s(15), s(10), s(0)), TimingError::NoRetry);
    assert_eq!(
        refused(ms(1500), s(1), ms(100)),
        TimingError::NotWholeSeconds(ms(1500))
    );
    assert_eq!(Timing::new(s(15), s(10), s(2)), Ok(Timing::default()));
}

#[test]
fn a_later_lease_outranks_an_earlier_one_however_often_that_changed_hands() {
    let earlier = LeaseFacts {
        made: 1_795_000_000,
        ..lease(None, 900_000, 1)
    };
    let later = LeaseFacts {
        made: 1_795_000_001,
        ..lease(None, 1, 1)
    };
    assert!(later.rank() > earlier.rank());
    let full = LeaseFacts {
        made: i64::MAX,
        ..lease(None, i32::MAX as u32, 1)
    };
    assert_eq!(full.rank(), i64::MAX);
}
