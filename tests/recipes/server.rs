//! A PostgreSQL of a test's own.

use std::ops::Deref;

use tokio_postgres::{Client, NoTls};

const ADMIN: &str = "admin";
/// Whose the tables are: the role of the code and of the runner.
const ROLE: &str = "ddl";
const DATABASE: &str = "shop";

pub struct Server(postgresql::Server);

impl Deref for Server {
    type Target = postgresql::Server;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Server {
    pub async fn start() -> Self {
        // Every wait for a lock of more than a second is in the log, with who waited.
        let settings = [
            "log_lock_waits = on",
            "deadlock_timeout = 1s",
            "log_line_prefix = '<%a> '",
            "shared_buffers = 32MB",
        ];
        let server = Self(postgresql::Server::start(ADMIN, &settings));
        let admin = connect(&server.socket(ADMIN, "postgres")).await;
        for statement in [
            format!("CREATE ROLE {ROLE} LOGIN"),
            format!("GRANT pg_monitor TO {ROLE}"),
            format!("CREATE DATABASE {DATABASE} OWNER {ROLE}"),
        ] {
            admin.batch_execute(&statement).await.unwrap();
        }
        server
    }

    pub async fn connect(&self, who: &str) -> Client {
        connect(&format!(
            "{} application_name={who}",
            self.socket(ROLE, DATABASE)
        ))
        .await
    }

    /// The connection that the runner gets.
    pub fn url(&self) -> String {
        let port = self.port();
        format!("postgres://{ROLE}@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
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

async fn connect(address: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
