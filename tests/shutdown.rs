//! Signals to a real process: this test program, started again for one ignored test whose work
//! never ends when told to.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use stepgate::operator::shutdown::{Phase, Signals, Supervisor, TaskError};

const CHILD: &str = "STEPGATE_TEST_CHILD";

fn start() -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "never_ends", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    read_to(&mut lines, "working");
    (child, lines)
}

fn read_to(lines: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while line.trim() != wanted {
        line.clear();
        assert_ne!(
            lines.read_line(&mut line).unwrap(),
            0,
            "it ended before `{wanted}`"
        );
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut child, mut lines) = start();
    signal(&child, "TERM");
    read_to(&mut lines, "told to stop");
    assert_eq!(
        child.try_wait().unwrap(),
        None,
        "the first signal waits for the work"
    );
    let second = Instant::now();
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 2));
    assert!(second.elapsed() < Duration::from_secs(5));
}

#[test]
fn work_that_does_not_end_fails_the_process_after_the_grace_time() {
    let (mut child, _lines) = start();
    let first = Instant::now();
    signal(&child, "TERM");
    assert!(!child.wait().unwrap().success());
    assert!(
        first.elapsed() >= GRACE,
        "cut off after {:?}",
        first.elapsed()
    );
}

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
#[ignore = "run by the other tests as a process of its own"]
async fn never_ends() {
    assert!(std::env::var_os(CHILD).is_some(), "not to be run by hand");
    let signals = Signals::install().unwrap();
    let mut supervisor = Supervisor::new(GRACE);
    let mut stop = supervisor.stop(Phase::Work);
    supervisor.spawn(Phase::Work, "stubborn", async move {
        println!("working");
        stop.wait().await;
        println!("told to stop");
        std::future::pending::<Result<(), TaskError>>().await
    });
    supervisor.run(signals.first()).await.unwrap();
}
