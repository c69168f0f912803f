//! A backfill of a million rows by `stepgate-sql`, beside a loop of batches written by hand and one
//! plain `UPDATE`, each on a PostgreSQL that serves an application meanwhile.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use postgresql::Server;
use serde_json::json;
use testbed::{Error, Result, program};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::figure::{Figure, Section};
use crate::statistics::{max, median, percentile};

/// The application's sessions, and rows that each changes in a second, one in a transaction.
const SESSIONS: u64 = 8;
const RATE: u64 = 25;
/// How long it is measured before anything runs beside it.
const BEFORE: Duration = Duration::from_secs(10);
const SUPERUSER: &str = "bench";
/// Rows of a batch of the loop by hand.
const BY_HAND: u32 = 5000;

/// How the rows are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Runner,
    Loop,
    Update,
}

/// One filling.
#[derive(Clone, Debug)]
struct Run {
    seconds: f64,
    /// Milliseconds of the application's changes before, and meanwhile.
    before: Vec<f64>,
    meanwhile: Vec<f64>,
    /// The runner's most memory, in bytes.
    memory: Option<u64>,
}

impl Run {
    fn p95(&self) -> f64 {
        percentile(&self.meanwhile, 95)
    }

    fn worst(&self) -> f64 {
        max(&self.meanwhile)
    }
}

/// Fills so many rows, `runs` times in each way, in turns.
pub async fn measure(rows: u64, runs: u32) -> Result<Section> {
    const WAYS: [Way; 3] = [Way::Runner, Way::Loop, Way::Update];
    // It writes as a server does that may not forget.
    let settings = ["fsync = on", "shared_buffers = 256MB", "max_wal_size = 4GB"];
    let server = tokio::task::block_in_place(|| Server::start(SUPERUSER, &settings));
    let admin = connect(&server, "postgres").await?;
    run_sql(&admin, "CREATE DATABASE template_shop").await?;
    let template = connect(&server, "template_shop").await?;
    let table = format!(
        "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, full_name text);
         INSERT INTO users (id, name) SELECT n, 'user ' || n FROM generate_series(1, {rows}) AS n"
    );
    run_sql(&template, &table).await?;
    run_sql(&template, "VACUUM ANALYZE users").await?;
    drop(template);
    let mut measured: Vec<(Way, Run)> = Vec::new();
    for round in 0..runs as usize {
        for turn in 0..WAYS.len() {
            let way = WAYS[(round + turn) % WAYS.len()];
            let name = format!("shop_{round}_{turn}");
            copy(&admin, &name).await?;
            let run = fill(&server, &name, way, rows).await?;
            eprintln!(
                "{way:?}: {:.1} s, p95 {:.1} ms, worst {:.0} ms",
                run.seconds,
                run.p95(),
                run.worst()
            );
            measured.push((way, run));
            run_sql(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")).await?;
        }
    }
    Ok(section(rows, &measured))
}

/// A database as it was at first. The template's last session may not have gone yet.
async fn copy(admin: &Client, name: &str) -> Result<()> {
    let text = format!("CREATE DATABASE {name} TEMPLATE template_shop");
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = run_sql(admin, &text).await {
        if Instant::now() > until {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run_sql(admin, "CHECKPOINT").await
}

async fn fill(server: &Server, database: &str, way: Way, rows: u64) -> Result<Run> {
    let client = connect(server, database).await?;
    let (turn, turned) = watch::channel(Turn::Before);
    let mut sessions = JoinSet::new();
    for session in 0..SESSIONS {
        let client = connect(server, database).await?;
        sessions.spawn(serve(client, session, rows, turned.clone()));
    }
    tokio::time::sleep(BEFORE).await;
    let _ = turn.send(Turn::Meanwhile);
    let began = Instant::now();
    let filled = match way {
        Way::Runner => by_the_runner(server, database).await.map(Some),
        Way::Loop => run_sql(&client, &loop_by_hand(rows)).await.map(|()| None),
        Way::Update => run_sql(&client, "UPDATE users SET full_name = name")
            .await
            .map(|()| None),
    };
    let seconds = began.elapsed().as_secs_f64();
    let _ = turn.send(Turn::Over);
    let (mut before, mut meanwhile) = (Vec::new(), Vec::new());
    for served in sessions.join_all().await {
        let (first, then) = served?;
        before.extend(first);
        meanwhile.extend(then);
    }
    let memory = filled?;
    let query = "SELECT count(*) FROM users WHERE full_name IS NULL";
    let left: i64 = client
        .query_one(query, &[])
        .await
        .map_err(|error| cannot(query, &error))?
        .get(0);
    if left > 0 {
        return Err(Error::refused(format!("{way:?} has left {left} rows")));
    }
    Ok(Run {
        seconds,
        before,
        meanwhile,
        memory,
    })
}

/// What somebody writes into psql who knows not to hold locks for long.
fn loop_by_hand(rows: u64) -> String {
    format!(
        "DO $$ BEGIN
           FOR low IN 0..{rows} BY {BY_HAND} LOOP
             UPDATE users SET full_name = name
              WHERE id > low AND id <= low + {BY_HAND} AND full_name IS NULL;
             COMMIT;
           END LOOP;
         END $$"
    )
}

/// The runner, as in a Job; its most memory in bytes.
async fn by_the_runner(server: &Server, database: &str) -> Result<u64> {
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    let folder = tempfile::tempdir()
        .map_err(|error| Error::refused(format!("no folder for the report: {error}")))?;
    let order = json!({
        "namespace": "bench", "rollout": "shop", "revision": "bench", "database": "shop",
        "version": 2, "phase": "Backfill", "attempt": 1, "deadlineSeconds": 3600,
        "batches": [{"name": "names", "table": "public.users", "key": ["id"],
                     "set": "full_name = name", "where": "full_name IS NULL", "maxRows": BY_HAND}],
    });
    let port = server.port();
    let url = format!("postgres://{SUPERUSER}@127.0.0.1:{port}/{database}?sslmode=disable");
    let mut child = program::command(us.with_file_name("stepgate-sql"))
        .arg("run")
        .arg("--report")
        .arg(folder.path().join("report.json"))
        .env("STEPGATE_PHASE", order.to_string())
        .env("STEPGATE_DATABASE_URL", url)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| Error::refused(format!("stepgate-sql: {error}")))?;
    let status = child
        .id()
        .map(|pid| format!("/proc/{pid}/status"))
        .unwrap_or_default();
    let mut memory = 0;
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended,
            _ = look.tick() => memory = most_memory(Path::new(&status)).unwrap_or(memory),
        }
    };
    let ended = ended.map_err(|error| Error::refused(format!("stepgate-sql: {error}")))?;
    if !ended.success() {
        return Err(Error::refused(format!("stepgate-sql ended: {ended}")));
    }
    Ok(memory)
}

/// The most memory that a process had so far, in bytes.
fn most_memory(status: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Before,
    Meanwhile,
    Over,
}

/// The application: changes a row at a time, at a steady rate. A change counts from when it was
/// due, so that those that queue behind a long one count as users would feel it.
async fn serve(
    client: Client,
    session: u64,
    rows: u64,
    turn: watch::Receiver<Turn>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut before, mut meanwhile) = (Vec::new(), Vec::new());
    let text = "UPDATE users SET name = name WHERE id = $1";
    let change = client.prepare(text).await;
    let change = change.map_err(|error| cannot(text, &error))?;
    let mut clock = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    for number in (session..).step_by(SESSIONS as usize) {
        let due = clock.tick().await;
        let now = *turn.borrow();
        if now == Turn::Over {
            break;
        }
        // Scattered over the table, and the same in every run.
        let id = number.wrapping_mul(2_654_435_761) % rows + 1;
        let id = i64::try_from(id).unwrap_or(1);
        client
            .execute(&change, &[&id])
            .await
            .map_err(|error| cannot(text, &error))?;
        let took = due.elapsed().as_secs_f64() * 1e3;
        match now {
            Turn::Before => before.push(took),
            _ => meanwhile.push(took),
        }
    }
    Ok((before, meanwhile))
}

fn section(rows: u64, measured: &[(Way, Run)]) -> Section {
    let of = |way: Way, value: fn(&Run) -> f64| {
        let runs = measured.iter().filter(|(w, _)| *w == way);
        median(&runs.map(|(_, run)| value(run)).collect::<Vec<_>>())
    };
    let seconds: fn(&Run) -> f64 = |run| run.seconds;
    let ratio = of(Way::Runner, seconds) / of(Way::Loop, seconds);
    let before: Vec<f64> = measured
        .iter()
        .flat_map(|(_, r)| r.before.clone())
        .collect();
    let (usual, usual_worst) = (percentile(&before, 95), max(&before));
    let memory = measured.iter().filter_map(|(_, run)| run.memory).max();
    let memory = memory.unwrap_or(0);
    let wait = |way: Way| {
        format!(
            "p95 {:.1} ms, worst {:.0} ms",
            of(way, Run::p95),
            of(way, Run::worst)
        )
    };
    let runs = measured.len() / 3;
    Section {
        title: "Backfill",
        figures: vec![
            Figure::below(
                format!("Backfill of {rows} rows under load, beside a loop by hand"),
                (
                    ratio,
                    format!("{ratio:.2} × ({:.1} s)", of(Way::Runner, seconds)),
                ),
                (1.3, "1.3 ×"),
            ),
            Figure::below(
                "Changes of the application meanwhile, p95 beside before",
                {
                    let times = of(Way::Runner, Run::p95) / usual;
                    (
                        times,
                        format!("{times:.2} × ({:.1} ms)", of(Way::Runner, Run::p95)),
                    )
                },
                (1.5, "1.5 ×"),
            ),
            Figure::below(
                "Changes of the application meanwhile, worst beside before",
                {
                    let times = of(Way::Runner, Run::worst) / usual_worst;
                    (
                        times,
                        format!("{times:.2} × ({:.0} ms)", of(Way::Runner, Run::worst)),
                    )
                },
                (1.5, "1.5 ×"),
            ),
            Figure::told("The same, with the loop by hand", wait(Way::Loop)),
            Figure::told(
                "The same, with one plain UPDATE",
                format!("{}, {:.1} s", wait(Way::Update), of(Way::Update, seconds)),
            ),
            Figure::below(
                "Memory of the runner",
                (memory as f64, crate::memory::megabytes(memory)),
                (30e6, "30 MB"),
            ),
        ],
        notes: vec![format!(
            "A PostgreSQL of its own with fsync; {rows} rows of three columns; an application that \
             changes {} rows a second in {SESSIONS} sessions, one at a time, each counted from when it was due, {} s \
             before and as long as the rows are filled: p95 {usual:.1} ms, worst {usual_worst:.0} ms \
             before. The loop is a DO block of batches of {BY_HAND} rows by key with a COMMIT after \
             each, the runner has the same `maxRows`. Medians of {runs} runs, the ways in turns.",
            SESSIONS * RATE,
            BEFORE.as_secs()
        )],
    }
}

async fn connect(server: &Server, database: &str) -> Result<Client> {
    let address = server.socket(SUPERUSER, database);
    let connected = tokio_postgres::connect(&address, NoTls).await;
    let (client, connection) = connected.map_err(|error| cannot("connect", &error))?;
    tokio::spawn(connection);
    Ok(client)
}

async fn run_sql(client: &Client, text: &str) -> Result<()> {
    let done = client.batch_execute(text).await;
    done.map_err(|error| cannot(text, &error))
}

fn cannot(what: &str, error: &tokio_postgres::Error) -> Error {
    let what: String = what.chars().take(60).collect();
    Error::refused(format!("PostgreSQL: {what}: {error}"))
}
