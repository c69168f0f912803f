//! A PostgreSQL of a test's own, and how a phase's runner runs a file in it.

use std::ops::Deref;

use stepgate_lint::Source;
use tokio_postgres::{Client, NoTls, error::SqlState};

/// What a page says, less what it takes to give up: whoever waits behind waits no second.
const LOCK_TIMEOUT: &str = "900ms";
const APP: &str = "app";

pub struct Server(postgresql::Server);

impl Deref for Server {
    type Target = postgresql::Server;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Server {
    pub fn start() -> Self {
        // Every wait for a lock of more than a second is in the log, with who waited.
        let settings = [
            "log_lock_waits = on",
            "deadlock_timeout = 1s",
            "log_line_prefix = '<%a> '",
            "shared_buffers = 32MB",
        ];
        Self(postgresql::Server::start(APP, &settings))
    }

    pub async fn connect(&self, who: &str) -> Client {
        let address = format!("{} application_name={who}", self.socket(APP, "postgres"));
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Lines about sessions of this name that waited for a lock for more than a second.
    pub fn long_waits(&self, who: &str) -> Vec<String> {
        let who = format!("<{who}> ");
        self.log()
            .lines()
            .filter(|line| line.starts_with(&who) && line.contains("still waiting for"))
            .map(str::to_owned)
            .collect()
    }
}

/// Runs a file as the runner of a phase does: in one transaction, or alone where it cannot; again
/// when it does not get its lock.
pub async fn run(client: &Client, file: &Source) {
    let is_online = file.text.contains("CONCURRENTLY");
    let timeout = if is_online { "0" } else { LOCK_TIMEOUT };
    client
        .batch_execute(&format!("SET lock_timeout = '{timeout}'"))
        .await
        .unwrap();
    let text = if is_online {
        file.text.clone()
    } else {
        format!("BEGIN;\n{}\nCOMMIT;", file.text)
    };
    for _ in 0..50 {
        match client.batch_execute(&text).await {
            Ok(()) => return,
            Err(error)
                if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
                    || error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) =>
            {
                client.batch_execute("ROLLBACK").await.unwrap();
            }
            Err(error) => panic!("{}: {error:?}", file.name),
        }
    }
    panic!("{}: no lock after fifty attempts", file.name);
}

/// Runs a batch until it changes no row.
pub async fn fill(client: &Client, file: &Source) -> u64 {
    let mut all = 0;
    loop {
        match client.execute(file.text.as_str(), &[]).await {
            Ok(0) => return all,
            Ok(changed) => all += changed,
            Err(error) => panic!("{}: {error:?}", file.name),
        }
        assert!(all < 10_000_000, "{}: it never ends", file.name);
    }
}
