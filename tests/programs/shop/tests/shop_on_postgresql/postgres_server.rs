//! A PostgreSQL of a test's own, and looks into the shop's database.

use std::ops::{Deref, DerefMut};

use postgres::{Client, NoTls};

const SHOP: &str = "shop";

pub struct PostgresServer(postgresql::Server);

impl Deref for PostgresServer {
    type Target = postgresql::Server;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for PostgresServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl PostgresServer {
    /// Made, but not started.
    pub fn prepare() -> Self {
        Self(postgresql::Server::prepare(SHOP, "trust", &[]))
    }

    /// Made, and answering.
    pub fn start() -> Self {
        Self(postgresql::Server::start(SHOP, &[]))
    }

    pub fn url(&self) -> String {
        self.socket(SHOP, "postgres")
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap()
    }

    /// One number.
    pub fn count(&self, query: &str) -> i64 {
        self.client().query_one(query, &[]).unwrap().get(0)
    }

    /// The columns of `users`, by name.
    pub fn columns(&self) -> Vec<String> {
        let query = "SELECT column_name::text FROM information_schema.columns
                     WHERE table_name = 'users' ORDER BY 1";
        self.texts(query)
    }

    /// What is on record, like `2 expand`.
    pub fn record(&self) -> Vec<String> {
        let query = "SELECT version || ' ' || phase FROM schema_version
                     ORDER BY finished_at, version, phase";
        self.texts(query)
    }

    fn texts(&self, query: &str) -> Vec<String> {
        let rows = self.client().query(query, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}
