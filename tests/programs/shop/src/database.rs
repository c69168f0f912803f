//! Connections to PostgreSQL, and what it has on record about its schema.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, GenericClient, NoTls};

use crate::schema::{Done, Phase};

/// How long a request waits for a connection, and a connection for the server.
const PATIENCE: Duration = Duration::from_secs(1);

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL refused, or the connection broke.
    #[error("PostgreSQL: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// No connection could be had in time.
    #[error("no connection to PostgreSQL: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The pool could not be made.
    #[error("cannot make a pool of connections: {0}")]
    Build(#[from] deadpool_postgres::BuildError),
    /// The record of the schema is not ours.
    #[error("table schema_version has phase {0:?}, which this release does not know")]
    UnknownPhase(String),
}

/// The server's own words: the client's error says no more than "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// A pool of at most `size` connections, made as they are needed. Statements end after 2 s.
pub fn pool(config: &Config, size: usize) -> Result<Pool, Error> {
    let mut config = config.clone();
    config
        .application_name("shop")
        .connect_timeout(PATIENCE)
        .options("-c statement_timeout=2000")
        .tcp_user_timeout(Duration::from_secs(3));
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    Ok(
        Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(size)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .runtime(Runtime::Tokio1)
            .build()?,
    )
}

/// The steps on record; none where the table is not there yet.
pub async fn done<C: GenericClient>(client: &C) -> Result<Done, Error> {
    match client
        .query("SELECT version, phase FROM schema_version", &[])
        .await
    {
        Ok(rows) => rows
            .iter()
            .map(|row| {
                let name: String = row.try_get(1)?;
                let phase = Phase::parse(&name).ok_or(Error::UnknownPhase(name))?;
                Ok((row.try_get(0)?, phase))
            })
            .collect(),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Done::default()),
        Err(error) => Err(error.into()),
    }
}
