//! The ledger: what ran on this database, in the schema `stepgate` beside what it describes. It is
//! written in the transaction of the work itself, so the two never disagree.

use tokio_postgres::Client;

use crate::{
    failure::Failure,
    order::{Order, Phase},
    script::Script,
    session::LOCK,
};

// One that may not make schemas has had this one made for it: it is not even to ask.
const TABLES: &str = "\
DO $do$ BEGIN
  IF pg_catalog.to_regnamespace('stepgate') IS NULL THEN CREATE SCHEMA stepgate; END IF;
END $do$;
CREATE TABLE IF NOT EXISTS stepgate.owner (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  namespace text NOT NULL,
  database text NOT NULL,
  since timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS stepgate.baseline (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS stepgate.files (
  version int NOT NULL,
  phase text NOT NULL,
  file text NOT NULL,
  sha256 text NOT NULL,
  statements int NOT NULL,
  done int NOT NULL,
  rollout text NOT NULL,
  revision text NOT NULL,
  began timestamptz NOT NULL DEFAULT now(),
  finished timestamptz,
  PRIMARY KEY (version, phase, file));
CREATE TABLE IF NOT EXISTS stepgate.intents (
  version int NOT NULL,
  phase text NOT NULL,
  file text NOT NULL,
  statement int NOT NULL,
  sha256 text NOT NULL,
  since timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (version, phase, file, statement));
CREATE TABLE IF NOT EXISTS stepgate.batches (
  version int NOT NULL,
  name text NOT NULL,
  digest text NOT NULL,
  position text[],
  pass int NOT NULL DEFAULT 1,
  rows_done bigint NOT NULL DEFAULT 0,
  rows_in_pass bigint NOT NULL DEFAULT 0,
  rows_at_start bigint,
  left_before bigint,
  useless_passes int NOT NULL DEFAULT 0,
  began timestamptz NOT NULL DEFAULT now(),
  changed timestamptz NOT NULL DEFAULT now(),
  proved timestamptz,
  PRIMARY KEY (version, name));
CREATE TABLE IF NOT EXISTS stepgate.starts (
  version int PRIMARY KEY,
  attempt int NOT NULL,
  pods int NOT NULL,
  moved timestamptz NOT NULL,
  at timestamptz NOT NULL);";

/// Whether the ledger is there, and whose it is.
pub async fn owner(client: &Client) -> Result<Option<(String, String)>, Failure> {
    if !has(client, "stepgate.owner").await? {
        return Ok(None);
    }
    let row = client
        .query_opt("SELECT namespace, database FROM stepgate.owner", &[])
        .await?;
    Ok(match row {
        Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
        None => None,
    })
}

/// Whether a table is there.
pub async fn has(client: &Client, table: &str) -> Result<bool, Failure> {
    let row = client
        .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table])
        .await?;
    Ok(row.try_get(0)?)
}

/// Refuses a database that belongs to another DatabaseSchema.
pub async fn check_owner(client: &Client, order: &Order) -> Result<bool, Failure> {
    match owner(client).await? {
        None => Ok(false),
        Some((namespace, database))
            if namespace == order.namespace && database == order.database =>
        {
            Ok(true)
        }
        Some((namespace, database)) => Err(Failure::fatal(
            "WrongDatabase",
            format!(
                "this database's ledger (stepgate.owner) is of DatabaseSchema {namespace}/{database}, and \
                 this phase is of {}/{}: is it the right connection? If the database was moved or copied \
                 on purpose: UPDATE stepgate.owner SET namespace = '{}', database = '{}'",
                order.namespace, order.database, order.namespace, order.database
            ),
        )),
    }
}

/// Makes the ledger where it is missing. The caller holds the lock.
pub async fn open(client: &Client, order: &Order) -> Result<(), Failure> {
    let known = check_owner(client, order).await?;
    if known && has(client, "stepgate.baseline").await? && has(client, "stepgate.starts").await? {
        return Ok(());
    }
    // One transaction: both locks' owners may come here at once, and wait for each other briefly.
    client
        .batch_execute(&format!(
            "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock({LOCK}, 4); {TABLES} COMMIT"
        ))
        .await
        .map_err(|error| {
            let mut failure = Failure::from(error).to("the ledger (schema stepgate) cannot be made");
            if failure.sqlstate.as_deref() == Some("42501") {
                failure.reason = "MissingRights";
                failure.message += ". As the database's owner: CREATE SCHEMA stepgate AUTHORIZATION the role of the connection";
            }
            failure
        })?;
    client
        .execute(
            "INSERT INTO stepgate.owner (namespace, database) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&order.namespace, &order.database],
        )
        .await?;
    check_owner(client, order).await.map(|_| ())
}

/// How far a file has come: statements done, and whether it is finished.
pub async fn progress(
    client: &Client,
    order: &Order,
    script: &Script,
) -> Result<(usize, bool), Failure> {
    let row = client
        .query_opt(
            "SELECT sha256, done, finished IS NOT NULL FROM stepgate.files \
             WHERE version = $1 AND phase = $2 AND file = $3",
            &[&order.version, &order.phase.to_string(), &script.name],
        )
        .await?;
    let Some(row) = row else {
        return Ok((0, false));
    };
    let sha256: String = row.try_get(0)?;
    let (done, finished) = (row.try_get::<_, i32>(1)?, row.try_get(2)?);
    if sha256 != script.sha256 {
        return Err(Failure::fatal(
            "LedgerDisagrees",
            format!(
                "file {} of version {} was {} with another text (SHA-256 {sha256}). What has run stays as it \
                 was written: restore that text, and put the change into a higher version",
                script.name,
                order.version,
                if finished {
                    "applied".to_owned()
                } else {
                    format!("applied up to statement {done}")
                }
            ),
        ));
    }
    Ok((usize::try_from(done).unwrap_or(0), finished))
}

/// Whether anything of this version's phase is committed.
pub async fn anything(client: &Client, order: &Order) -> Result<bool, Failure> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM stepgate.files WHERE version = $1 AND phase = $2 AND done > 0) \
                 OR EXISTS (SELECT FROM stepgate.intents WHERE version = $1 AND phase = $2) \
                 OR ($2 = 'backfill' AND EXISTS (SELECT FROM stepgate.batches WHERE version = $1 AND rows_done > 0))",
            &[&order.version, &order.phase.to_string()],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// The batches of an attempt begin, or go on in another process: how many have begun one after the
/// other without progress, this one too, and the seconds since there was some.
pub async fn start(client: &Client, order: &Order) -> Result<(i32, f64), Failure> {
    let attempt = i32::try_from(order.attempt).unwrap_or(i32::MAX);
    let row = client
        .query_one(
            "WITH last AS (SELECT coalesce(max(changed), '-infinity') AS moved FROM stepgate.batches WHERE version = $1) \
             INSERT INTO stepgate.starts AS s (version, attempt, pods, moved, at) \
             VALUES ($1, $2, 1, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()) \
             ON CONFLICT (version) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, \
               pods = CASE WHEN s.attempt <> excluded.attempt OR (SELECT moved FROM last) > s.at THEN 1 ELSE s.pods + 1 END, \
               moved = CASE WHEN s.attempt <> excluded.attempt THEN excluded.moved \
                            ELSE greatest(s.moved, (SELECT moved FROM last)) END \
             RETURNING pods, pg_catalog.date_part('epoch', at - moved)",
            &[&order.version, &attempt],
        )
        .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// A revert takes back what the expand of its version did, and an expand what its revert did: what
/// is on record of the other is so no longer, in the transaction of the work itself.
async fn take_back(client: &Client, order: &Order) -> Result<(), Failure> {
    let other = match order.phase {
        Phase::Revert => Phase::Expand,
        Phase::Expand => Phase::Revert,
        Phase::Preflight | Phase::Backfill | Phase::Contract => return Ok(()),
    };
    for table in ["files", "intents"] {
        let delete = format!("DELETE FROM stepgate.{table} WHERE version = $1 AND phase = $2");
        client
            .execute(&delete, &[&order.version, &other.to_string()])
            .await?;
    }
    Ok(())
}

/// Records that so many statements of a file are done; the last one finishes it.
pub async fn advance(
    client: &Client,
    order: &Order,
    script: &Script,
    done: usize,
) -> Result<(), Failure> {
    let all = i32::try_from(script.statements.len()).unwrap_or(i32::MAX);
    let done = i32::try_from(done).unwrap_or(i32::MAX);
    take_back(client, order).await?;
    client
        .execute(
            "INSERT INTO stepgate.files (version, phase, file, sha256, statements, done, rollout, revision, finished) \
             VALUES ($1, $2, $3, $4, $5::int, $6::int, $7, $8, CASE WHEN $5::int = $6::int THEN pg_catalog.now() END) \
             ON CONFLICT (version, phase, file) DO UPDATE SET done = excluded.done, finished = excluded.finished",
            &[
                &order.version,
                &order.phase.to_string(),
                &script.name,
                &script.sha256,
                &all,
                &done,
                &order.rollout,
                &order.revision,
            ],
        )
        .await?;
    Ok(())
}

/// Whether this statement, with this text, was about to run before.
pub async fn intended(
    client: &Client,
    order: &Order,
    script: &Script,
    at: usize,
) -> Result<bool, Failure> {
    let row = client
        .query_opt(
            "SELECT FROM stepgate.intents WHERE version = $1 AND phase = $2 AND file = $3 AND statement = $4 AND sha256 = $5",
            &[&order.version, &order.phase.to_string(), &script.name, &number(at), &script.sha256],
        )
        .await?;
    Ok(row.is_some())
}

/// Records that this statement is about to run outside of a transaction.
pub async fn intend(
    client: &Client,
    order: &Order,
    script: &Script,
    at: usize,
) -> Result<(), Failure> {
    take_back(client, order).await?;
    client
        .execute(
            "INSERT INTO stepgate.intents (version, phase, file, statement, sha256) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (version, phase, file, statement) DO UPDATE SET sha256 = excluded.sha256, since = pg_catalog.now()",
            &[&order.version, &order.phase.to_string(), &script.name, &number(at), &script.sha256],
        )
        .await?;
    Ok(())
}

/// Takes the intention back: nothing of it is left.
pub async fn forget(
    client: &Client,
    order: &Order,
    script: &Script,
    at: usize,
) -> Result<(), Failure> {
    client
        .execute(
            "DELETE FROM stepgate.intents WHERE version = $1 AND phase = $2 AND file = $3 AND statement = $4",
            &[&order.version, &order.phase.to_string(), &script.name, &number(at)],
        )
        .await?;
    Ok(())
}

fn number(at: usize) -> i32 {
    i32::try_from(at + 1).unwrap_or(i32::MAX)
}
