//! Runs files: a whole one in a transaction with its entry in the ledger, or statement by
//! statement.

use std::time::Instant;

use crate::{
    failure::Failure,
    ledger, online,
    report::Step,
    runner::Runner,
    script::{Kind, Script},
};

/// Runs all files in their order; what the ledger has is not run again.
pub async fn files(runner: &mut Runner, scripts: &[Script]) -> Result<(), Failure> {
    for script in scripts {
        let began = Instant::now();
        let ran = if script.whole {
            whole(runner, script).await?
        } else {
            each(runner, script).await?
        };
        runner.report.step(Step {
            what: script.name.clone(),
            milliseconds: Some(milliseconds(began)),
            rows: None,
            note: Some(if ran { "done" } else { "was done before" }),
        });
        // What the file has set must not reach the next one.
        runner
            .persist(async |runner| {
                let order = runner.order.clone();
                runner.session_mut()?.settle(&order).await
            })
            .await?;
    }
    Ok(())
}

pub fn milliseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn whole(runner: &mut Runner, script: &Script) -> Result<bool, Failure> {
    let steps = runner
        .persist(async |runner| {
            let order = runner.order.clone();
            // After a COMMIT whose answer was lost, this tells what became of it.
            if ledger::progress(runner.client()?, &order, script).await?.1 {
                return Ok(None);
            }
            runner.client()?.batch_execute("BEGIN").await?;
            let mut steps = Vec::new();
            for (at, statement) in script.statements.iter().enumerate() {
                let began = Instant::now();
                let rows = runner
                    .execute(&statement.text)
                    .await
                    .map_err(|failure| placed(failure, script, at))?;
                steps.push(step(script, at, began, rows));
            }
            ledger::advance(runner.client()?, &order, script, script.statements.len()).await?;
            // Constraints that were deferred are checked here.
            runner
                .commit()
                .await
                .map_err(|failure| failure.to(&format!("{}: COMMIT", script.name)))?;
            Ok(Some(steps))
        })
        .await?;
    runner.report.applied = true;
    let ran = steps.is_some();
    for step in steps.into_iter().flatten() {
        runner.report.step(step);
    }
    Ok(ran)
}

async fn each(runner: &mut Runner, script: &Script) -> Result<bool, Failure> {
    let mut ran = false;
    for at in 0..script.statements.len() {
        let began = Instant::now();
        let rows = runner
            .persist(async |runner| {
                one(runner, script, at)
                    .await
                    .map_err(|failure| placed(failure, script, at))
            })
            .await?;
        runner.report.applied = true;
        if let Some(rows) = rows {
            ran = true;
            let step = step(script, at, began, rows);
            runner.report.step(step);
        }
    }
    Ok(ran)
}

/// One statement and its entry; nothing where the ledger has it.
async fn one(runner: &mut Runner, script: &Script, at: usize) -> Result<Option<u64>, Failure> {
    let order = runner.order.clone();
    if ledger::progress(runner.client()?, &order, script).await?.0 > at {
        return Ok(None);
    }
    prepare(runner, script, at).await?;
    let Some(statement) = script.statements.get(at) else {
        return Ok(None);
    };
    let rows = match &statement.kind {
        Kind::Plain | Kind::Validate => {
            runner.client()?.batch_execute("BEGIN").await?;
            if statement.kind == Kind::Validate {
                runner
                    .client()?
                    .batch_execute("SET LOCAL lock_timeout = 0")
                    .await?;
            }
            let rows = runner.execute(&statement.text).await?;
            ledger::advance(runner.client()?, &order, script, at + 1).await?;
            runner.commit().await?;
            return Ok(Some(rows));
        }
        Kind::Setting => runner.execute(&statement.text).await?,
        Kind::Outside => {
            ledger::intend(runner.client()?, &order, script, at).await?;
            runner.report.applied = true;
            let rows = online::unlimited(runner, &statement.text).await?;
            prepare(runner, script, at).await?;
            rows
        }
        Kind::Index(index) => {
            online::create(runner, script, at, index).await?;
            prepare(runner, script, at).await?;
            0
        }
        Kind::DropIndex { name, if_exists } => {
            online::drop(runner, script, at, name, *if_exists).await?;
            prepare(runner, script, at).await?;
            0
        }
    };
    ledger::advance(runner.client()?, &order, script, at + 1).await?;
    Ok(Some(rows))
}

/// Brings a new session to where the file's settings were.
async fn prepare(runner: &mut Runner, script: &Script, at: usize) -> Result<(), Failure> {
    if runner.session()?.script.as_ref() == Some(&script.name) {
        return Ok(());
    }
    for statement in script.statements.iter().take(at) {
        if statement.kind == Kind::Setting {
            runner.execute(&statement.text).await?;
        }
    }
    runner.session_mut()?.script = Some(script.name.clone());
    Ok(())
}

fn step(script: &Script, at: usize, began: Instant, rows: u64) -> Step {
    Step {
        what: script.place(at).to_string(),
        milliseconds: Some(milliseconds(began)),
        rows: (rows > 0).then(|| i64::try_from(rows).unwrap_or(i64::MAX)),
        note: None,
    }
}

/// Adds the place; PostgreSQL's pointer into the statement makes the line exact.
fn placed(mut failure: Failure, script: &Script, at: usize) -> Failure {
    let mut place = script.place(at);
    if let (Some(position), Some(statement)) = (failure.position, script.statements.get(at)) {
        let before = statement
            .text
            .chars()
            .take((position as usize).saturating_sub(1));
        place.line += before.filter(|letter| *letter == '\n').count();
    }
    failure.place.get_or_insert(place);
    failure
}
