//! What a good release costs the API server.

use std::time::Duration;

use stepgate::api::status::Outcome;
use testbed::{Error, Result};

use crate::audit::{Audit, Request, counts, is_counted};
use crate::figure::{Figure, Section};
use crate::shop::{Release, Shop};
use crate::statistics::median;

/// Writes that a release without a schema may take, Events included.
const GOAL: u64 = 24;
/// For how long the operator must have written nothing. Its counts are written every 10 s at most.
const QUIET: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(120);

/// Releases good revisions, without and with a schema, and counts what the operator writes.
pub async fn measure(shop: &mut Shop, runs: u32) -> Result<Section> {
    let mut section = Section {
        title: "Writes of a good release",
        ..Section::default()
    };
    section.notes.push(
        "Canary, 25%, 100% of 8 replicas with two checks and holds of 10 s, maxSurge and \
         maxUnavailable 25%; every create, update, patch and delete of the operator's \
         ServiceAccount in the audit log, Events included, Leases not, until 12 s after its last \
         write. The goal is for the most of all runs."
            .into(),
    );
    for schema in [false, true] {
        let mut totals = Vec::new();
        for run in 1..=runs {
            let (writes, reads) = one(shop, schema).await?;
            let with = if schema {
                "with schema"
            } else {
                "without schema"
            };
            section.notes.push(format!(
                "{with}, run {run}: {} writes: {}; and {} reads: {}",
                writes.len(),
                counts(&writes),
                reads.len(),
                counts(&reads)
            ));
            eprintln!("  {}", section.notes.last().map_or("", String::as_str));
            totals.push(writes.len());
        }
        let most = totals.iter().max().copied().unwrap_or_default() as u64;
        let middle = median(&totals.iter().map(|t| *t as f64).collect::<Vec<_>>());
        let words = format!("{middle:.0} (most {most} of {runs} runs)");
        section.figures.push(if schema {
            Figure::told(
                "API writes of a good release with a schema to expand",
                words,
            )
        } else {
            Figure::at_most(
                "API writes of a good release, 8 replicas",
                (most, words),
                GOAL,
            )
            .argo("78–85")
        });
    }
    Ok(section)
}

/// The writes and the reads of one release.
async fn one(shop: &mut Shop, schema: bool) -> Result<(Vec<Request>, Vec<Request>)> {
    // The release before may have left something to be written.
    Audit::from_now()?.until_quiet(QUIET, LIMIT).await?;
    let mut audit = Audit::from_now()?;
    let release = Release {
        schema,
        ..Release::good()
    };
    let seen = shop.release(&release).await?;
    if seen.ended.outcome != Outcome::Stable {
        let words = format!(
            "a good release was not left alone, so its writes say nothing: {:?}: {}",
            seen.ended.outcome, seen.ended.message
        );
        return Err(Error::refused(words));
    }
    let requests = audit.until_quiet(QUIET, LIMIT).await?;
    let counted = requests.into_iter().filter(is_counted);
    Ok(counted.partition(Request::is_write))
}
