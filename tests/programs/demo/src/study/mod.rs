//! `make study`: a column is renamed over millions of rows, under load, from the first expand over the flag
//! by which the new one is read to the contract. Nothing may fail.

mod page;
mod picture;
mod sampler;
mod series;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use stepgate::api::flags::FlagState;
use stepgate::api::{PhaseKind, RolloutStatus};
use testbed::traffic::Traffic;
use testbed::view::State;
use testbed::{Error, Namespace, Result, postgres, reach};

use crate::Arguments;
use crate::release::{Seen, Stage};
use sampler::Sampler;
use series::Series;
use testbed::way::{SHOP, Way};

/// The database with room for the rows.
const DATABASE: [&str; 2] = ["database-large", "service"];
/// The longest that a phase over all rows may take.
const LONGEST: Duration = Duration::from_secs(900);
/// How long it is looked on before the first change and after the last.
const QUIET: Duration = Duration::from_secs(15);
/// No user may wait longer for a lock.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What is studied.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Rows of the table.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// Requests per second.
    #[arg(long, default_value_t = 1000)]
    pub rate: u32,
    /// Folder for the page and its picture.
    #[arg(long, env = "OUT", default_value = "target/study")]
    pub out: PathBuf,
}

/// What was found.
pub struct Found {
    options: Options,
    series: Series,
    /// What was not as promised.
    broken: Vec<String>,
    rows_before: u64,
    rows_after: u64,
}

/// Plays it on a cluster that is there, and writes the page.
///
/// # Errors
/// When something needed is not there.
pub async fn play(
    arguments: &Arguments,
    options: &Options,
    namespace: &Namespace,
) -> Result<ExitCode> {
    println!(
        "PostgreSQL and the shop's Service, in namespace {}",
        namespace.name()
    );
    namespace.add_shop_parts(&DATABASE).await?;
    let mut stage = Stage::new(namespace, Way::Canary);
    let opened = stage
        .apply("v1", "v1: it knows the column `name` alone")
        .await?;
    stage.follow("pods in the Service", State::serves).await?;
    let aside = format!("{} rows are written", options.rows);
    stage.screen.aside(&aside);
    fill(namespace, options.rows).await?;
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => reach::service(namespace, SHOP).await?,
    };
    stage.traffic = Some(Traffic::start(&url, options.rate)?);
    let sampler = Sampler::start(namespace)?;
    stage.screen.aside(&format!(
        "clients begin: {} requests a second to {url}, each over a new connection",
        options.rate
    ));
    stage.finish(&opened).await?;
    let began = SystemTime::now();
    rest(&mut stage, QUIET).await?;

    let before = count(namespace, "SELECT count(*) FROM users").await?;
    let mut broken = rename(&mut stage).await?;
    rest(&mut stage, QUIET).await?;
    let ended = SystemTime::now();

    let mut traffic = stage
        .traffic
        .take()
        .ok_or_else(|| Error::refused("there was no traffic"))?;
    traffic.settled(ended).await?;
    let records = traffic.stop().await?;
    let samples = sampler.stop().await?;
    let versions = namespace.view.read(|state| state.versions.clone());
    let series = Series::of(began, ended, &records, &samples, &versions);
    let after = count(
        namespace,
        "SELECT count(*) FROM users WHERE full_name IS NOT NULL",
    )
    .await?;
    let all = count(namespace, "SELECT count(*) FROM users").await?;
    if after != all {
        broken.push(format!("{} rows have no full_name", all - after));
    }
    if series.total.failed > 0 {
        broken.push(format!("{} requests failed", series.total.failed));
    }
    let least = f64::from(options.rate) * 0.95;
    if series.rate() < least {
        broken.push(format!(
            "only {:.0} requests a second were sent",
            series.rate()
        ));
    }
    if series.longest_wait > LONGEST_WAIT.as_secs_f64() {
        broken.push(format!(
            "a user waited {:.1} s for a lock",
            series.longest_wait
        ));
    }
    let found = Found {
        options: options.clone(),
        series,
        broken,
        rows_before: before,
        rows_after: all,
    };
    let page = page::write(&found)?;
    println!("\n{}", page::summary(&found));
    println!("the page: {}", page.display());
    Ok(ExitCode::from(u8::from(!found.broken.is_empty())))
}

/// v2, its backfill, its flag, v3, v4, its contract; what was not as promised.
async fn rename(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    postgres::connection(stage.namespace, "shop").await?;
    for (name, title) in [
        (
            "v2",
            "v2: full_name is added; both columns are written, `name` is read",
        ),
        ("v3", "v3: full_name is read"),
        ("v4", "v4: `name` is no longer known; then it is dropped"),
    ] {
        let folder = format!("tests/programs/shop/manifests/sql/{name}");
        let opened = stage.apply_folder(name, &folder, title).await?;
        let seen = stage.finish(&opened).await?;
        broken.extend(not_released(&seen));
        if name == "v2" {
            let done = |status: &RolloutStatus| has_ended(status, PhaseKind::Backfill);
            stage
                .follow_within("its backfill", LONGEST, |state| done(&state.status(SHOP)))
                .await?;
            flag(stage).await?;
        }
    }
    let waits = |state: &State| approval(&state.status(SHOP)).is_some();
    stage
        .follow_within("a contract that waits for its approval", LONGEST, waits)
        .await?;
    let target = stage
        .namespace
        .view
        .read(|state| approval(&state.status(SHOP)));
    let target = target.ok_or_else(|| Error::refused("the contract has gone on by itself"))?;
    rest(stage, QUIET).await?;
    approve(stage, &target).await?;
    let done = |status: &RolloutStatus| has_ended(status, PhaseKind::Contract);
    stage
        .follow_within("its contract", LONGEST, |state| done(&state.status(SHOP)))
        .await?;
    let left = "SELECT count(*) FROM information_schema.columns \
                WHERE table_name = 'users' AND column_name = 'name'";
    if count(stage.namespace, left).await? != 0 {
        broken.push("the column `name` is still there".to_owned());
    }
    Ok(broken)
}

/// The flag by which v2 reads the new column goes up to everybody.
async fn flag(stage: &mut Stage<'_>) -> Result<()> {
    let rights = ["apply", "-f", "deploy/roles/flags.yaml"];
    stage.namespace.kubectl(&rights).await?;
    let folder = "tests/programs/shop/manifests/sql/v2-flag";
    let title = "the flag: full_name is read for 1%, 5%, 25%, 100% of the users";
    stage.apply_folder("v2", folder, title).await?;
    let is_on = |state: &State| {
        let flags = state.status(SHOP).flags;
        flags.iter().any(|flag| flag.state == FlagState::On)
    };
    stage
        .follow_within("the flag of everybody", LONGEST, is_on)
        .await
}

fn not_released(seen: &Seen) -> Option<String> {
    let ended = seen.ended.as_ref();
    let good = ended.is_some_and(|e| e.outcome == stepgate::api::status::Outcome::Stable);
    (!good).then(|| {
        let why = ended.map_or("it has no end", |e| e.message.as_str());
        format!("{} is not stable: {why}", seen.name)
    })
}

fn has_ended(status: &RolloutStatus, phase: PhaseKind) -> bool {
    let schema = status.schema.as_ref();
    schema.is_some_and(|s| s.phase == phase && s.state == "Succeeded")
}

/// What is to be approved, as the message has it: `version/phase/digest`.
fn approval(status: &RolloutStatus) -> Option<String> {
    let message = &status.schema.as_ref()?.message;
    if !message.starts_with("waits for: an approval") {
        return None;
    }
    let (_, command) = message.split_once("stepgate.io/approve=")?;
    Some(
        command
            .trim_start_matches('"')
            .split(' ')
            .next()?
            .to_owned(),
    )
}

async fn approve(stage: &mut Stage<'_>, target: &str) -> Result<()> {
    let annotation = postgres::approve(stage.namespace, "shop", target, "study").await?;
    stage.screen.aside(&format!(
        "$ kubectl annotate databaseschema shop \"{annotation}\""
    ));
    Ok(())
}

/// Shows what happens for so long.
async fn rest(stage: &mut Stage<'_>, time: Duration) -> Result<()> {
    let until = SystemTime::now() + time;
    while let Ok(left) = until.duration_since(SystemTime::now()) {
        stage
            .follow_for(left.min(Duration::from_millis(500)))
            .await?;
    }
    Ok(())
}

/// Rows, and what the planner knows of them.
async fn fill(namespace: &Namespace, rows: u64) -> Result<()> {
    let insert =
        format!("INSERT INTO users (name) SELECT 'User ' || n FROM generate_series(101, {rows}) n");
    postgres::query(namespace, &insert).await?;
    postgres::query(namespace, "VACUUM ANALYZE users")
        .await
        .map(drop)
}

async fn count(namespace: &Namespace, query: &str) -> Result<u64> {
    let text = postgres::query(namespace, query).await?;
    let number = text.parse();
    number.map_err(|_| Error::refused(format!("{query} answered {text:?}")))
}
