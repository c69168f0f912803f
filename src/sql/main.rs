//! Runs the SQL of a schema change as a careful DBA would: short locks, a ledger, batches, proofs.

#[macro_use]
mod report;

mod apply;
mod backfill;
mod backoff;
mod failure;
mod ledger;
mod lint;
mod online;
mod order;
mod pooler;
mod preflight;
mod progress;
mod recorded;
mod runner;
mod script;
mod session;
mod split;
mod table;
mod target;
mod watch;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    failure::Failure,
    order::{Order, Phase, Transaction},
    progress::Shared,
    runner::Runner,
    script::Script,
    target::Target,
};

/// Runs the SQL of a schema change for Stepgate.
#[derive(Parser)]
#[command(name = "stepgate-sql", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Carries out one order. Exit status: 0 done, 75 nothing applied (try again), 76 told to end (go on in another process), 64 nothing applied (somebody has to act), 65 the same (rows are not filled in), 66 the same (the ledger disagrees), 1 failed.
    Run(Run),
    /// Tells how files would be run, without a database. Exit status: 64 if one is refused.
    Split {
        /// Files of SQL.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Judges SQL for another process of this program, within limits.
    #[command(hide = true, name = stepgate_lint_child::SUBCOMMAND)]
    LintChild,
}

#[derive(Args)]
struct Run {
    /// The order, as JSON.
    #[arg(
        long,
        env = "STEPGATE_PHASE",
        hide_env_values = true,
        default_value = ""
    )]
    order: String,
    /// A file with the order, instead.
    #[arg(long, conflicts_with = "order")]
    order_file: Option<PathBuf>,
    /// The connection, as a URI. In the environment, so that no list of processes shows it.
    #[arg(
        env = "STEPGATE_DATABASE_URL",
        hide_env_values = true,
        long,
        default_value = ""
    )]
    database_url: String,
    /// Certificate authorities in PEM (default: the system's).
    #[arg(long, env = "STEPGATE_DATABASE_CA")]
    ca: Option<PathBuf>,
    /// Where the report is written.
    #[arg(long, default_value = "/dev/termination-log")]
    report: PathBuf,
    /// Where progress is told over HTTP, as `[::]:8080`.
    #[arg(long, env = "STEPGATE_PROGRESS")]
    progress: Option<SocketAddr>,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => ExitCode::from(carry_out(run)),
        Command::Split { files } => show(&files),
        Command::LintChild => match stepgate_lint_child::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}

fn carry_out(run: Run) -> u8 {
    let report = run.report.clone();
    match prepare(&run) {
        Ok((order, scripts, target)) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(play(order, scripts, target, run)),
                Err(error) => {
                    say!("no runtime: {error}");
                    75
                }
            }
        }
        Err(refusal) => {
            let (order, failure) = *refusal;
            say!("{failure}");
            let Some(order) = order else {
                let document = serde_json::json!({"result": "BadInput", "reason": failure.reason, "message": failure.message});
                let _ = fs::write(&report, document.to_string());
                return 64;
            };
            let account = report::Report::new(&order);
            let result = Err(failure);
            account.write(&report, &result);
            account.exit(&result)
        }
    }
}

type Prepared = (Order, Vec<Script>, Target);

/// An order with its further parts: one variable takes 128 KiB at most.
fn whole(first: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut whole = first.to_owned();
    let parts = (2..).map_while(|part| variable(&format!("STEPGATE_PHASE_{part}")));
    whole.extend(parts);
    whole
}

/// Everything that can be wrong without a database.
fn prepare(run: &Run) -> Result<Prepared, Box<(Option<Order>, Failure)>> {
    let bare = |failure| Box::new((None, failure));
    let text = match &run.order_file {
        Some(path) => fs::read_to_string(path).map_err(|error| {
            bare(Failure::bad_input(
                "BadOrder",
                format!("{}: {error}", path.display()),
            ))
        })?,
        None => whole(&run.order, |name| std::env::var(name).ok()),
    };
    if text.is_empty() {
        return Err(bare(Failure::bad_input(
            "BadOrder",
            "there is no order: STEPGATE_PHASE is empty",
        )));
    }
    let order = Order::parse(&text).map_err(bare)?;
    let rest = || {
        for batch in &order.batches {
            table::check(batch)?;
        }
        for proof in &order.proofs {
            table::check_where(&format!("proofs[{}]", proof.name), &proof.r#where)?;
        }
        // Those that are only looked at come last.
        let mut scripts = order
            .files
            .iter()
            .chain(&order.upcoming)
            .map(Script::read)
            .collect::<Result<Vec<_>, _>>()?;
        lint::check(&order, &mut scripts)?;
        if run.database_url.is_empty() {
            return Err(Failure::bad_input(
                "BadUri",
                "there is no connection: STEPGATE_DATABASE_URL is empty. Is the Secret there, with this key?",
            ));
        }
        Ok((scripts, Target::read(&run.database_url, run.ca.as_deref())?))
    };
    match rest() {
        Ok((scripts, target)) => Ok((order, scripts, target)),
        Err(failure) => Err(Box::new((Some(order), failure))),
    }
}

async fn play(order: Order, scripts: Vec<Script>, target: Target, run: Run) -> u8 {
    let progress = Shared::new(&order);
    if let Some(address) = run.progress {
        let progress = progress.clone();
        tokio::spawn(async move {
            if let Err(error) = progress.serve(address).await {
                say!("progress cannot be told on {address}: {error}");
            }
        });
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            return;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        say!("told to end: what runs is cancelled");
        stop.send_replace(true);
        // The receivers live as long as somebody sends.
        std::future::pending::<()>().await;
    });
    say!(
        "{} of version {} for {}/{}, revision {}, attempt {}",
        order.phase,
        order.version,
        order.namespace,
        order.rollout,
        order.revision,
        order.attempt
    );
    let mut runner = Runner::new(order, target, progress, stopped);
    let result = phase(&mut runner, &scripts).await;
    match &result {
        Ok(()) => say!("done"),
        Err(failure) => say!("{}: {failure}", failure.reason),
    }
    runner.report.write(&run.report, &result);
    runner.report.exit(&result)
}

async fn phase(runner: &mut Runner, scripts: &[Script]) -> Result<(), Failure> {
    match runner.order.phase {
        Phase::Preflight => preflight::run(runner, scripts).await,
        Phase::Backfill => {
            apply::files(runner, scripts).await?;
            backfill::run(runner).await
        }
        Phase::Contract => {
            let proofs = runner.order.proofs.clone();
            backfill::prove(runner, &proofs).await?;
            apply::files(runner, scripts).await
        }
        Phase::Expand | Phase::Revert => apply::files(runner, scripts).await,
    }
}

fn show(files: &[PathBuf]) -> ExitCode {
    let mut refused = false;
    for path in files {
        match split_file(path) {
            Ok(script) => {
                let how = if script.whole {
                    "one transaction"
                } else {
                    "statement by statement"
                };
                say!(
                    "{}: {} statements, {how}",
                    path.display(),
                    script.statements.len()
                );
                for (at, statement) in script.statements.iter().enumerate() {
                    let first = statement.text.lines().next().unwrap_or_default();
                    say!(
                        "  {}  {}",
                        script.place(at),
                        first.chars().take(80).collect::<String>()
                    );
                }
            }
            Err(failure) => {
                refused = true;
                say!("{failure}");
            }
        }
    }
    ExitCode::from(if refused { 64 } else { 0 })
}

fn split_file(path: &Path) -> Result<Script, Failure> {
    let bytes = fs::read(path).map_err(|error| {
        Failure::bad_input("FileMissing", format!("{}: {error}", path.display()))
    })?;
    Script::parse(
        &path.display().to_string(),
        &bytes,
        Transaction::Auto,
        String::new(),
    )
}
