//! A restart of the operator with very many Rollouts.

use std::time::{Duration, Instant};

use testbed::{Error, Namespace, Result, Testbed};

use crate::audit::Audit;
use crate::figure::{Figure, Section};
use crate::memory::{Memory, megabytes};
use crate::start::Started;
use crate::{many, start, there};

const NAMESPACE: &str = "bench-restart";
const QUIET: Duration = Duration::from_secs(12);
/// For the operator to deal with new Rollouts, and for a started one to look at all.
const LIMIT: Duration = Duration::from_secs(3600);

/// Seconds from complete caches until all were looked at, requests until then, bytes of memory.
const GOALS: (f64, u64, f64) = (10.0, 100, 256e6);

/// What one restart came to.
struct Restart {
    count: usize,
    /// From the start to complete caches, and from there until all were looked at, in seconds.
    caches: f64,
    looked: f64,
    requests: u64,
    writes: u64,
    peak: u64,
}

/// Makes so many Rollouts, and starts the operator again beside them; for each count.
pub async fn measure(testbed: &Testbed, counts: &[usize]) -> Result<Section> {
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    let mut restarts = Vec::new();
    let mut made = 0;
    for count in counts {
        let mut audit = Audit::from_now()?;
        many::create(&namespace, made..*count).await?;
        made = made.max(*count);
        audit.until_quiet(QUIET, LIMIT).await?;
        there::scale_operator(testbed, 0).await?;
        let restart = one(*count).await;
        there::scale_operator(testbed, 1).await?;
        let restart = restart?;
        eprintln!("  {}", restart.words());
        restarts.push(restart);
    }
    // They go with the cluster: to delete ten thousand takes longer than all of the above.
    let Some(most) = restarts.last() else {
        return Err(Error::refused("no number of Rollouts to restart with"));
    };
    let count = most.count;
    Ok(Section {
        title: "Restart",
        figures: vec![
            Figure::below(
                format!("Restart: complete caches to all of {count} Rollouts looked at"),
                (most.looked, format!("{:.1} s", most.looked)),
                (GOALS.0, "10 s"),
            ),
            Figure::at_most(
                format!("Restart: requests until {count} were looked at"),
                (most.requests, most.requests.to_string()),
                GOALS.1,
            )
            .argo("1,488"),
            Figure::below(
                format!("Restart: most memory with {count} Rollouts"),
                (most.peak as f64, megabytes(most.peak)),
                (GOALS.2, "256 MB"),
            ),
        ],
        notes: [
            "The release binary, started on the node beside Rollouts of 0 replicas, each with its \
             ControllerRevision and Deployment. Requests are all that the process made, by its own \
             count; memory is the most that was ever resident (VmHWM)."
                .to_owned(),
        ]
        .into_iter()
        .chain(restarts.iter().map(Restart::words))
        .collect(),
    })
}

impl Restart {
    fn words(&self) -> String {
        format!(
            "{} Rollouts: caches complete after {:.1} s, all looked at {:.1} s later, by {} \
             requests, {} of them writes other than of the Lease; at the most {}",
            self.count,
            self.caches,
            self.looked,
            self.requests,
            self.writes,
            megabytes(self.peak)
        )
    }
}

async fn one(count: usize) -> Result<Restart> {
    let Started { mut child, began } = start::start()?;
    let pid = child.id();
    let measured = tokio::time::timeout(LIMIT, look(count, pid, began)).await;
    start::stop(&mut child).await?;
    measured.map_err(|_| Error::NotInTime {
        what: format!("a started operator to look at {count} Rollouts"),
        limit: LIMIT,
    })?
}

async fn look(count: usize, pid: Option<u32>, began: Instant) -> Result<Restart> {
    start::is_ready().await;
    let caches = began.elapsed();
    let text = loop {
        let text = start::metrics().await.unwrap_or_default();
        if sum(&text, "stepgate_reconciles_total", "") >= count as u64 {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let looked = began.elapsed() - caches;
    let pid = pid.ok_or_else(|| Error::refused("the started operator has ended"))?;
    Ok(Restart {
        count,
        caches: caches.as_secs_f64(),
        looked: looked.as_secs_f64(),
        requests: sum(&text, "stepgate_client_requests_total", ""),
        writes: sum(&text, "stepgate_writes_total", "kind=\"Lease\""),
        peak: Memory::of(pid)?.peak,
    })
}

/// The sum of a counter's series, but for those with this label.
fn sum(text: &str, counter: &str, but: &str) -> u64 {
    let series = text.lines().filter(|line| line.starts_with(counter));
    let wanted = series.filter(|line| but.is_empty() || !line.contains(but));
    let values = wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_series() {
        let text = "a_total{kind=\"Lease\"} 3\na_total{kind=\"Scale\"} 4\nb_total 5\n";
        assert_eq!(sum(text, "a_total", ""), 7);
        assert_eq!(sum(text, "a_total", "kind=\"Lease\""), 4);
    }
}
