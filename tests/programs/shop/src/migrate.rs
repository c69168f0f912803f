//! `shop migrate`: does the steps of a phase, each re-runnable.
//!
//! One migration runs at a time: the others wait at an advisory lock, and then find it done. A
//! step is one transaction with its own record; on an empty database all steps are one, because
//! a migration that died half-way there would look like an older release. Locks are asked for
//! with a short time-out and asked for again: a change that queues behind a long transaction
//! would hold up every query that comes after it.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::database;
use crate::fault::Fault;
use crate::release::Release;
use crate::schema::{Done, Phase, Step, Unfit};

/// Any number, as long as every migration of this database takes the same.
const ADVISORY_LOCK: i64 = 0x73_68_6f_70;

/// How a migration goes about it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rows filled per transaction.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
    batch: i64,
    /// Milliseconds between two batches, so that users come first.
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Milliseconds to wait for a lock before letting users through again.
    #[arg(long, env = "SHOP_LOCK_TIMEOUT_MS", default_value_t = 500)]
    lock_timeout_ms: u64,
    /// How often a lock is asked for before the migration gives up.
    #[arg(long, env = "SHOP_LOCK_ATTEMPTS", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    lock_attempts: u32,
    /// Seconds to wait for PostgreSQL to be reachable.
    #[arg(long, env = "SHOP_WAIT_SECONDS", default_value_t = 60)]
    wait_seconds: u64,
}

/// Why a migration ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or is away.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The step is out of order.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The lock was always taken.
    #[error(
        "another transaction held the lock through {attempts} attempts: nothing was changed; \
         end it or run this again later"
    )]
    Locked {
        /// How often it was tried.
        attempts: u32,
    },
    /// Rows without a full name are left that the backfill cannot fill.
    #[error("{0} users have no full_name: `name` cannot be dropped yet; run the backfill again")]
    Unfilled(i64),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Does what is left to do of a phase of a release.
pub async fn run(
    config: &Config,
    release: Release,
    phase: Phase,
    fault: Fault,
    options: &Options,
) -> Result<(), Error> {
    let mut session = Session {
        client: connect(config, options).await?,
        options,
    };
    // Held until this connection ends.
    session
        .client
        .execute("SELECT pg_advisory_lock($1)", &[&ADVISORY_LOCK])
        .await?;
    session.transaction(&[], PREPARE).await?;
    let done = database::done(&session.client).await?;
    let steps = done.plan(release, phase)?;
    if phase == Phase::Expand && fault == Fault::BadMigration {
        session
            .transaction(&[(release.number(), phase)], BAD_EXPAND)
            .await?;
    }
    if done == Done::default() {
        let all: Vec<_> = steps
            .iter()
            .flat_map(|step| statements(*step))
            .copied()
            .collect();
        session.transaction(&steps, &all).await?;
    } else {
        for step in &steps {
            session.step(*step).await?;
        }
    }
    for (version, phase) in &steps {
        tracing::info!("{phase} of schema version {version} is done");
    }
    if steps.is_empty() {
        tracing::info!("nothing is left to do for the {phase} of {release}");
    }
    Ok(())
}

/// Waits until PostgreSQL answers, or the time is over.
async fn connect(config: &Config, options: &Options) -> Result<Client, Error> {
    let mut config = config.clone();
    config
        .application_name("shop-migrate")
        .connect_timeout(Duration::from_secs(2));
    let deadline = Instant::now() + Duration::from_secs(options.wait_seconds);
    loop {
        match config.connect(NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return Ok(client);
            }
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(error) => tracing::info!("waiting for PostgreSQL: {error}"),
        }
        sleep(Duration::from_millis(250)).await;
    }
}

const PREPARE: &[&str] = &["CREATE TABLE IF NOT EXISTS schema_version (
    version int NOT NULL,
    phase text NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (version, phase))"];

/// The classic mistake: the table has rows, and none has a value for the new column. What the
/// first statement did must be gone afterwards.
const BAD_EXPAND: &[&str] = &[
    "ALTER TABLE users ADD COLUMN IF NOT EXISTS nickname text",
    "ALTER TABLE users ADD COLUMN full_name text NOT NULL",
];

/// The statements of a step. The backfill is here as it is done where there are no users yet.
fn statements(step: Step) -> &'static [&'static str] {
    match step {
        (1, Phase::Expand) => &[
            "CREATE TABLE IF NOT EXISTS users (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                name text NOT NULL)",
            "INSERT INTO users (name) SELECT 'User ' || n FROM generate_series(1, 100) n
             WHERE NOT EXISTS (SELECT FROM users)",
        ],
        (2, Phase::Expand) => &["ALTER TABLE users ADD COLUMN IF NOT EXISTS full_name text"],
        (2, Phase::Backfill) => &["UPDATE users SET full_name = name WHERE full_name IS NULL"],
        (4, Phase::Expand) => &["ALTER TABLE users ALTER COLUMN name DROP NOT NULL"],
        (4, Phase::Contract) => &["ALTER TABLE users DROP COLUMN IF EXISTS name"],
        _ => &[],
    }
}

struct Session<'a> {
    client: Client,
    options: &'a Options,
}

impl Session<'_> {
    async fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            (_, Phase::Backfill) => {
                self.backfill().await?;
                return self.transaction(&[step], &[]).await;
            }
            (_, Phase::Contract) => self.filled().await?,
            (_, Phase::Expand) => {}
        }
        self.transaction(&[step], statements(step)).await
    }

    /// One transaction with all statements and the record, tried again while a lock is taken.
    async fn transaction(&mut self, steps: &[Step], statements: &[&str]) -> Result<(), Error> {
        let attempts = self.options.lock_attempts;
        for attempt in 1..=attempts {
            match self.attempt(steps, statements).await {
                Err(error) if is_lock(&error) => {
                    tracing::info!("attempt {attempt} of {attempts}: the lock is taken");
                }
                other => return Ok(other?),
            }
            sleep(Duration::from_millis(200)).await;
        }
        Err(Error::Locked { attempts })
    }

    async fn attempt(
        &mut self,
        steps: &[Step],
        statements: &[&str],
    ) -> Result<(), tokio_postgres::Error> {
        let lock_timeout = format!("SET LOCAL lock_timeout = {}", self.options.lock_timeout_ms);
        let transaction = self.client.transaction().await?;
        transaction.batch_execute(&lock_timeout).await?;
        for statement in statements {
            transaction.batch_execute(statement).await?;
        }
        for (version, phase) in steps {
            let record = "INSERT INTO schema_version (version, phase) VALUES ($1, $2)
                          ON CONFLICT DO NOTHING";
            transaction
                .execute(record, &[version, &phase.as_str()])
                .await?;
        }
        transaction.commit().await
    }

    /// Fills in small transactions, in passes: rows that users hold are left for the next pass.
    async fn backfill(&mut self) -> Result<(), Error> {
        let fill = "UPDATE users SET full_name = name WHERE id IN (
                      SELECT id FROM users WHERE full_name IS NULL AND name IS NOT NULL
                      ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)";
        let mut total = 0;
        loop {
            let filled = self.client.execute(fill, &[&self.options.batch]).await?;
            total += filled;
            if filled == 0 && self.unfilled().await? == 0 {
                tracing::info!("filled {total} users");
                return Ok(());
            }
            sleep(Duration::from_millis(self.options.pause_ms.max(1))).await;
        }
    }

    /// Users that only `name` knows.
    async fn unfilled(&self) -> Result<i64, Error> {
        let count = "SELECT count(*) FROM users WHERE full_name IS NULL AND name IS NOT NULL";
        Ok(self.client.query_one(count, &[]).await?.try_get(0)?)
    }

    async fn filled(&self) -> Result<(), Error> {
        match self.unfilled().await? {
            0 => Ok(()),
            left => Err(Error::Unfilled(left)),
        }
    }
}

fn is_lock(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::LOCK_NOT_AVAILABLE) || code == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}
