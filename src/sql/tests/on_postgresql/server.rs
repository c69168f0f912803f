//! A PostgreSQL of a test's own, on a port of loopback and on a socket in its own folder.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65534;
/// The password of the role that the runner uses: it must be in no output.
pub const SECRET: &str = "geheim-4711";

pub struct Server {
    folder: TempDir,
    pub port: u16,
    running: Option<Child>,
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
        let server = Self::empty();
        let made = as_nobody(&programs().join("initdb"))
            .args([
                "--username=admin",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
            ])
            .args(["--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.configure(settings);
        server
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self {
            folder,
            port: free_port(),
            running: None,
        }
    }

    /// Replaces the settings; they hold from the next start.
    pub fn configure(&self, settings: &[&str]) {
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nfsync = off\n\
             shared_buffers = 16MB\nlog_statement = all\nlog_line_prefix = '%a %p: '\n",
            self.port,
            self.folder.path().display()
        );
        for setting in settings {
            text += setting;
            text += "\n";
        }
        fs::write(self.data().join("postgresql.conf"), text).unwrap();
    }

    /// A file in the server's folder of data, which only the server may read.
    pub fn keep(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A streaming standby of this server.
    pub fn standby(&self) -> Self {
        let mut standby = Self::empty();
        let copied = as_nobody(&programs().join("pg_basebackup"))
            .args([
                "--username=admin",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--host",
            ])
            .arg(self.folder.path())
            .args(["--port", &self.port.to_string(), "-D"])
            .arg(standby.data())
            .output()
            .unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        standby.configure(&[]);
        standby.launch();
        standby
    }

    pub fn launch(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let child = as_nobody(&programs().join("postgres"))
            .arg("-D")
            .arg(self.data())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.running = Some(child);
        wait_for("PostgreSQL", || {
            Client::connect(&self.socket("postgres"), NoTls)
                .ok()
                .map(|_| ())
        });
    }

    /// Ends it, clients are cut off; `launch` brings it back with its data.
    pub fn halt(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::INT);
            let _ = child.wait();
        }
    }

    /// The connection that the runner gets.
    pub fn url(&self) -> String {
        self.url_of(self.port)
    }

    pub fn url_of(&self, port: u16) -> String {
        format!("postgres://ddl:{SECRET}@127.0.0.1:{port}/shop?sslmode=disable")
    }

    fn socket(&self, database: &str) -> String {
        format!(
            "host={} port={} user=admin dbname={database} application_name=test",
            self.folder.path().display(),
            self.port
        )
    }

    /// A superuser's session.
    pub fn at(&self, database: &str) -> Client {
        Client::connect(&self.socket(database), NoTls).unwrap()
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

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
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

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Where Debian and others keep the server's programs: they are not in the PATH.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("STEPGATE_POSTGRES") {
        return folder.into();
    }
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
pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}
