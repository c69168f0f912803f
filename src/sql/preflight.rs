//! What would stop a phase, found before it begins. Nothing is changed: its own files run in a
//! transaction that may only read, and is rolled back.

use crate::{
    backfill,
    failure::Failure,
    runner::Runner,
    script::{Kind, Script},
    table::Walk,
    watch::Lag,
};

/// Looks at everything, and names all that stands in the way at once.
pub async fn run(runner: &mut Runner, scripts: &[Script]) -> Result<(), Failure> {
    let problems = runner
        .persist(async |runner| {
            let mut problems = rights(runner, scripts).await?;
            if runner.order.limits.max_lag_seconds > 0
                && let Lag::Hidden = runner.watch_mut()?.lag().await?
            {
                problems.push(backfill::hidden());
            }
            for batch in runner.order.batches.clone() {
                // The expand may make it.
                let there = runner
                    .client()?
                    .query_one(
                        "SELECT pg_catalog.to_regclass($1) IS NOT NULL",
                        &[&batch.table],
                    )
                    .await?;
                if there.try_get(0)?
                    && let Err(failure) = Walk::plan(runner.client()?, &batch).await
                {
                    problems.push(failure);
                }
            }
            Ok(problems)
        })
        .await?;
    let Some(first) = problems.first() else {
        return questions(runner, scripts).await;
    };
    let mut all = first.clone();
    all.message = problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    Err(all)
}

/// Runs its own files; the rest of the scripts belongs to phases that come.
async fn questions(runner: &mut Runner, scripts: &[Script]) -> Result<(), Failure> {
    let own = runner.order.files.len();
    for script in scripts.iter().take(own) {
        runner
            .persist(async |runner| {
                runner.execute("BEGIN READ ONLY").await?;
                for (at, statement) in script.statements.iter().enumerate() {
                    let result = runner.execute(&statement.text).await;
                    result.map_err(|mut failure| {
                        failure.place = Some(script.place(at));
                        failure
                    })?;
                }
                runner.execute("ROLLBACK").await?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn rights(runner: &Runner, scripts: &[Script]) -> Result<Vec<Failure>, Failure> {
    let client = runner.client()?;
    let row = client
        .query_one(
            "SELECT pg_catalog.quote_ident(current_user), pg_catalog.quote_ident(pg_catalog.current_database()), \
               CASE WHEN pg_catalog.to_regnamespace('stepgate') IS NULL \
                 THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
                 ELSE pg_catalog.has_schema_privilege('stepgate', 'USAGE, CREATE') END, \
               pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP')",
            &[],
        )
        .await?;
    let (role, database): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let mut problems = Vec::new();
    let mut missing = |text: String| problems.push(Failure::fatal("MissingRights", text));
    if !row.try_get::<_, bool>(2)? {
        missing(format!(
            "the role may not make or use the ledger: CREATE SCHEMA stepgate AUTHORIZATION {role}, as the owner of {database}"
        ));
    }
    let concurrent = scripts
        .iter()
        .flat_map(|script| &script.statements)
        .any(|statement| matches!(statement.kind, Kind::Index(_)));
    if concurrent && !row.try_get::<_, bool>(3)? {
        missing(format!(
            "the role may not make temporary tables, by which indexes are compared: GRANT TEMPORARY ON DATABASE {database} TO {role}"
        ));
    }
    for script in scripts {
        for (at, statement) in script.statements.iter().enumerate() {
            for table in &statement.owned {
                let row = client
                    .query_opt(
                        "SELECT pg_catalog.pg_get_userbyid(relowner)::text FROM pg_catalog.pg_class \
                         WHERE oid = pg_catalog.to_regclass($1) AND NOT pg_catalog.pg_has_role(relowner, 'USAGE')",
                        &[table],
                    )
                    .await?;
                if let Some(row) = row {
                    let owner: String = row.try_get(0)?;
                    let mut failure = Failure::fatal(
                        "MissingRights",
                        format!("{table} belongs to {owner}: GRANT {owner} TO {role}"),
                    );
                    failure.place = Some(script.place(at));
                    problems.push(failure);
                }
            }
        }
    }
    for batch in &runner.order.batches {
        let row = client
            .query_opt(
                "SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass($1), 'SELECT') \
                    AND pg_catalog.has_table_privilege(pg_catalog.to_regclass($1), 'UPDATE') \
                 WHERE pg_catalog.to_regclass($1) IS NOT NULL",
                &[&batch.table],
            )
            .await?;
        if let Some(row) = row
            && !row.try_get::<_, bool>(0)?
        {
            problems.push(Failure::fatal(
                "MissingRights",
                format!(
                    "batches[{}]: GRANT SELECT, UPDATE ON {} TO {role}",
                    batch.name, batch.table
                ),
            ));
        }
    }
    Ok(problems)
}
