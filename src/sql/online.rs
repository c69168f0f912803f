//! Statements that run beside the traffic, for long, with weak locks and outside of a transaction.

use crate::{
    failure::Failure,
    ledger,
    runner::Runner,
    script::{Index, Script},
};

/// Runs a statement without a limit for its locks: a concurrent build waits for old transactions,
/// and a limit would end it in the middle.
pub async fn unlimited(runner: &mut Runner, statement: &str) -> Result<u64, Failure> {
    runner
        .client()?
        .batch_execute("SET lock_timeout = 0")
        .await?;
    let rows = runner.execute(statement).await;
    let order = runner.order.clone();
    if let Ok(session) = runner.session_mut() {
        session.settle(&order).await?;
    }
    rows
}

struct Found {
    /// With schema, quoted where it has to be.
    name: String,
    valid: bool,
    definition: String,
}

/// Builds an index, or sees that it is there.
pub async fn create(
    runner: &mut Runner,
    script: &Script,
    at: usize,
    index: &Index,
) -> Result<(), Failure> {
    let order = runner.order.clone();
    let ours = ledger::intended(runner.client()?, &order, script, at).await?;
    if let Some(found) = find(runner, index).await? {
        let asked = definition(runner, index).await?;
        if asked != found.definition {
            return Err(Failure::fatal(
                "IndexDiffers",
                format!(
                    "index {} is there with another definition. There: {}. Asked for: {asked}. Give the new one \
                     another name, or drop the old one in a contract",
                    found.name, found.definition
                ),
            ));
        }
        if found.valid {
            return Ok(());
        }
        if !ours {
            return Err(Failure::fatal(
                "InvalidIndex",
                format!(
                    "index {} is there and invalid, and this phase has not begun it: somebody else's build runs or \
                     was interrupted. If none runs (pg_stat_progress_create_index): DROP INDEX CONCURRENTLY {}; \
                     then retry",
                    found.name, found.name
                ),
            ));
        }
        say!(
            "{}: index {} is left of an interrupted build: it is dropped and built again",
            script.place(at),
            found.name
        );
        unlimited(runner, &format!("DROP INDEX CONCURRENTLY {}", found.name)).await?;
    } else {
        ledger::intend(runner.client()?, &order, script, at).await?;
    }
    let text = script
        .statements
        .get(at)
        .map(|statement| statement.text.as_str())
        .unwrap_or_default();
    let Err(failure) = unlimited(runner, text).await else {
        return Ok(());
    };
    // An invalid unique index still refuses rows.
    if failure.lost || clear(runner, script, at, index).await.is_err() {
        say!(
            "{}: an invalid index may be left: the next try drops it",
            script.place(at)
        );
        runner.report.applied = true;
    }
    Err(failure)
}

/// Drops what a failed build has left, and forgets that there was one.
async fn clear(
    runner: &mut Runner,
    script: &Script,
    at: usize,
    index: &Index,
) -> Result<(), Failure> {
    let order = runner.order.clone();
    if let Some(found) = find(runner, index).await? {
        runner
            .client()?
            .batch_execute("SET lock_timeout = 0")
            .await?;
        runner
            .clean(&format!("DROP INDEX CONCURRENTLY {}", found.name))
            .await?;
    }
    ledger::forget(runner.client()?, &order, script, at).await
}

/// Drops an index, or sees that it is gone.
pub async fn drop(
    runner: &mut Runner,
    script: &Script,
    at: usize,
    name: &str,
    if_exists: bool,
) -> Result<(), Failure> {
    let order = runner.order.clone();
    let there: bool = runner
        .client()?
        .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&name])
        .await?
        .try_get(0)?;
    if !there {
        if if_exists || ledger::intended(runner.client()?, &order, script, at).await? {
            return Ok(());
        }
        return Err(Failure::fatal(
            "StatementFailed",
            format!(
                "index {name} does not exist: correct the name, or write DROP INDEX CONCURRENTLY IF EXISTS"
            ),
        ));
    }
    ledger::intend(runner.client()?, &order, script, at).await?;
    runner.report.applied = true;
    let text = script
        .statements
        .get(at)
        .map(|statement| statement.text.as_str())
        .unwrap_or_default();
    unlimited(runner, text).await.map(|_| ())
}

/// The index of this name, beside its table.
async fn find(runner: &Runner, index: &Index) -> Result<Option<Found>, Failure> {
    let row = runner
        .client()?
        .query_opt(
            "SELECT i.indexrelid::regclass::text, n.nspname, i.indisvalid AND i.indisready, \
                    pg_catalog.pg_get_indexdef(i.indexrelid), c.relname \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
             WHERE c.relname = (pg_catalog.parse_ident($2))[1] \
               AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1))",
            &[&index.table, &index.name],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(4)?);
    Ok(Some(Found {
        name: format!("{}.{}", quoted(&schema), quoted(&name)),
        valid: row.try_get(2)?,
        definition: what(&row.try_get::<_, String>(3)?),
    }))
}

/// The definition that the statement asks for, as PostgreSQL writes it: from the same index on an
/// empty copy of the table.
async fn definition(runner: &Runner, index: &Index) -> Result<String, Failure> {
    let client = runner.client()?;
    client
        .batch_execute(&format!(
            "BEGIN; CREATE TEMPORARY TABLE stepgate_copy (LIKE {}) ON COMMIT DROP; {} pg_temp.stepgate_copy{}",
            index.table, index.before, index.after
        ))
        .await
        .map_err(|error| Failure::from(error).to("the index of that name that is there cannot be compared"))?;
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_get_indexdef(indexrelid) FROM pg_catalog.pg_index \
             WHERE indrelid = pg_catalog.to_regclass('pg_temp.stepgate_copy')",
            &[],
        )
        .await?;
    let text: String = row.try_get(0)?;
    client.batch_execute("ROLLBACK").await?;
    Ok(what(&text))
}

/// Without the names: `UNIQUE USING btree (a)`.
fn what(definition: &str) -> String {
    let unique = if definition.starts_with("CREATE UNIQUE") {
        "UNIQUE "
    } else {
        ""
    };
    let from = definition.find(" USING ").map_or(0, |at| at + 1);
    format!("{unique}{}", definition.get(from..).unwrap_or_default())
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
