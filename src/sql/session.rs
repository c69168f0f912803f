//! A session of PostgreSQL with the runner's settings and its lock.

use std::rc::Rc;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{
    failure::{Failure, Way},
    order::{Order, Phase},
    pooler::named_process,
    table::Walk,
    target::Target,
};

/// The first half of the advisory locks' keys: "step" in ASCII.
pub const LOCK: i32 = 0x7374_6570;

/// One connection.
pub struct Session {
    pub client: Client,
    /// The backend's process, by which others see it.
    pub pid: i32,
    /// The statements of the batch that was walked last, by its name.
    pub walk: Option<(String, Rc<Walk>)>,
    /// The file whose settings are in force.
    pub script: Option<String>,
}

impl Session {
    /// Connects. `role` tells the runner's sessions apart in `pg_stat_activity`.
    pub async fn open(target: &Target, order: &Order, role: &str) -> Result<Self, Failure> {
        let config = target.config(&order.application_name(role));
        let (client, connection) = config.connect(target.tls()).await.map_err(|error| {
            let mut failure = Failure::from(error);
            failure.lost = true;
            if failure.message.contains("unsupported startup parameter") {
                return pooler("it refuses a start parameter that PostgreSQL takes");
            }
            // A server that is not there yet, or no longer.
            failure
        })?;
        tokio::spawn(async move {
            // Its end is seen by whoever asks next.
            let _ = connection.await;
        });
        // First of all, and in one message: behind a pooler nothing that takes two is sure.
        let pid = own_process(&client).await?;
        match named_process(&client).await {
            Ok(process) if process == pid => {}
            Ok(_) => return Err(pooler("the process that it names is not the server's")),
            Err(error) => {
                return Err(pooler(&format!(
                    "the process that it names cannot be read: {error}"
                )));
            }
        }
        let mut session = Self {
            client,
            pid,
            walk: None,
            script: None,
        };
        session.settle(order).await?;
        Ok(session)
    }

    /// Sets what every statement of ours relies on; what a file has set is forgotten.
    pub async fn settle(&mut self, order: &Order) -> Result<(), Failure> {
        self.script = None;
        // A backend that lost its client ends within seconds: it holds the lock that the next
        // attempt needs.
        self.client
            .batch_execute(&format!(
                "RESET ALL; \
                 SET lock_timeout = {lock}; \
                 SET statement_timeout = 0; \
                 SET idle_in_transaction_session_timeout = 30000; \
                 SET client_connection_check_interval = 2000; \
                 SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
                 SET standard_conforming_strings = on; \
                 SET default_transaction_isolation = 'read committed'; \
                 SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; \
                 SET row_security = off",
                lock = order.limits.lock_timeout_ms
            ))
            .await
            .map_err(|error| Failure::from(error).to("the session's settings"))
    }

    /// Takes the database's lock for schema changes, or says who has it. A backfill has one of its
    /// own: the changes of a hotfix run beside it.
    pub async fn lock(&self, order: &Order) -> Result<(), Failure> {
        let slot = slot(order.phase);
        let row = self
            .client
            .query_one(
                "SELECT pg_catalog.pg_try_advisory_lock($1, $2)",
                &[&LOCK, &slot],
            )
            .await?;
        if row.try_get(0)? {
            return Ok(());
        }
        let holder = self
            .client
            .query_opt(
                "SELECT l.pid, coalesce(a.application_name, '?') \
                 FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) \
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
                   AND l.classid::bigint = $1 AND l.objid::bigint = $2 \
                   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
                &[&i64::from(LOCK), &i64::from(slot)],
            )
            .await?;
        let (pid, name) = match holder {
            Some(row) => (row.try_get::<_, i32>(0)?, row.try_get::<_, String>(1)?),
            None => {
                return Err(Failure::again(
                    "LockHeld",
                    "the database's lock was held until just now",
                ));
            }
        };
        Err(Failure::again(
            "LockHeld",
            format!(
                "another session works on this database's schema: pid {pid}, `{name}`. If its pod is gone \
                 it ends by itself within half a minute; to end it now: SELECT pg_terminate_backend({pid})"
            ),
        ))
    }
}

const fn slot(phase: Phase) -> i32 {
    match phase {
        Phase::Backfill => 2,
        Phase::Preflight => 3,
        _ => 1,
    }
}

/// Whether what was connected to is a PostgreSQL that phases can run on.
pub async fn inspect(session: &Session) -> Result<(), Failure> {
    let row = session
        .client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(), \
                    pg_catalog.current_setting('server_version'), \
                    pg_catalog.current_setting('transaction_read_only')::bool",
            &[],
        )
        .await?;
    let version: i32 = row.try_get(0)?;
    if !is_known(version) {
        return Err(Failure::fatal(
            "ServerVersion",
            format!(
                "this is PostgreSQL {}, and this runner knows 14 to 18: use an image of Stepgate that knows it",
                row.try_get::<_, String>(2)?
            ),
        ));
    }
    if row.try_get(1)? {
        return Err(Failure::again(
            "Standby",
            "this server is a standby: a schema change runs on the primary. Give the primary's host in \
             the URI, or all hosts with `target_session_attrs=read-write`",
        ));
    }
    if row.try_get(3)? {
        return Err(Failure::fatal(
            "ReadOnly",
            "transactions are read-only here (default_transaction_read_only): use another role or database",
        ));
    }
    Ok(())
}

async fn own_process(client: &Client) -> Result<i32, Failure> {
    let answer = client
        .simple_query("SELECT pg_catalog.pg_backend_pid()")
        .await?;
    let pid = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    pid.ok_or_else(|| {
        Failure::fatal(
            "ServerVersion",
            "pg_backend_pid() gives no number: is this PostgreSQL?",
        )
    })
}

/// PostgreSQL 14 to 18.
const fn is_known(version: i32) -> bool {
    version >= 140_000 && version < 190_000
}

fn pooler(sign: &str) -> Failure {
    Failure::new(
        Way::Fatal,
        "Pooler",
        format!(
            "this is a connection pooler ({sign}): locks and settings of a session do not survive it. \
             Give PostgreSQL's own host and port in the URI"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_nobody_tried_are_refused() {
        let known = [130_023, 140_000, 150_018, 180_006, 190_000].map(is_known);
        assert_eq!(known, [false, true, true, true, false]);
    }
}
