//! The election as a pure state machine: what to do with the Lease, and whether this process leads.
//!
//! The rules are those of client-go's leader election, with two differences:
//!
//! * **Every** acquisition raises `leaseTransitions`, also one by the identity that held the Lease
//!   before. With the second in which the API server made the Lease it is an epoch: no two terms of
//!   leadership share one (see [`LeaseFacts::rank`]).
//! * A term ends one renew deadline after its last successful renewal was **sent**, not after its
//!   answer came.
//!
//! Why no two processes believe at the same time that they lead: a renewal sent at `a` is stored at
//! `s ≥ a`. Its sender believes until `a + renew_deadline`. Everybody else sees it at some `b ≥ s`
//! and leaves the Lease alone until `b + duration`; whoever then takes it does so under the
//! `resourceVersion` it saw, so no renewal can have come in between. As
//! `renew_deadline < duration`, the old term is over before the new one can begin, whatever the
//! network does in between, as long as no clock runs faster than another by more than
//! `duration / renew_deadline`. No wall clock takes part.

use std::time::Duration;

/// For how long a Lease that was just made is left alone by everybody, its maker too: the second in
/// which it was made is over then, by the clocks of all API servers.
const SETTLES: Duration = Duration::from_secs(2);

/// The times that govern an election. Build with [`Timing::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Times that cannot make a safe election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Two leaders would be possible.
    #[error(
        "the renew deadline ({deadline:?}) must be shorter than the lease duration ({duration:?})"
    )]
    DeadlineNotBelowDuration {
        /// The renew deadline asked for.
        deadline: Duration,
        /// The lease duration asked for.
        duration: Duration,
    },
    /// One lost renewal would cost the lead.
    #[error(
        "the retry period ({retry:?}) must be at most half of the renew deadline ({deadline:?})"
    )]
    RetryTooLong {
        /// The retry period asked for.
        retry: Duration,
        /// The renew deadline asked for.
        deadline: Duration,
    },
    /// The field `leaseDurationSeconds` has no room for less.
    #[error("the lease duration ({0:?}) must be a whole number of seconds, at least 1")]
    NotWholeSeconds(Duration),
    /// A busy loop.
    #[error("the retry period must be longer than 0")]
    NoRetry,
}

impl Timing {
    /// Times of an election.
    ///
    /// * `duration`: for how long others leave a Lease alone that they do not see renewed; whole
    ///   seconds, at least 1.
    /// * `renew_deadline`: for how long a leader believes after the last successful renewal;
    ///   shorter than `duration`.
    /// * `retry`: the time between two renewals, at most half of `renew_deadline`; a standby looks
    ///   twice in that time.
    ///
    /// # Errors
    ///
    /// When one of these bounds does not hold.
    pub(crate) fn new(
        duration: Duration,
        renew_deadline: Duration,
        retry: Duration,
    ) -> Result<Self, TimingError> {
        if duration.is_zero() || duration.subsec_nanos() != 0 {
            return Err(TimingError::NotWholeSeconds(duration));
        }
        if renew_deadline >= duration {
            return Err(TimingError::DeadlineNotBelowDuration {
                deadline: renew_deadline,
                duration,
            });
        }
        if retry.is_zero() {
            return Err(TimingError::NoRetry);
        }
        if retry > renew_deadline / 2 {
            return Err(TimingError::RetryTooLong {
                retry,
                deadline: renew_deadline,
            });
        }
        Ok(Self {
            duration,
            renew_deadline,
            retry,
        })
    }

    /// For how long others leave an unrenewed Lease alone.
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// How often a standby looks at the Lease: twice in a retry period, so that a Lease that was
    /// given back is taken within one.
    pub(crate) fn standby_poll(&self) -> Duration {
        self.retry / 2
    }

    /// The longest that one request may take. Two fit into a renew deadline.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }
}

impl Default for Timing {
    /// 15 s, 10 s and 2 s, as in client-go.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What the Lease says, as far as the election needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseFacts {
    /// Who holds it; `None` when it was given back.
    pub holder: Option<String>,
    /// `leaseTransitions`: the number of the term that holds or held it.
    pub epoch: u32,
    /// When the API server made it, in seconds since 1970.
    pub made: i64,
    /// For how long the holder asks to be left alone.
    pub duration: Duration,
    /// `renewTime` in microseconds. Written by another host's clock, so it is only ever compared
    /// for being the same as before.
    pub renewed: Option<i64>,
    /// The version that a write must name.
    pub resource_version: String,
    /// The object that a write must name.
    pub uid: String,
}

impl LeaseFacts {
    /// The epoch of the term that holds or held it: higher than that of every term before it, also
    /// of terms of Leases of this name that were deleted since.
    ///
    /// It is the time in microseconds at which the Lease was made, plus the number of its term.
    /// That a later Lease is of a later second is what [`SETTLES`] is for: nobody leads by a Lease
    /// before its second is over. That a Lease does not change hands a million times a second is
    /// what servers are for.
    pub(crate) fn rank(&self) -> i64 {
        let term = i64::from(self.epoch);
        self.made.saturating_mul(1_000_000).saturating_add(term)
    }

    /// True when `other` shows no sign of life that this does not. Versions are left out: somebody
    /// who labels the Lease does not renew it.
    fn same_term_as(&self, other: &Self) -> bool {
        self.holder == other.holder
            && self.epoch == other.epoch
            && self.renewed == other.renewed
            && self.uid == other.uid
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Create the Lease, held by this process.
    Create {
        /// `leaseTransitions` to write.
        epoch: u32,
    },
    /// Take the Lease that was observed, under its resourceVersion.
    Acquire {
        /// `leaseTransitions` to write.
        epoch: u32,
    },
    /// Renew the Lease that was observed, under its resourceVersion.
    Renew {
        /// `leaseTransitions`, unchanged.
        epoch: u32,
    },
    /// Give the Lease back, under its resourceVersion. This process leads no longer, whether or not
    /// the write succeeds.
    Release,
    /// Nothing to do for so long.
    Wait(Duration),
    /// The election was stopped and nothing is held.
    Done,
}

/// A term of leadership as this process may believe in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// The epoch, raised at every acquisition.
    pub epoch: i64,
    /// The end of the belief, on the monotonic clock that is passed to [`Election::step`].
    pub until: Duration,
}

/// The last sign of life and when it was first seen here.
#[derive(Clone, Debug)]
struct Seen {
    facts: LeaseFacts,
    at: Duration,
}

/// One contender. All times are of one monotonic clock of this process, counted from any moment.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
    /// The Lease that was seen last, and since when.
    known: Option<(String, Duration)>,
    held: Option<Term>,
    /// When the last write of the running term was sent.
    renewed_at: Duration,
    /// The epoch of the newest write that this process sent. A Lease with it is ours also when its
    /// answer was lost.
    attempted: Option<u32>,
    hastened: bool,
    stopping: bool,
}

impl Election {
    /// A contender that has seen nothing yet.
    ///
    /// `identity` must be its own; two processes with one name take the lead from each other once
    /// and then wait as strangers do.
    pub(crate) fn new(identity: impl Into<String>, timing: Timing) -> Self {
        Self {
            identity: identity.into(),
            timing,
            seen: None,
            known: None,
            held: None,
            renewed_at: Duration::ZERO,
            attempted: None,
            hastened: false,
            stopping: false,
        }
    }

    /// The term this process leads in at `now`, if it does.
    pub(crate) fn term(&self, now: Duration) -> Option<Term> {
        self.held.filter(|term| now < term.until)
    }

    /// From now on the Lease is given back instead of renewed.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// True once [`Election::stop`] was called.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping
    }

    /// Makes the next step of a leader renew, whether or not it is due.
    pub(crate) fn hasten(&mut self) {
        self.hastened = true;
    }

    /// Decides on the Lease as it was read (`None`: there is none) no later than `now`.
    ///
    /// A leader may pass what its last write was answered with; the write then finds out whether
    /// that still holds.
    pub(crate) fn step(&mut self, observed: Option<&LeaseFacts>, now: Duration) -> Action {
        self.held = self.term(now);
        if self.stopping {
            return self.step_down(observed);
        }
        let Some(facts) = observed else {
            return self.without_lease(now);
        };
        let first_sight = self.seen.is_none();
        let expires_in = self.observe(facts, now);
        let named = facts.holder.as_deref() == Some(self.identity.as_str());
        match self.held {
            Some(term) if named && facts.rank() == term.epoch => {
                return self.renew_or_wait(facts.epoch, now);
            }
            _ => self.held = None,
        }
        // Our own earlier process, or our own write whose answer was lost or came too late.
        let ours = named && (first_sight || self.attempted == Some(facts.epoch));
        if ours || facts.holder.is_none() || expires_in.is_zero() {
            let new = self.settles_in(facts, now);
            if !new.is_zero() {
                return Action::Wait(new);
            }
            return match raised(facts.epoch) {
                Some(epoch) => Action::Acquire { epoch },
                None => Action::Wait(self.timing.duration),
            };
        }
        Action::Wait(expires_in.min(self.timing.standby_poll()))
    }

    /// The write that [`Election::step`] asked for was accepted; `stored` is what the server
    /// answered, `sent` the time before the request was sent.
    pub(crate) fn accepted(&mut self, stored: LeaseFacts, sent: Duration, now: Duration) {
        let mine = stored.holder.as_deref() == Some(self.identity.as_str());
        let until = sent.saturating_add(self.timing.renew_deadline);
        self.know(&stored, now);
        if mine && !self.stopping && self.settles_in(&stored, now).is_zero() {
            self.held = Some(Term {
                epoch: stored.rank(),
                until,
            });
            self.renewed_at = sent;
            self.hastened = false;
        }
        self.seen = Some(Seen {
            facts: stored,
            at: now,
        });
    }

    /// The write with this epoch is about to be sent. To be called before each one: from then on
    /// the server may know it although its answer never comes.
    pub(crate) fn sending(&mut self, epoch: u32) {
        self.attempted = Some(epoch);
    }

    fn step_down(&mut self, observed: Option<&LeaseFacts>) -> Action {
        let held = self.held.take();
        let named = |facts: &LeaseFacts| facts.holder.as_deref() == Some(self.identity.as_str());
        match (held, observed) {
            (Some(term), Some(facts)) if named(facts) && facts.rank() == term.epoch => {
                Action::Release
            }
            _ => Action::Done,
        }
    }

    /// Somebody deleted the Lease, or there never was one.
    ///
    /// A holder that was seen may still believe, so its time is left to run out. One that was not
    /// seen (the Lease was deleted before this process first looked) believes until its next
    /// renewal fails; that short overlap is left to the epochs.
    fn without_lease(&mut self, now: Duration) -> Action {
        self.held = None;
        if let Some(seen) = &self.seen {
            let own = seen.facts.holder.as_deref() == Some(self.identity.as_str());
            let expires_in = remaining(seen, now);
            if !own && seen.facts.holder.is_some() && !expires_in.is_zero() {
                return Action::Wait(expires_in.min(self.timing.standby_poll()));
            }
        }
        Action::Create { epoch: 1 }
    }

    /// Takes note of a sign of life; returns for how long the Lease must still be left alone.
    fn observe(&mut self, facts: &LeaseFacts, now: Duration) -> Duration {
        self.know(facts, now);
        let at = match &self.seen {
            Some(seen) if seen.facts.same_term_as(facts) => seen.at,
            _ => now,
        };
        let seen = Seen {
            facts: facts.clone(),
            at,
        };
        let expires_in = remaining(&seen, now);
        self.seen = Some(seen);
        expires_in
    }

    /// Takes note of which Lease there is.
    fn know(&mut self, facts: &LeaseFacts, now: Duration) {
        if self.known.as_ref().is_none_or(|(uid, _)| *uid != facts.uid) {
            self.known = Some((facts.uid.clone(), now));
        }
    }

    /// For how long a Lease is left alone as it was just made. One that was led by before is not.
    fn settles_in(&self, facts: &LeaseFacts, now: Duration) -> Duration {
        let known = self.known.as_ref().filter(|(uid, _)| *uid == facts.uid);
        let since = known.map_or(now, |(_, since)| *since);
        match facts.epoch {
            0 | 1 => since.saturating_add(SETTLES).saturating_sub(now),
            _ => Duration::ZERO,
        }
    }

    fn renew_or_wait(&self, epoch: u32, now: Duration) -> Action {
        let due = self.renewed_at.saturating_add(self.timing.retry);
        if now < due && !self.hastened {
            Action::Wait(due - now)
        } else {
            Action::Renew { epoch }
        }
    }
}

/// The next epoch, if `leaseTransitions` (a signed 32-bit field) has room for it.
fn raised(epoch: u32) -> Option<u32> {
    epoch
        .checked_add(1)
        .filter(|raised| i32::try_from(*raised).is_ok())
}

fn remaining(seen: &Seen, now: Duration) -> Duration {
    seen.at
        .saturating_add(seen.facts.duration)
        .saturating_sub(now)
}
