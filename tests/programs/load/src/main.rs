//! `load report`: what the clients saw, per second and in total.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use load::{Record, Second, Summary, per_second};
use serde::Serialize;

/// Sums up the load generator's records.
#[derive(Parser)]
#[command(name = "load report")]
struct Arguments {
    /// The file that `load run` writes.
    file: PathBuf,
    /// Only requests sent at this time or later: seconds since 1970, with decimals.
    #[arg(long, value_name = "T", value_parser = time)]
    from: Option<SystemTime>,
    /// Only requests sent before this time.
    #[arg(long, value_name = "T", value_parser = time)]
    to: Option<SystemTime>,
    /// JSON in place of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    total: Summary,
    seconds: Vec<Second>,
}

fn time(text: &str) -> Result<SystemTime, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is no number of seconds"))?;
    let since = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    Ok(SystemTime::UNIX_EPOCH + since)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match report(&arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(arguments: &Arguments) -> Result<String, Box<dyn std::error::Error>> {
    let Arguments {
        file,
        from,
        to,
        json,
    } = arguments;
    let mut records = load::read(file)?;
    records.retain(|Record { at, .. }| {
        from.is_none_or(|from| *at >= from) && to.is_none_or(|to| *at < to)
    });
    let report = Report {
        total: Summary::of(&records),
        seconds: per_second(&records),
    };
    Ok(if *json {
        serde_json::to_string_pretty(&report)?
    } else {
        table(&report)
    })
}

fn table(report: &Report) -> String {
    let heads = ["sent", "failed", "p50 ms", "p95 ms", "p99 ms", "max ms"];
    let mut lines = vec![format!("{:<12}", "second")];
    for head in heads {
        lines[0].push_str(&format!("{head:>9}"));
    }
    for Second { second, summary } in &report.seconds {
        lines.push(row(&second.to_string(), summary));
    }
    lines.push(row("total", &report.total));
    lines.join("\n")
}

fn row(name: &str, sum: &Summary) -> String {
    let Summary {
        sent,
        failed,
        p50_ms,
        p95_ms,
        p99_ms,
        max_ms,
        ..
    } = sum;
    format!("{name:<12}{sent:>9}{failed:>9}{p50_ms:>9.1}{p95_ms:>9.1}{p99_ms:>9.1}{max_ms:>9.1}")
}
