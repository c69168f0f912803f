//! A table that batches walk over: its key, as an index has it, and the statements for it.

use tokio_postgres::Client;

use crate::{failure::Failure, online::quoted, order::Batch, split};

/// The statements of a walk.
pub struct Walk {
    /// `($1)`: position. Whether it is null decides between two forms.
    pub bound: [String; 2],
    /// With or without a from, with or without a to, in the order of the parameters.
    pub change: [[String; 2]; 2],
    /// The same, and rows that others have locked are passed over: twice the work.
    pub change_free: [[String; 2]; 2],
}

/// A table's name, as the catalog has it, quoted.
pub async fn resolve(
    client: &Client,
    field: &str,
    table: &str,
) -> Result<(u32, String, String), Failure> {
    let row = client
        .query_opt(
            "SELECT c.oid, n.nspname, c.relname, c.relkind IN ('r', 'p') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = pg_catalog.to_regclass($1)",
            &[&table],
        )
        .await
        .map_err(|error| Failure::from(error).to(&format!("{field}.table {table}")))?;
    let Some(row) = row else {
        return Err(Failure::fatal(
            "NoTable",
            format!(
                "{field}.table: {table} does not exist, or the role may not see it: write it with its schema, as `public.users`"
            ),
        ));
    };
    if !row.try_get::<_, bool>(3)? {
        return Err(Failure::fatal(
            "NoTable",
            format!("{field}.table: {table} is not a table"),
        ));
    }
    let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    Ok((
        row.try_get(0)?,
        format!("{}.{}", quoted(&schema), quoted(&name)),
        quoted(&name),
    ))
}

/// Refuses a `where` that is more than a condition.
pub fn check_where(field: &str, condition: &str) -> Result<(), Failure> {
    split::fits(
        condition,
        &format!("SELECT 1 FROM t WHERE (\n{condition}\n)"),
    )
    .map_err(|error| {
        Failure::bad_input(
            "BadWhere",
            format!("{field}.where is not a condition: {error}"),
        )
    })
}

/// Refuses a batch that cannot be put into a statement.
pub fn check(batch: &Batch) -> Result<(), Failure> {
    let field = format!("batches[{}]", batch.name);
    check_where(&field, &batch.r#where)?;
    split::fits(
        &batch.set,
        &format!("UPDATE t SET {}\nFROM u WHERE true", batch.set),
    )
    .map_err(|error| {
        Failure::bad_input(
            "BadSet",
            format!("{field}.set is not a list of assignments: {error}"),
        )
    })
}

impl Walk {
    pub async fn plan(client: &Client, batch: &Batch) -> Result<Self, Failure> {
        let field = format!("batches[{}]", batch.name);
        let (oid, table, name) = resolve(client, &field, &batch.table).await?;
        let mut key = Vec::new();
        for column in &batch.key {
            let row = client
                .query_opt(
                    "SELECT pg_catalog.format_type(atttypid, NULL), attnotnull FROM pg_catalog.pg_attribute \
                     WHERE attrelid = $1 AND attname = $2 AND attnum > 0 AND NOT attisdropped",
                    &[&oid, &column],
                )
                .await?;
            let Some(row) = row else {
                return Err(Failure::fatal(
                    "BadKey",
                    format!(
                        "{field}.key: {} has no column {column}. {}",
                        batch.table,
                        keys(client, oid).await?
                    ),
                ));
            };
            if !row.try_get::<_, bool>(1)? {
                return Err(Failure::fatal(
                    "BadKey",
                    format!(
                        "{field}.key: column {column} of {} permits NULL, and a row with NULL would never be \
                         reached. {}",
                        batch.table,
                        keys(client, oid).await?
                    ),
                ));
            }
            key.push((quoted(column), row.try_get::<_, String>(0)?));
        }
        if !uniques(client, oid).await?.contains(&batch.key) {
            return Err(Failure::fatal(
                "BadKey",
                format!(
                    "{field}.key: {} has no unique index on ({}), in this order. {}",
                    batch.table,
                    batch.key.join(", "),
                    keys(client, oid).await?
                ),
            ));
        }
        Ok(Self::write(&table, &name, &key, batch))
    }

    fn write(table: &str, name: &str, key: &[(String, String)], batch: &Batch) -> Self {
        let columns = key
            .iter()
            .map(|(column, _)| column.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let row = |columns: &str| {
            if key.len() == 1 {
                columns.to_owned()
            } else {
                format!("({columns})")
            }
        };
        let at = |parameter: usize| {
            let values: Vec<String> = key
                .iter()
                .enumerate()
                .map(|(place, (_, of))| format!("(${parameter}::text[])[{}]::{of}", place + 1))
                .collect();
            row(&values.join(", "))
        };
        let texts = key
            .iter()
            .map(|(column, _)| format!("{column}::text"))
            .collect::<Vec<_>>()
            .join(", ");
        let named = key
            .iter()
            .enumerate()
            .map(|(place, (column, _))| format!("{column} AS stepgate_key_{}", place + 1))
            .collect::<Vec<_>>()
            .join(", ");
        let join = key
            .iter()
            .enumerate()
            .map(|(place, (column, _))| {
                format!("{name}.{column} = stepgate_rows.stepgate_key_{}", place + 1)
            })
            .collect::<Vec<_>>()
            .join(" AND ");
        let condition = &batch.r#where;
        let bound = |after: bool| {
            let (from, skip) = if after {
                (format!("WHERE {} > {}", row(&columns), at(1)), "$2")
            } else {
                (String::new(), "$1")
            };
            format!(
                "SELECT ARRAY[{texts}] FROM {table} {from} ORDER BY {columns} OFFSET {skip}::bigint LIMIT 1"
            )
        };
        let range = |from: bool, to: bool| {
            let mut range = String::new();
            if from {
                range += &format!("{} > {} AND ", row(&columns), at(1));
            }
            if to {
                range += &format!("{} <= {} AND ", row(&columns), at(1 + usize::from(from)));
            }
            range
        };
        let set = &batch.set;
        let sum = "SELECT count(*), count(*) FILTER (WHERE still) FROM stepgate_done";
        let still = format!("RETURNING (\n{condition}\n) IS TRUE AS still");
        let change = |from, to| {
            let range = range(from, to);
            format!(
                "WITH stepgate_done AS (UPDATE {table} SET {set}\nWHERE {range}(\n{condition}\n) {still}) {sum}"
            )
        };
        // Not FOR UPDATE: a row that only a foreign key looks at is no obstacle.
        let change_free = |from, to| {
            let range = range(from, to);
            format!(
                "WITH stepgate_rows AS MATERIALIZED (\
                   SELECT {named} FROM {table} WHERE {range}(\n{condition}\n) ORDER BY {columns} FOR NO KEY UPDATE SKIP LOCKED), \
                 stepgate_done AS (UPDATE {table} SET {set}\nFROM stepgate_rows WHERE {join} {still}) {sum}"
            )
        };
        Self {
            bound: [bound(false), bound(true)],
            change: [
                [change(false, false), change(false, true)],
                [change(true, false), change(true, true)],
            ],
            change_free: [
                [change_free(false, false), change_free(false, true)],
                [change_free(true, false), change_free(true, true)],
            ],
        }
    }
}

/// How many rows a `where` still finds.
pub fn count(table: &str, condition: &str) -> String {
    format!("SELECT count(*) FROM {table} WHERE (\n{condition}\n)")
}

/// The columns of every unique index that a walk can follow.
async fn uniques(client: &Client, oid: u32) -> Result<Vec<Vec<String>>, Failure> {
    let rows = client
        .query(
            "SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k \
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] ORDER BY k) \
             FROM pg_catalog.pg_index i \
             WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
             ORDER BY i.indisprimary DESC, i.indexrelid",
            &[&oid],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn keys(client: &Client, oid: u32) -> Result<String, Failure> {
    let mut there: Vec<String> = uniques(client, oid)
        .await?
        .iter()
        .map(|columns| format!("[{}]", columns.join(", ")))
        .collect();
    there.dedup();
    Ok(if there.is_empty() {
        "The table has no unique index at all: make one in the expand".into()
    } else {
        format!(
            "Its unique indexes are on {}: use one whose columns are NOT NULL",
            there.join(", ")
        )
    })
}
