//! A PostgreSQL of a test's own, with the roles and the database that the runner meets.

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use postgres::{Client, NoTls};
pub use postgresql::{as_nobody, free_port};

/// The password of the role that the runner uses: it must be in no output.
pub const SECRET: &str = "geheim-4711";
const ADMIN: &str = "admin";
/// What sessions did can be read in the log.
const LOGGED: &str = "log_statement = all\nlog_line_prefix = '%a %p: '";

pub struct Server(postgresql::Server);

impl Deref for Server {
    type Target = postgresql::Server;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Server {
    /// Answering, with the database `shop` of the role `ddl`.
    pub fn start() -> Self {
        let mut server = Self::prepare(&[]);
        server.launch();
        let mut admin = server.at("postgres");
        admin
            .batch_execute(&format!(
                "CREATE ROLE ddl LOGIN PASSWORD '{SECRET}'; GRANT pg_monitor TO ddl"
            ))
            .unwrap();
        admin
            .batch_execute("CREATE DATABASE shop OWNER ddl")
            .unwrap();
        server
    }

    /// Made, with more settings, but not started.
    pub fn prepare(settings: &[&str]) -> Self {
        let settings = [&[LOGGED], settings].concat();
        Self(postgresql::Server::prepare(
            ADMIN,
            "scram-sha-256",
            &settings,
        ))
    }

    /// Replaces the settings; they hold from the next start.
    pub fn configure(&self, settings: &[&str]) {
        self.0.configure(&[&[LOGGED], settings].concat());
    }

    /// A streaming standby of this server.
    pub fn standby(&self) -> Self {
        Self(self.0.standby(ADMIN))
    }

    /// The connection that the runner gets.
    pub fn url(&self) -> String {
        self.url_of(self.port())
    }

    pub fn url_of(&self, port: u16) -> String {
        format!("postgres://ddl:{SECRET}@127.0.0.1:{port}/shop?sslmode=disable")
    }

    /// A superuser's session.
    pub fn at(&self, database: &str) -> Client {
        let socket = self.socket(ADMIN, database);
        Client::connect(&format!("{socket} application_name=test"), NoTls).unwrap()
    }

    /// A session of the application: the role of the runner, in its database.
    pub fn app(&self) -> Client {
        let mut client = self.at("shop");
        client
            .batch_execute("SET SESSION AUTHORIZATION ddl")
            .unwrap();
        client
    }

    pub fn sql(&self, text: &str) {
        self.app().batch_execute(text).unwrap();
    }

    /// One number.
    pub fn number(&self, query: &str) -> i64 {
        self.at("shop").query_one(query, &[]).unwrap().get(0)
    }

    /// One column of text.
    pub fn texts(&self, query: &str) -> Vec<String> {
        self.at("shop")
            .query(query, &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }
}

/// Waits for a condition.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in half a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}
