//! What an operator with nothing to do asks of the API server.

use std::time::Duration;

use testbed::Result;

use crate::audit::{Audit, Request, counts};
use crate::figure::{Figure, Section};

/// For how long it must have written nothing before.
const QUIET: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(120);

/// Counts its requests for so many seconds.
pub async fn measure(seconds: u64) -> Result<Section> {
    Audit::from_now()?.until_quiet(QUIET, LIMIT).await?;
    let mut audit = Audit::from_now()?;
    eprintln!("  counting for {seconds} s");
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let mut requests = audit.next()?;
    requests.retain(Request::is_operators);
    let of_leases = |r: &&Request| r.resource == "leases";
    let of_watches = |r: &&Request| r.verb == "watch";
    let others: Vec<_> = requests
        .iter()
        .filter(|r| !of_leases(r) && !of_watches(r))
        .collect();
    let name = match seconds {
        300 => "Requests of an idle Rollout in five minutes".to_owned(),
        seconds => format!("Requests of an idle Rollout in {seconds} s"),
    };
    let count = others.len() as u64;
    Ok(Section {
        title: "Idle",
        figures: vec![
            Figure::at_most(name, (count, count.to_string()), 0).argo("0"),
            Figure::told(
                "In the same time, with any number of Rollouts: Lease renewals, watches restarted",
                format!(
                    "{}, {}",
                    requests.iter().filter(of_leases).count(),
                    requests.iter().filter(of_watches).count()
                ),
            ),
        ],
        notes: vec![
            format!("One Rollout of 8 pods at rest, {seconds} s by the audit log."),
            format!("Counted: {}.", counts(others)),
            format!("The Lease: {}.", counts(requests.iter().filter(of_leases))),
            format!("Watches: {}.", counts(requests.iter().filter(of_watches))),
        ],
    })
}
