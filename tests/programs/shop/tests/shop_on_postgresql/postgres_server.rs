//! A PostgreSQL of a test's own, on a socket in a directory of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65534;

pub struct PostgresServer {
    directory: TempDir,
    running: Option<Child>,
}

impl PostgresServer {
    /// Made, but not started.
    pub fn prepare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let server = Self {
            directory,
            running: None,
        };
        let made = as_nobody(&programs().join("initdb"))
            .args([
                "--username=shop",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
            ])
            .args(["--no-sync", "-D"])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        server
    }

    /// Made, and answering.
    pub fn start() -> Self {
        let mut server = Self::prepare();
        server.launch();
        server
    }

    pub fn launch(&mut self) {
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        let socket = format!(
            "unix_socket_directories={}",
            self.directory.path().display()
        );
        let child = as_nobody(&programs().join("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-c", &socket, "-c", "listen_addresses="])
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.running = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = Client::connect(&self.url(), NoTls) {
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not come up: {error}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it; `launch` brings it back with its data.
    pub fn halt(&mut self) {
        if let Some(mut child) = self.running.take() {
            // Fast shutdown: clients are cut off.
            let _ = kill_process(Pid::from_child(&child), Signal::INT);
            let _ = child.wait();
        }
    }

    pub fn url(&self) -> String {
        format!(
            "host={} user=shop dbname=postgres",
            self.directory.path().display()
        )
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
        self.client()
            .query(query, &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    /// What is on record, like `2 expand`.
    pub fn record(&self) -> Vec<String> {
        let query = "SELECT version || ' ' || phase FROM schema_version
                     ORDER BY finished_at, version, phase";
        self.client()
            .query(query, &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.halt();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Where Debian and others keep the server's programs: they are not in the PATH.
fn programs() -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .expect("the tests need PostgreSQL's server (Debian: postgresql)")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .expect("the tests need PostgreSQL's server (Debian: postgresql)")
}

/// A program that is not root, and does not outlive the test.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}
