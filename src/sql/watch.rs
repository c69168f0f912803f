//! The second session: it sees who waits for the first one, cancels it, and how far replication is
//! behind.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{failure::Failure, session::Session};

/// How far back positions of the log are remembered: more than any limit needs.
const SAMPLES: usize = 600;

/// What is watched by.
pub struct Watch {
    pub session: Session,
    /// When the log was where, oldest first.
    log: VecDeque<(Instant, i64)>,
}

/// Why lag is not known.
pub enum Lag {
    Seconds(f64),
    /// Another role's figures are hidden.
    Hidden,
}

impl Watch {
    pub const fn new(session: Session) -> Self {
        Self {
            session,
            log: VecDeque::new(),
        }
    }

    /// How many sessions wait for longer than `limit` for locks that `pid` has, or stands before
    /// them in the queue for; and for whom it waits itself.
    pub async fn look(&self, pid: i32, limit: Duration) -> Result<(i64, Option<String>), Failure> {
        let row = self
            .session
            .client
            .query_one(
                "SELECT (SELECT count(DISTINCT l.pid) FROM pg_catalog.pg_locks l \
                   WHERE NOT l.granted AND l.locktype IN ('relation', 'transactionid', 'tuple') AND l.pid <> $1 \
                     AND l.waitstart < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2) \
                     AND $1 = ANY (pg_catalog.pg_blocking_pids(l.pid))), \
                 (SELECT pg_catalog.string_agg(pg_catalog.format('pid %s, `%s`, transaction of %s s', a.pid, \
                     coalesce(a.application_name, '?'), \
                     coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::int::text, '?')), '; ') \
                   FROM (SELECT * FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids($1)) \
                         ORDER BY xact_start LIMIT 3) a)",
                &[&pid, &limit.as_secs_f64()],
            )
            .await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// Cancels what `pid` does now. When it returns the signal is sent.
    pub async fn cancel(&self, pid: i32) -> Result<(), Failure> {
        self.session
            .client
            .execute("SELECT pg_catalog.pg_cancel_backend($1)", &[&pid])
            .await?;
        Ok(())
    }

    /// How many seconds the last replica, or slot, is behind: the age of the newest position of the
    /// log, of those seen here, that it has passed.
    pub async fn lag(&mut self) -> Result<Lag, Failure> {
        let row = self
            .session
            .client
            .query_one(
                "SELECT (pg_catalog.pg_current_wal_lsn() - '0/0')::bigint, \
                   (SELECT (min(replay_lsn) - '0/0')::bigint FROM pg_catalog.pg_stat_replication \
                     WHERE application_name <> 'pg_basebackup' AND replay_lsn IS NOT NULL), \
                   EXISTS (SELECT FROM pg_catalog.pg_stat_replication WHERE state IS NULL), \
                   (SELECT (min(CASE WHEN slot_type = 'logical' THEN confirmed_flush_lsn ELSE restart_lsn END) - '0/0')::bigint \
                      FROM pg_catalog.pg_replication_slots WHERE NOT temporary AND wal_status IS DISTINCT FROM 'lost')",
                &[],
            )
            .await?;
        let now = Instant::now();
        let head: i64 = row.try_get(0)?;
        if row.try_get(2)? {
            return Ok(Lag::Hidden);
        }
        if self.log.back().is_none_or(|(_, last)| *last < head) {
            self.log.push_back((now, head));
            if self.log.len() > SAMPLES {
                self.log.pop_front();
            }
        }
        let replica: Option<i64> = row.try_get(1)?;
        let slot: Option<i64> = row.try_get(3)?;
        let Some(behind) = [replica, slot].into_iter().flatten().min() else {
            return Ok(Lag::Seconds(0.0));
        };
        Ok(Lag::Seconds(self.age(behind, now)))
    }

    /// Since when the log has been beyond a position.
    fn age(&self, position: i64, now: Instant) -> f64 {
        self.log
            .iter()
            .find(|(_, sample)| *sample > position)
            .map_or(0.0, |(when, _)| now.duration_since(*when).as_secs_f64())
    }
}
