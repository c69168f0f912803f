//! One run: its sessions, its deadline, and trying again.

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch::Receiver,
    time::{interval_at, sleep, sleep_until, timeout},
};
use tokio_postgres::{Client, error::SqlState};

use crate::{
    backoff::Backoff,
    failure::{Failure, Way},
    ledger,
    order::{Limits, Order, Phase},
    progress::Shared,
    recorded,
    report::Report,
    session::{self, Session},
    target::Target,
    watch::Watch,
};

/// A question of the second session is answered in this time, or its connection is dead.
const ANSWER: Duration = Duration::from_secs(5);
/// What is cancelled ends in this time, or its connection is dead.
const END: Duration = Duration::from_secs(10);

pub struct Runner {
    pub order: Order,
    pub report: Report,
    pub progress: Shared,
    target: Target,
    session: Option<Session>,
    watch: Option<Watch>,
    deadline: Instant,
    /// The deadline is that of batches: it is for progress.
    batches: bool,
    /// Of a record with nothing on it: it begins here.
    begun: bool,
    stop: Receiver<bool>,
}

impl Runner {
    pub fn new(order: Order, target: Target, progress: Shared, stop: Receiver<bool>) -> Self {
        let deadline = Instant::now() + Duration::from_secs(order.deadline_seconds);
        Self {
            report: Report::new(&order),
            order,
            progress,
            target,
            session: None,
            watch: None,
            deadline,
            batches: false,
            begun: false,
            stop,
        }
    }

    /// The first session's client.
    pub fn client(&self) -> Result<&Client, Failure> {
        Ok(&self.session()?.client)
    }

    pub fn session(&self) -> Result<&Session, Failure> {
        self.session.as_ref().ok_or_else(lost)
    }

    pub fn session_mut(&mut self) -> Result<&mut Session, Failure> {
        self.session.as_mut().ok_or_else(lost)
    }

    pub fn watch_mut(&mut self) -> Result<&mut Watch, Failure> {
        self.watch.as_mut().ok_or_else(lost)
    }

    /// The deadline of batches is for progress; here is some, or they begin.
    pub fn moved(&mut self) {
        self.batches = true;
        self.deadline = Instant::now() + Duration::from_secs(self.order.stalls_after());
    }

    /// Processes before this one have had so many seconds without progress, and were killed.
    pub fn has_stalled_for(&mut self, seconds: f64) -> Result<(), Failure> {
        let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let left = Duration::from_secs(self.order.stalls_after()).saturating_sub(seconds);
        if left.is_zero() {
            let mut failure = exceeded(&self.order, true, None);
            failure.message += ": the processes before this one were killed before they came forward. Is it the \
                                memory that the pod may use (kubectl describe pod)?";
            return Err(failure);
        }
        self.deadline = Instant::now() + left;
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Failure> {
        if let Some(session) = &self.session
            && !session.client.is_closed()
        {
            return Ok(());
        }
        self.close();
        let watch = Session::open(&self.target, &self.order, " watch").await?;
        let session = Session::open(&self.target, &self.order, "").await?;
        session::inspect(&session).await?;
        ledger::check_owner(&session.client, &self.order).await?;
        session.lock(&self.order).await?;
        // Before the ledger is made: where one is missing, that is what is to be said.
        recorded::compare(&session.client, &self.order).await?;
        if self.order.phase != Phase::Preflight {
            // The first one to write here may be another phase, on its own lock.
            ledger::open(&session.client, &self.order).await?;
            if self.order.recorded.is_none() && !self.begun {
                recorded::begin(&session.client).await?;
                self.begun = true;
            }
            // With the lock: a COMMIT whose answer was lost has happened by now, or never will.
            if ledger::anything(&session.client, &self.order).await? {
                self.report.earlier = true;
            }
            self.report.unsure = false;
        }
        self.watch = Some(Watch::new(watch));
        self.session = Some(session);
        Ok(())
    }

    fn close(&mut self) {
        self.session = None;
        self.watch = None;
    }

    /// Does a step, on a session that works, again and again while what fails can pass. The step
    /// begins by reading what is done already.
    pub async fn persist<T>(
        &mut self,
        mut step: impl AsyncFnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let result = match self.open().await {
                Ok(()) => step(self).await,
                Err(failure) => Err(failure),
            };
            let failure = match result {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if failure.lost {
                self.close();
            } else if let Err(worse) = self.roll_back().await {
                self.close();
                if worse.way != Way::Again {
                    return Err(failure);
                }
            }
            if failure.way != Way::Again {
                return Err(failure);
            }
            let pause = backoff.next_pause();
            self.report.again(&failure, began.elapsed() + pause);
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left <= pause {
                return Err(exceeded(&self.order, self.batches, Some(&failure)));
            }
            say!(
                "{failure}: next try in {:.1} s, {} s are left",
                pause.as_secs_f64(),
                left.as_secs()
            );
            self.rest(pause).await?;
        }
    }

    async fn roll_back(&mut self) -> Result<(), Failure> {
        let order = &self.order;
        if let Some(session) = &mut self.session {
            session.client.batch_execute("ROLLBACK").await?;
            session.settle(order).await?;
        }
        Ok(())
    }

    /// Waits, unless the process has to stop or the deadline comes.
    pub async fn rest(&mut self, pause: Duration) -> Result<(), Failure> {
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = stopped(&mut self.stop) => Err(stop()),
            () = sleep_until(self.deadline.into()) => Err(exceeded(&self.order, self.batches, None)),
        }
    }

    /// Commits. Where the answer is lost, the ledger tells what became of it (see `open`).
    pub async fn commit(&mut self) -> Result<(), Failure> {
        match self.execute("COMMIT").await {
            Ok(_) => self.report.applied = true,
            Err(failure) => {
                self.report.unsure |= failure.lost;
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Runs one statement while the second session watches.
    pub async fn execute(&mut self, statement: &str) -> Result<u64, Failure> {
        self.watched(async |client| client.execute(statement, &[]).await)
            .await
    }

    /// Does something on the first session while the second one watches.
    pub async fn watched<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let (Some(session), Some(watch)) = (&self.session, &self.watch) else {
            return Err(lost());
        };
        let guard = Guard {
            pid: session.pid,
            watch,
            limits: &self.order.limits,
            order: &self.order,
            deadline: self.deadline,
            batches: self.batches,
        };
        guard.mind(work(&session.client), &mut self.stop).await
    }

    /// Takes away what a failed statement has left, even after the deadline.
    pub async fn clean(&mut self, statement: &str) -> Result<(), Failure> {
        let (Some(session), Some(watch)) = (&self.session, &self.watch) else {
            return Err(lost());
        };
        let mut work = pin!(session.client.batch_execute(statement));
        match timeout(Duration::from_secs(20), &mut work).await {
            Ok(result) => Ok(result?),
            Err(_) => {
                watch.cancel(session.pid).await?;
                Ok(work.await?)
            }
        }
    }
}

struct Guard<'a> {
    pid: i32,
    watch: &'a Watch,
    limits: &'a Limits,
    order: &'a Order,
    deadline: Instant,
    batches: bool,
}

impl Guard<'_> {
    async fn mind<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
        stop_signal: &mut Receiver<bool>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        let limit = Duration::from_secs(self.limits.blocked_seconds.into());
        // Twice in a wait for a lock, so that it is seen who has it.
        let period = (limit / 5).min(Duration::from_millis(
            u64::from(self.limits.lock_timeout_ms) / 2 + 1,
        ));
        let period = period.min(Duration::from_secs(1));
        let mut tick = interval_at((Instant::now() + period).into(), period);
        let mut holder = None;
        let why = loop {
            tokio::select! {
                biased;
                result = &mut work => return result.map_err(|error| {
                    let mut failure = Failure::from(error);
                    if let (Some(holder), "LockTimeout") = (&holder, failure.reason) {
                        failure.message = format!("{}. The lock is held by {holder}", failure.message);
                    }
                    failure
                }),
                () = stopped(stop_signal) => break stop(),
                () = sleep_until(self.deadline.into()) => break exceeded(self.order, self.batches, None),
                _ = tick.tick() => match timeout(ANSWER, self.watch.look(self.pid, limit)).await {
                    Ok(Ok((0, held))) => holder = held.or(holder),
                    Ok(Ok((sessions, _))) => break Failure::again(
                        "OthersWaited",
                        format!(
                            "{sessions} other sessions waited for more than {} s for locks of this statement, \
                             so it was cancelled",
                            limit.as_secs()
                        ),
                    ),
                    // Nobody would see who waits.
                    Ok(Err(_)) | Err(_) => {
                        let mut failure = Failure::again("ConnectionLost", "the connection of the second session was lost");
                        failure.lost = true;
                        break failure;
                    }
                },
            }
        };
        // It may have ended in the meantime; then it has ended.
        let _ = timeout(ANSWER, self.watch.cancel(self.pid)).await;
        match timeout(END, &mut work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => Err(why),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let mut failure = why;
                failure.lost = true;
                Err(failure)
            }
        }
    }
}

async fn stopped(stop: &mut Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn stop() -> Failure {
    Failure::new(
        Way::Later,
        "Stopped",
        "the process was told to end (SIGTERM): what ran was rolled back",
    )
}

fn lost() -> Failure {
    let mut failure = Failure::again("ConnectionLost", "the connection to PostgreSQL was lost");
    failure.lost = true;
    failure
}

fn exceeded(order: &Order, batches: bool, last: Option<&Failure>) -> Failure {
    let (seconds, what, way) = match (order.phase, batches) {
        (_, true) => (
            order.stalls_after(),
            "without progress (stallSeconds)",
            Way::Later,
        ),
        // What the files of a backfill have done is kept by the ledger.
        (Phase::Backfill, false) => (
            order.deadline_seconds,
            "for the files (deadlineSeconds)",
            Way::Later,
        ),
        // Another pod of the Job would begin the whole time anew, and the Job's own ends before it.
        (_, false) => (
            order.deadline_seconds,
            "for the phase (deadlineSeconds)",
            Way::Fatal,
        ),
    };
    let mut failure = Failure::new(
        way,
        "DeadlineExceeded",
        format!("{seconds} s {what} are over"),
    );
    if let Some(last) = last {
        failure.message = format!("{}. Last: {last}", failure.message);
        failure.sqlstate.clone_from(&last.sqlstate);
    }
    failure
}
