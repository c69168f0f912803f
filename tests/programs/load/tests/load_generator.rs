//! `load run` with the real load generator, against a server that counts.

// A test says what is wrong by panicking; the lint's own exception covers only its functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use load::{Failure, Follower, Record, Summary};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers after a while, one thread and one request per connection, in the name of the pod that it was
/// asked for as a host; counts connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(takes: Duration, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || serve(stream, takes, answer));
            }
        });
        Self {
            address,
            connections,
        }
    }
}

fn serve(mut stream: TcpStream, takes: Duration, answer: &str) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request);
    thread::sleep(takes);
    let request = String::from_utf8_lossy(&request);
    let host = request.lines().find_map(|line| line.strip_prefix("Host: "));
    let pod = host.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {answer}\r\nConnection: close\r\nX-Pod: {pod}\r\nContent-Length: 2\r\n\r\nok"
    );
    let _ = stream.write_all(head.as_bytes());
}

struct Run {
    child: Child,
    file: PathBuf,
    _directory: TempDir,
}

impl Run {
    fn start(arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load");
        // The load generator is built once; that is not what is timed here.
        assert!(
            Command::new(&script)
                .arg("build")
                .status()
                .unwrap()
                .success()
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("records.csv");
        // Whatever starts this test in the background may have interrupts ignored, and a shell cannot
        // take that back.
        let child = Command::new("env")
            .arg("--default-signal=INT")
            .arg(&script)
            .arg("run")
            .args(arguments)
            .arg("--out")
            .arg(&file)
            // As a terminal has it: an interrupt goes to the whole group.
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            child,
            file,
            _directory: directory,
        }
    }

    /// The script's own; it leads a group.
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn ended(&mut self) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "load does not end");
            thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}");
        load::read(&self.file).unwrap()
    }

    fn followed(&self, records: usize) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        while !self.file.exists() {
            assert!(Instant::now() < deadline, "no file");
            thread::sleep(Duration::from_millis(5));
        }
        let mut follower = Follower::open(&self.file).unwrap();
        let mut seen = Vec::new();
        while seen.len() < records {
            assert!(
                Instant::now() < deadline,
                "{} of {records} records",
                seen.len()
            );
            seen.extend(follower.next_records().unwrap());
            thread::sleep(Duration::from_millis(5));
        }
        seen
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(server: &Server) -> String {
    format!("http://{}/", server.address)
}

#[test]
fn records_can_be_read_as_they_happen() {
    let server = Server::start(Duration::ZERO, "200 OK");
    let mut run = Run::start(&["--rate", "50", "--target", &url(&server)]);
    let seen = run.followed(20);
    let age = seen.last().unwrap().ended().elapsed().unwrap();
    assert!(age < Duration::from_secs(1), "the newest is {age:?} old");
    kill_process(run.pid(), Signal::TERM).unwrap();
    let all = run.ended();
    assert!(
        all.len() >= 20 && all.iter().all(|r| !r.failed()),
        "{:?}",
        Summary::of(&all)
    );
    assert_eq!(
        all.len(),
        server.connections.load(Ordering::Relaxed),
        "a connection each"
    );
}

#[test]
fn the_rate_does_not_wait_for_answers() {
    let server = Server::start(Duration::from_millis(800), "200 OK");
    let arguments = [
        "--rate",
        "100",
        "--duration",
        "2s",
        "--target",
        &url(&server),
    ];
    let records = Run::start(&arguments).ended();
    assert_eq!(records.len(), 200);
    let start = |record: &Record| record.at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let first = records.iter().map(start).min().unwrap();
    let last = records.iter().map(start).max().unwrap();
    assert!(
        last - first < Duration::from_millis(2500),
        "{:?}",
        last - first
    );
    let sum = Summary::of(&records);
    assert!(sum.failed == 0 && sum.p50_ms >= 800.0, "{sum:?}");
}

#[test]
fn an_interrupt_still_writes_what_is_under_way() {
    let server = Server::start(Duration::from_millis(1000), "200 OK");
    let mut run = Run::start(&["--rate", "100", "--target", &url(&server)]);
    run.followed(1);
    kill_process_group(run.pid(), Signal::INT).unwrap();
    let records = run.ended();
    assert!(records.len() >= 100, "only {} records", records.len());
    assert_eq!(records.len(), server.connections.load(Ordering::Relaxed));
    assert_eq!(Summary::of(&records).failed, 0);
}

#[test]
fn every_kind_of_failure_is_counted() {
    let refused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let broken = Server::start(Duration::ZERO, "500 Internal Server Error");
    let silent = Server::start(PATIENCE, "200 OK");
    let good = Server::start(Duration::ZERO, "201 Created");
    let records = Run::start(&[
        "--rate",
        "40",
        "--duration",
        "1s",
        "--timeout",
        "300ms",
        "--target",
        &format!("http://{refused}/"),
        "--target",
        &url(&broken),
        "--target",
        &url(&silent),
        "--target",
        &format!("POST {} {{\"name\":\"Ada Lovelace\"}}", url(&good)),
    ])
    .ended();
    let sum = Summary::of(&records);
    assert_eq!((sum.sent, sum.failed), (40, 30));
    assert_eq!(sum.statuses, [(0, 20), (201, 10), (500, 10)].into());
    let of_kind = |kind| {
        let all = records.iter().filter(|r| Failure::of(r) == Some(kind));
        all.collect::<Vec<_>>()
    };
    let errors: Vec<_> = records.iter().map(|r| &r.error).collect();
    let late = of_kind(Failure::NotAnswered);
    assert_eq!(late.len(), 10, "{errors:?}");
    assert!(late.iter().all(|r| r.latency < Duration::from_millis(900)));
    assert_eq!(of_kind(Failure::Refused).len(), 10, "{errors:?}");
    assert_eq!(of_kind(Failure::Status(500)).len(), 10, "{errors:?}");
}

#[test]
fn a_host_is_asked_for_and_who_answered_is_on_record() {
    let server = Server::start(Duration::ZERO, "200 OK");
    let url = url(&server);
    let arguments = ["--rate", "20", "--duration", "1s", "--host", "shop.test"];
    let records = Run::start(&[&arguments[..], &["--shop", &url]].concat()).ended();
    assert_eq!(records.len(), 20);
    assert!(records.iter().all(|r| r.pod == "shop.test"), "{records:?}");
}
