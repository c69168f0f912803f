//! A PostgreSQL of a test's own, on loopback, in a directory of its own.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use stepgate_lint::Source;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, error::SqlState};

/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65534;
/// What a page says, less what it takes to give up: whoever waits behind waits no second.
const LOCK_TIMEOUT: &str = "900ms";

pub struct Server {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = directory.path().join("data");
        let made = as_nobody(&programs().join("initdb"))
            .args(["--username=app", "--auth=trust", "--encoding=UTF8"])
            .args(["--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Free now; whoever takes it before the server does makes the start fail, loudly.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = as_nobody(&programs().join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .args(["-c", &format!("port={port}"), "-c", "fsync=off"])
            // Every wait for a lock of more than a second is in the log, with who waited.
            .args(["-c", "log_lock_waits=on", "-c", "deadlock_timeout=1s"])
            .args(["-c", "log_line_prefix=<%a> ", "-c", "shared_buffers=32MB"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self {
            directory,
            port,
            child,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = server.try_connect("test").await {
            assert!(Instant::now() < deadline, "{error}\n{}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    async fn try_connect(&self, who: &str) -> Result<Client, tokio_postgres::Error> {
        let address = format!(
            "host=127.0.0.1 port={} user=app dbname=postgres application_name={who}",
            self.port
        );
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub async fn connect(&self, who: &str) -> Client {
        self.try_connect(who).await.unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
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

impl Drop for Server {
    fn drop(&mut self) {
        // At once: nobody needs what is in it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
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
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}
