//! A PostgreSQL server of a test's own: in a folder of its own, on a socket there and on a port of
//! loopback. `STEPGATE_POSTGRES` names the folder of another PostgreSQL's programs.

// What cannot be made ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65534;
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server. It ends, and its folder goes, when it is dropped.
pub struct Server {
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Server {
    /// Answering, with this superuser, whom everybody on the socket and on loopback may be.
    #[must_use]
    pub fn start(superuser: &str, settings: &[&str]) -> Self {
        let mut server = Self::prepare(superuser, "trust", settings);
        server.launch();
        server
    }

    /// Made, but not started. `host` is how those who come over loopback prove who they are:
    /// `trust` or `scram-sha-256`.
    #[must_use]
    pub fn prepare(superuser: &str, host: &str, settings: &[&str]) -> Self {
        let server = Self::empty();
        let (name, host) = (
            format!("--username={superuser}"),
            format!("--auth-host={host}"),
        );
        let made = as_nobody(&programs().join("initdb"))
            .args([&name, "--auth-local=trust", &host])
            .args(["--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(server.data())
            .output();
        went_well(made);
        server.configure(settings);
        server
    }

    /// A streaming standby of this server.
    #[must_use]
    pub fn standby(&self, superuser: &str) -> Self {
        let mut standby = Self::empty();
        let copied = as_nobody(&programs().join("pg_basebackup"))
            .arg(format!("--username={superuser}"))
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--host")
            .arg(self.folder())
            .args(["--port", &self.port.to_string(), "-D"])
            .arg(standby.data())
            .output();
        went_well(copied);
        standby.configure(&[]);
        standby.launch();
        standby
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

    /// Replaces the settings, the last line of a name wins; they hold from the next start.
    pub fn configure(&self, settings: &[&str]) {
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n\
             fsync = off\nshared_buffers = 16MB\n",
            self.port,
            self.folder().display()
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

    /// Starts it, and waits until it takes sessions.
    pub fn launch(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = as_nobody(&programs().join("postgres"))
            .arg("-D")
            .arg(self.data())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        self.running = Some(child);
        let until = Instant::now() + PATIENCE;
        while !self.takes_sessions(&pid) {
            let child = self.running.as_mut().unwrap();
            let over = child.try_wait().unwrap();
            assert!(
                over.is_none() && Instant::now() < until,
                "PostgreSQL does not come up: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As `pg_ctl` tells: the last line of `postmaster.pid` is its state.
    fn takes_sessions(&self, pid: &str) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        lines.next() == Some(pid)
            && matches!(
                text.lines().nth(7).map(str::trim),
                Some("ready" | "standby")
            )
    }

    /// Ends it, clients are cut off; [`launch`](Self::launch) brings it back with its data.
    pub fn halt(&mut self) {
        self.end(Signal::INT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.running.take() {
            let _ = kill_process(Pid::from_child(&child), signal);
            let _ = child.wait();
        }
    }

    /// Its port of loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where a client finds it, as a connection string: a session on its socket.
    #[must_use]
    pub fn socket(&self, user: &str, database: &str) -> String {
        let (folder, port) = (self.folder().display(), self.port);
        format!("host={folder} port={port} user={user} dbname={database}")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Its folder of data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once: nobody needs what is in it.
        self.end(Signal::QUIT);
    }
}

/// A port that is free now; whoever takes it first makes the start fail, loudly.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A program that is not root, and does not outlive the test.
#[must_use]
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

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn went_well(output: std::io::Result<Output>) {
    let output = output.unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}

/// Where Debian and others keep the server's programs: they are not in the PATH.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("STEPGATE_POSTGRES") {
        return folder.into();
    }
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<_> = found
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .expect("the tests need PostgreSQL's server (Debian: postgresql)")
}
