//! The page and its picture.

use std::fmt::Write as _;
use std::path::PathBuf;

use load::Summary;
use testbed::{Error, Result};

use super::picture;
use super::{Found, LONGEST_WAIT};

/// Writes both; where the page is.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(found: &Found) -> Result<PathBuf> {
    let out = testbed::program::repository().join(&found.options.out);
    let cannot = |error: std::io::Error| Error::refused(format!("{}: {error}", out.display()));
    std::fs::create_dir_all(&out).map_err(cannot)?;
    let file = out.join("study.md");
    std::fs::write(&file, page(found)).map_err(cannot)?;
    let drawn = picture::draw(&found.series, &out.join("study.svg"));
    drawn.map_err(|words| Error::refused(format!("the picture: {words}")))?;
    Ok(file)
}

/// The figures and the verdict, for the terminal.
pub fn summary(found: &Found) -> String {
    let mut text = table(found);
    text.push('\n');
    text.push_str(&figures(found));
    for words in &found.broken {
        let _ = write!(text, "\nBROKEN: {words}");
    }
    let verdict = if found.broken.is_empty() {
        "verdict: the column is renamed, and no request failed"
    } else {
        "verdict: NOT as promised"
    };
    let _ = write!(text, "\n\n{verdict}");
    text
}

fn page(found: &Found) -> String {
    let Found { options, .. } = found;
    let verdict = if found.broken.is_empty() {
        "**No request failed.**".to_owned()
    } else {
        format!("**Not as promised**: {}.", found.broken.join("; "))
    };
    format!(
        "# A column is renamed under load\n\n\
         The shop's table `users` has {rows} rows, and its clients send {rate} requests a second, each \
         over a new connection, 99 reads for 11 writes. `name` becomes `full_name`: v2 adds the column \
         and writes both, a backfill fills it, a flag lets v2 read it for 1%, 5%, 25% and all of the users, v3 \
         reads it without the flag, v4 forgets the old one, and the contract \
         drops it after an approval. All of it is plain SQL, run by `stepgate-sql`, and every release \
         goes out by canary, 25% and 100%.\n\n{verdict}\n\n\
         ![Requests, latency, waits for locks and rows over time](study.svg)\n\n\
         ```\n{table}```\n\n\
         Latencies of a stretch are those of its worst second. The database was asked for waits twice a \
         second.\n\n```\n{figures}\n```\n\n\
         Measured on {machine}, which runs everything: the cluster, PostgreSQL, the shop and its \
         clients. `make study` does it again (`ROWS=`, `RATE=`).\n",
        rows = options.rows,
        rate = options.rate,
        table = table(found),
        figures = figures(found),
        machine = machine(),
    )
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let gib = kib.unwrap_or_default() >> 20;
    format!("a machine of {cores} cores and {gib} GiB")
}

fn table(found: &Found) -> String {
    let series = &found.series;
    let mut text = format!(
        "{:20} {:>8} {:>9} {:>7} {:>8} {:>8} {:>8}\n",
        "", "seconds", "requests", "failed", "p50 ms", "p95 ms", "max ms"
    );
    let quiet = series.bands.first().map_or(series.length, |band| band.from);
    row(&mut text, "before", quiet, std::iter::once(&series.before));
    for band in &series.bands {
        row(
            &mut text,
            &band.what,
            band.to - band.from,
            series.during(band),
        );
    }
    row(
        &mut text,
        "all",
        series.length,
        std::iter::once(&series.total),
    );
    text
}

/// Percentiles of several seconds are those of the worst second.
fn row<'s>(text: &mut String, name: &str, seconds: f64, sums: impl Iterator<Item = &'s Summary>) {
    let mut all = Summary::default();
    for sum in sums {
        all.sent += sum.sent;
        all.failed += sum.failed;
        all.p50_ms = all.p50_ms.max(sum.p50_ms);
        all.p95_ms = all.p95_ms.max(sum.p95_ms);
        all.max_ms = all.max_ms.max(sum.max_ms);
    }
    let _ = writeln!(
        text,
        "{name:20} {seconds:>8.0} {:>9} {:>7} {:>8.1} {:>8.1} {:>8.1}",
        all.sent, all.failed, all.p50_ms, all.p95_ms, all.max_ms
    );
}

fn figures(found: &Found) -> String {
    let series = &found.series;
    let backfill = series.seconds_of("v2 backfill");
    let filled = found.rows_before as f64;
    format!(
        "{} rows were filled in {backfill:.0} s, {:.0} a second; {} rows at the end\n\
         the longest that a user was seen waiting for a lock: {:.0} ms (limit {:.0} ms)",
        found.rows_before,
        filled / backfill.max(1.0),
        found.rows_after,
        series.longest_wait * 1000.0,
        LONGEST_WAIT.as_secs_f64() * 1000.0,
    )
}
