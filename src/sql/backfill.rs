//! Fills rows in batches, each committed with its checkpoint, until a count proves that none is
//! left.

use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    apply::milliseconds,
    backoff::Backoff,
    failure::Failure,
    ledger,
    order::{Batch, Proof},
    report::Step,
    runner::Runner,
    script::hexadecimal,
    table::{Walk, count, resolve},
    watch::Lag,
};

/// The first batch; the next ones follow the time it took.
const FIRST: i64 = 500;
/// Processes that began one after the other without progress before that counts as one long stall: a
/// node may be away for long.
const KILLED: i32 = 3;
/// So many passes may find as many rows as the one before, although they filled some.
const USELESS: i32 = 5;

/// Where a batch's walk stands, as the ledger has it.
struct State {
    position: Option<Vec<String>>,
    pass: i32,
    rows_done: i64,
    rows_in_pass: i64,
    at_start: i64,
    left_before: Option<i64>,
    useless: i32,
}

/// Fills all batches, in their order.
pub async fn run(runner: &mut Runner) -> Result<(), Failure> {
    runner.moved();
    let (processes, since) = runner
        .persist(async |runner| {
            let order = runner.order.clone();
            ledger::start(runner.client()?, &order).await
        })
        .await?;
    if processes >= KILLED {
        runner.has_stalled_for(since)?;
    }
    for (index, batch) in runner.order.batches.clone().iter().enumerate() {
        runner.progress.turn_to(index + 1);
        fill(runner, batch).await?;
    }
    Ok(())
}

async fn fill(runner: &mut Runner, batch: &Batch) -> Result<(), Failure> {
    let began = Instant::now();
    let mut rows = runner
        .persist(async |runner| begin(runner, batch).await)
        .await?;
    let before = rows;
    let mut size = FIRST.min(batch.max_rows);
    loop {
        pass(runner, batch, &mut size, &mut rows).await?;
        let left = runner
            .persist(async |runner| end(runner, batch).await)
            .await?;
        runner.moved();
        let Some(left) = left else { break };
        say!("{}: {left} rows are left for another pass", batch.name);
    }
    runner.report.step(Step {
        what: batch.name.clone(),
        milliseconds: Some(milliseconds(began)),
        rows: Some(rows - before),
        note: Some("filled, and no row is left"),
    });
    runner
        .report
        .proofs
        .push(json!({"name": batch.name, "left": 0, "rows": rows}));
    Ok(())
}

/// The ledger's entry, made or found; how many rows were done before.
async fn begin(runner: &mut Runner, batch: &Batch) -> Result<i64, Failure> {
    let order = runner.order.clone();
    Walk::plan(runner.client()?, batch).await?;
    let text = serde_json::to_string(&json!([batch.table, batch.key, batch.set, batch.r#where]))
        .unwrap_or_default();
    let digest = hexadecimal(&Sha256::digest(text.as_bytes()));
    runner
        .client()?
        .execute(
            "INSERT INTO stepgate.batches (version, name, digest, changed) VALUES ($1, $2, $3, '-infinity') \
             ON CONFLICT (version, name) DO UPDATE SET digest = excluded.digest, position = NULL, pass = 1, \
               rows_done = 0, rows_in_pass = 0, rows_at_start = NULL, left_before = NULL, useless_passes = 0, proved = NULL \
             WHERE batches.digest <> excluded.digest",
            &[&order.version, &batch.name, &digest],
        )
        .await?;
    // What was proved may have been undone since: older code wrote. It is walked from the start.
    runner
        .client()?
        .execute(
            "UPDATE stepgate.batches SET position = NULL, rows_in_pass = 0, left_before = NULL, useless_passes = 0, proved = NULL \
             WHERE version = $1 AND name = $2 AND proved IS NOT NULL",
            &[&order.version, &batch.name],
        )
        .await?;
    let state = read(runner, batch).await?;
    let total = match state {
        Some(state) if state.at_start > 0 => state.at_start,
        _ => {
            let total = remaining(
                runner,
                &format!("batches[{}]", batch.name),
                &batch.table,
                &batch.r#where,
            )
            .await?;
            runner
                .client()?
                .execute(
                    "UPDATE stepgate.batches SET rows_at_start = rows_done + $3 WHERE version = $1 AND name = $2",
                    &[&order.version, &batch.name, &total],
                )
                .await?;
            total
        }
    };
    let done = read(runner, batch)
        .await?
        .map_or(0, |state| state.rows_done);
    runner.progress.begin(&batch.name, done, total.max(done));
    Ok(done)
}

async fn read(runner: &Runner, batch: &Batch) -> Result<Option<State>, Failure> {
    let row = runner
        .client()?
        .query_opt(
            "SELECT position, pass, rows_done, rows_in_pass, coalesce(rows_at_start, 0), left_before, useless_passes \
             FROM stepgate.batches WHERE version = $1 AND name = $2",
            &[&runner.order.version, &batch.name],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(State {
        position: row.try_get(0)?,
        pass: row.try_get(1)?,
        rows_done: row.try_get(2)?,
        rows_in_pass: row.try_get(3)?,
        at_start: row.try_get(4)?,
        left_before: row.try_get(5)?,
        useless: row.try_get(6)?,
    }))
}

async fn remaining(
    runner: &mut Runner,
    field: &str,
    table: &str,
    condition: &str,
) -> Result<i64, Failure> {
    let (_, table, _) = resolve(runner.client()?, field, table).await?;
    let query = count(&table, condition);
    let row = runner
        .watched(async |client| client.query_one(&query, &[]).await)
        .await
        .map_err(|failure| failure.to(&format!("{field}.where")))?;
    Ok(row.try_get(0)?)
}

/// Walks from the ledger's position to the table's end.
async fn pass(
    runner: &mut Runner,
    batch: &Batch,
    size: &mut i64,
    rows: &mut i64,
) -> Result<(), Failure> {
    let goal = f64::from(runner.order.limits.batch_ms) / 1000.0;
    let mut lag = Instant::now().checked_sub(Duration::from_secs(60));
    loop {
        if lag.is_none_or(|when| when.elapsed() > Duration::from_secs(1)) {
            keep_up(runner).await?;
            lag = Some(Instant::now());
        }
        let began = Instant::now();
        let visited = *size;
        let result = runner
            .persist(async |runner| one(runner, batch, visited).await)
            .await?;
        let took = began.elapsed().as_secs_f64();
        *rows = result.rows_done;
        runner.moved();
        runner.progress.moved(result.pass, result.rows_done);
        if result.end {
            return Ok(());
        }
        let fitting = visited as f64 * (goal / took.max(0.001)).clamp(0.5, 2.0);
        *size = (fitting as i64).clamp(1, batch.max_rows);
    }
}

struct Moved {
    end: bool,
    pass: i32,
    rows_done: i64,
}

/// One batch. Where others have rows of it locked, those are passed over.
async fn one(runner: &mut Runner, batch: &Batch, visited: i64) -> Result<Moved, Failure> {
    match change(runner, batch, visited, false).await {
        Err(failure) if failure.reason == "LockTimeout" => {
            runner.client()?.batch_execute("ROLLBACK").await?;
            change(runner, batch, visited, true).await
        }
        result => result,
    }
}

/// A batch and its checkpoint, in one transaction.
async fn change(
    runner: &mut Runner,
    batch: &Batch,
    visited: i64,
    pass_over: bool,
) -> Result<Moved, Failure> {
    let Some(state) = read(runner, batch).await? else {
        return Err(Failure::fatal(
            "LedgerDisagrees",
            "the ledger's entry of this batch is gone: retry",
        ));
    };
    let session = runner.session()?;
    let walk = match &session.walk {
        Some((name, walk)) if *name == batch.name => walk.clone(),
        _ => {
            let walk = std::rc::Rc::new(Walk::plan(runner.client()?, batch).await?);
            runner.session_mut()?.walk = Some((batch.name.clone(), walk.clone()));
            walk
        }
    };
    // The plan that suits few rows of a known range, whatever the statistics say.
    runner
        .client()?
        .batch_execute(
            "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
             SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
        )
        .await?;
    let changes = if pass_over {
        &walk.change_free
    } else {
        // What is changed already stays locked while it waits.
        runner
            .client()?
            .batch_execute("SET LOCAL lock_timeout = 50")
            .await?;
        &walk.change
    };
    let (from, skip) = (state.position, visited - 1);
    let row = runner
        .watched(async |client| match &from {
            Some(from) => client.query_opt(&walk.bound[1], &[from, &skip]).await,
            None => client.query_opt(&walk.bound[0], &[&skip]).await,
        })
        .await?;
    let to: Option<Vec<String>> = row.map(|row| row.try_get(0)).transpose()?;
    let row = runner
        .watched(async |client| match (&from, &to) {
            (None, None) => client.query_one(&changes[0][0], &[]).await,
            (None, Some(to)) => client.query_one(&changes[0][1], &[to]).await,
            (Some(from), None) => client.query_one(&changes[1][0], &[from]).await,
            (Some(from), Some(to)) => client.query_one(&changes[1][1], &[from, to]).await,
        })
        .await
        .map_err(|failure| failure.to(&format!("batches[{}]", batch.name)))?;
    let (changed, still): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if still > 0 {
        return Err(Failure::fatal(
            "NeverEmpties",
            format!(
                "batches[{}]: after `set`, `where` still holds for {still} of {changed} rows, so no pass would ever be \
                 the last. The batch was rolled back. `set`, or a trigger, has to make `where` false",
                batch.name
            ),
        ));
    }
    runner
        .client()?
        .execute(
            "UPDATE stepgate.batches SET position = coalesce($3, position), rows_done = rows_done + $4, \
               rows_in_pass = rows_in_pass + $4, changed = pg_catalog.now() WHERE version = $1 AND name = $2",
            &[&runner.order.version, &batch.name, &to, &changed],
        )
        .await?;
    runner.commit().await?;
    Ok(Moved {
        end: to.is_none(),
        pass: state.pass,
        rows_done: state.rows_done + changed,
    })
}

/// After a pass: counts what is left. Nothing is the proof.
async fn end(runner: &mut Runner, batch: &Batch) -> Result<Option<i64>, Failure> {
    let field = format!("batches[{}]", batch.name);
    let left = remaining(runner, &field, &batch.table, &batch.r#where).await?;
    let Some(state) = read(runner, batch).await? else {
        return Err(Failure::fatal(
            "LedgerDisagrees",
            "the ledger's entry of this batch is gone: retry",
        ));
    };
    let refilled = state.rows_in_pass > 0 && state.left_before.is_some_and(|before| left >= before);
    let useless = if refilled { state.useless + 1 } else { 0 };
    runner
        .client()?
        .execute(
            "UPDATE stepgate.batches SET position = NULL, pass = pass + 1, rows_in_pass = 0, left_before = $3::bigint, \
               changed = pg_catalog.now(), useless_passes = $4, proved = CASE WHEN $3::bigint = 0 THEN pg_catalog.now() END WHERE version = $1 AND name = $2",
            &[&runner.order.version, &batch.name, &left, &useless],
        )
        .await?;
    if left == 0 {
        return Ok(None);
    }
    if useless >= USELESS {
        return Err(Failure::fatal(
            "NeverEmpties",
            format!(
                "{field}: rows for which `where` holds appear as fast as they are filled ({left} are left after pass {}). \
                 Code that runs still writes them: let the new code, or a trigger, fill the column when it writes",
                state.pass
            ),
        ));
    }
    if state.rows_in_pass == 0 {
        wait(runner, batch, left, state.pass).await?;
    }
    Ok(Some(left))
}

/// A pass filled nothing, and rows are left: others have them locked.
async fn wait(runner: &mut Runner, batch: &Batch, left: i64, pass: i32) -> Result<(), Failure> {
    let row = runner
        .client()?
        .query_opt(
            "SELECT pid, coalesce(application_name, '?'), \
               pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - xact_start)::bigint \
             FROM pg_catalog.pg_stat_activity \
             WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND xact_start IS NOT NULL \
             ORDER BY xact_start LIMIT 1",
            &[],
        )
        .await?;
    let who = match row {
        Some(row) => format!(
            "The oldest transaction: pid {}, `{}`, {} s",
            row.try_get::<_, i32>(0)?,
            row.try_get::<_, String>(1)?,
            row.try_get::<_, i64>(2)?
        ),
        None => "Its transaction cannot be seen by this role".into(),
    };
    let text = format!("{}: {left} rows are locked by others. {who}", batch.name);
    say!("{text}");
    runner.progress.pause(Some(text));
    let mut backoff = Backoff::default();
    for _ in 1..pass.min(5) {
        backoff.next_pause();
    }
    runner.rest(backoff.next_pause()).await?;
    runner.progress.pause(None);
    Ok(())
}

/// Waits until the replicas have followed.
async fn keep_up(runner: &mut Runner) -> Result<(), Failure> {
    let limit = f64::from(runner.order.limits.max_lag_seconds);
    if limit == 0.0 {
        return Ok(());
    }
    let mut said = false;
    loop {
        let lag = runner
            .persist(async |runner| runner.watch_mut()?.lag().await)
            .await?;
        match lag {
            Lag::Hidden => return Err(hidden()),
            Lag::Seconds(seconds) if seconds <= limit => {
                if said {
                    say!("replication has followed: the batches go on");
                    runner.progress.pause(None);
                }
                return Ok(());
            }
            Lag::Seconds(seconds) => {
                let text = format!(
                    "replication is {seconds:.0} s behind (maxLagSeconds {limit}): the batches wait"
                );
                if !said {
                    say!("{text}");
                    said = true;
                }
                runner.progress.pause(Some(text));
                runner.rest(Duration::from_millis(500)).await?;
            }
        }
    }
}

/// The role does not see how far replicas are.
pub fn hidden() -> Failure {
    Failure::fatal(
        "LagUnreadable",
        "this role may not see how far replication is behind: GRANT pg_monitor TO the role of the connection, or \
         switch the limit off with `maxLagSeconds: 0`",
    )
}

/// Counts again what a backfill has filled, before anything is removed. Once something of the
/// contract is committed the columns may be gone; they were counted before that.
pub async fn prove(runner: &mut Runner, proofs: &[Proof]) -> Result<(), Failure> {
    if proofs.is_empty() {
        return Ok(());
    }
    let begun = runner
        .persist(async |runner| {
            let order = runner.order.clone();
            ledger::anything(runner.client()?, &order).await
        })
        .await?;
    if begun {
        say!("the proofs are not counted again: something of this contract is committed");
        return Ok(());
    }
    for proof in proofs {
        let began = Instant::now();
        let left = runner
            .persist(async |runner| {
                remaining(
                    runner,
                    &format!("proofs[{}]", proof.name),
                    &proof.table,
                    &proof.r#where,
                )
                .await
            })
            .await?;
        runner
            .report
            .proofs
            .push(json!({"name": proof.name, "left": left}));
        if left > 0 {
            return Err(Failure::fatal(
                "ProofFailed",
                format!(
                    "proof {}: {left} rows of {} are not filled, so nothing was removed. They were written after the \
                     backfill: see that nothing writes such rows any more, then retry: the backfill runs once more first",
                    proof.name, proof.table
                ),
            ));
        }
        runner.report.step(Step {
            what: format!("proof {}", proof.name),
            milliseconds: Some(milliseconds(began)),
            rows: None,
            note: Some("no row is left to fill"),
        });
    }
    Ok(())
}
