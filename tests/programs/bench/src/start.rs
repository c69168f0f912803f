//! From the operator's start to its readiness.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testbed::install::OPERATOR;
use testbed::{Error, Result, Testbed, program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::figure::{Figure, Section};
use crate::statistics::{max, median};
use crate::there;

/// Starts that are measured.
const STARTS: usize = 15;
const METRICS: &str = "127.0.0.1:18080";
const PROBES: &str = "127.0.0.1:18081";
const LIMIT: Duration = Duration::from_secs(30);

/// Starts the binary again and again, with the pod's out of the way.
pub async fn measure(testbed: &Testbed) -> Result<Section> {
    there::scale_operator(testbed, 0).await?;
    let measured = starts().await;
    there::scale_operator(testbed, 1).await?;
    let (ready, leading): (Vec<f64>, Vec<f64>) = measured?.into_iter().unzip();
    let words = |values: &[f64]| {
        let (middle, most) = (median(values), max(values));
        (
            most,
            format!("{middle:.0} ms (most {most:.0} ms of {STARTS} starts)"),
        )
    };
    Ok(Section {
        title: "Start",
        figures: vec![
            Figure::below("Process start to /readyz", words(&ready), (300.0, "300 ms")),
            Figure::told("Process start to leading", words(&leading).1),
        ],
        notes: vec![
            "The release binary, started again and again on the node with the cluster's \
             configuration, one Rollout of 8 pods in its caches, and the Lease as the process \
             before left it at its orderly end. The goal is for the most."
                .into(),
        ],
    })
}

async fn starts() -> Result<Vec<(f64, f64)>> {
    let mut all = Vec::new();
    // The first reads the binary from the disk, as no later one does.
    for number in 0..=STARTS {
        let times = one().await?;
        if number > 0 {
            all.push(times);
        }
    }
    Ok(all)
}

/// A process of the operator beside the cluster, and when it was started.
pub struct Started {
    /// The process.
    pub child: Child,
    /// When.
    pub began: Instant,
}

/// The release binary as it is started here.
pub fn command() -> Result<Command> {
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    let mut command = program::command(us.with_file_name("stepgate"));
    command
        .args(["run", "--listen", METRICS, "--probes-listen", PROBES])
        .args(["--lease-namespace", OPERATOR])
        .args(["--log-level", "warn"])
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    Ok(command)
}

/// Starts it.
pub fn start() -> Result<Started> {
    let mut command = command()?;
    let began = Instant::now();
    let child = command.spawn();
    let child = child.map_err(|error| Error::refused(format!("stepgate: {error}")))?;
    Ok(Started { child, began })
}

/// Waits until the started process is ready.
pub async fn is_ready() {
    answers(PROBES, "/readyz").await;
}

/// Waits until an address answers well.
pub async fn answers(address: &str, path: &str) {
    while ask(address, path)
        .await
        .is_none_or(|(status, _)| status != 200)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the started process leads.
pub async fn leads() {
    let leads = |text: &str| text.lines().any(|line| line == "stepgate_leader 1");
    while metrics().await.is_none_or(|text| !leads(&text)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The metrics of the started process; `None` while it shows none.
pub async fn metrics() -> Option<String> {
    ask(METRICS, "/metrics").await.map(|(_, text)| text)
}

/// Milliseconds to readiness, and to the lead.
async fn one() -> Result<(f64, f64)> {
    let Started { mut child, began } = start()?;
    let ready = async {
        is_ready().await;
        began.elapsed()
    };
    let leading = async {
        leads().await;
        began.elapsed()
    };
    let both = async { tokio::join!(ready, leading) };
    let both = tokio::time::timeout(LIMIT, both).await;
    stop(&mut child).await?;
    let (ready, leading) = both.map_err(|_| Error::NotInTime {
        what: "a started operator to be ready and to lead".into(),
        limit: LIMIT,
    })?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok((milliseconds(ready), milliseconds(leading)))
}

/// Status and body; `None` while nobody listens.
async fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

/// Ends the started process in order.
pub async fn stop(child: &mut Child) -> Result<()> {
    let cannot = |why: String| Error::refused(format!("the started operator: {why}"));
    let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let id = id.ok_or_else(|| cannot("it has ended by itself".into()))?;
    kill_process(id, Signal::TERM).map_err(|error| cannot(error.to_string()))?;
    let status = child
        .wait()
        .await
        .map_err(|error| cannot(error.to_string()))?;
    match status.success() {
        true => Ok(()),
        false => Err(cannot(format!("ended with {status}"))),
    }
}
