//! Phases that are SQL, on a real PostgreSQL: files and batches, a wrong password, a text that is
//! changed.

use serde_json::{Value, json};
use stepgate::api::status::SchemaStatus;
use testbed::{Namespace, Result, postgres};

use crate::app::{APP, Change as _, app};
use crate::play::{PATIENCE, Play as _, play};

const ADD: &str = "ALTER TABLE users ADD COLUMN full_name text;\n";
const DROP: &str = "ALTER TABLE users DROP COLUMN name;\n";
/// The role that runs SQL, with its password.
const ROLE: &str = "ddl:a-password-that-nobody-reads";

/// A table with twenty thousand rows that are slow to change, and a role that must give its password.
const SETUP: &str = "
DO $do$ BEGIN EXECUTE format(
  'COPY (SELECT unnest(ARRAY[%L, %L, %L, %L])) TO %L',
  'local all all trust', 'host all all 127.0.0.1/32 trust',
  'host all ddl all scram-sha-256', 'host all all all trust', current_setting('hba_file'));
END $do$;
SELECT pg_reload_conf();
CREATE ROLE ddl LOGIN PASSWORD 'a-password-that-nobody-reads';
GRANT CREATE, TEMPORARY ON DATABASE shop TO ddl;
GRANT pg_monitor TO ddl;
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20000) n;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
  $slow$ BEGIN PERFORM pg_sleep(0.0015); RETURN NEW; END $slow$;
CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow();
ALTER TABLE users OWNER TO ddl;
GRANT USAGE ON SCHEMA public TO ddl;
";

/// The ConfigMap with the files.
async fn files(ns: &Namespace, contract: &str) -> Result<()> {
    texts(ns, ADD, contract).await
}

async fn texts(ns: &Namespace, expand: &str, contract: &str) -> Result<()> {
    let files = [("expand.sql", expand), ("contract.sql", contract)];
    postgres::files(ns, &files).await
}

fn version_2() -> Value {
    let sql = |key: &str| {
        let files = json!([{"configMapKeyRef": {"name": "sql", "key": key}}]);
        json!({"sql": {"files": files}, "deadlineSeconds": 60})
    };
    let mut schema = json!({
        "database": "db",
        "version": 2,
        "postgres": {"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}},
        "expand": sql("expand.sql"),
        "backfill": {
            "batches": [{
                "name": "names", "table": "public.users", "key": ["id"],
                "set": "full_name = name", "where": "full_name IS NULL",
            }],
            "stallSeconds": 60,
        },
        "contract": sql("contract.sql"),
    });
    schema["contract"]["afterSeconds"] = json!(1);
    app("2").with("/schema", schema)
}

async fn schema(
    ns: &Namespace,
    what: &str,
    so: impl Fn(&SchemaStatus) -> bool,
) -> Result<SchemaStatus> {
    ns.until(what, PATIENCE, |state| {
        state.status(APP).schema.filter(|schema| so(schema))
    })
    .await
}

/// The command that a contract asks for, once it waits for nothing else.
async fn asked(ns: &Namespace, but: &str) -> Result<String> {
    let waits = |s: &SchemaStatus| {
        s.message.starts_with("waits for: an approval")
            && (but.is_empty() || !s.message.contains(but))
    };
    let waits = schema(ns, "a contract that waits for its approval alone", waits).await?;
    let (_, target) = waits
        .message
        .split_once("stepgate.io/approve=\"")
        .expect("the command");
    Ok(target.split(' ').next().unwrap_or_default().to_owned())
}

async fn columns(ns: &Namespace) -> Result<String> {
    let query = "SELECT string_agg(column_name, ' ' ORDER BY column_name) \
                 FROM information_schema.columns WHERE table_name = 'users'";
    postgres::query(ns, query).await
}

#[tokio::test]
async fn sql_runs_from_expand_to_contract_and_what_was_approved_is_what_runs() {
    play("sql", async |ns| {
        ns.add_database_and_service().await?;
        postgres::query(ns, SETUP).await?;
        files(ns, DROP).await?;
        postgres::connection(ns, "ddl:mistyped").await?;
        let schema_1 = json!({"database": "db", "version": 1});
        ns.release_to_the_end(&app("1").with("/schema", schema_1))
            .await?;

        // A wrong password: nothing was applied, nothing is dirty, and nobody reads it.
        let generation = ns.release(&version_2()).await?;
        let words = ns.stalled(generation, "ExpandFailed").await?;
        assert!(words.contains("password authentication failed"), "{words}");
        assert!(words.contains("the database is clean"), "{words}");
        assert!(!words.contains("mistyped"), "{words}");
        assert_eq!(ns.view.now().databases["db"].spec.record.dirty, []);
        assert_eq!(columns(ns).await?, "id name");

        // SQL that old code does not survive does not run, and the safe way is told.
        postgres::connection(ns, ROLE).await?;
        let wanted = ns.view.now().status(APP).history[0].revision.clone();
        texts(ns, DROP, DROP).await?;
        ns.tell(APP, "retry", &format!("{wanted} lint")).await?;
        ns.says("expand.sql:1:19 ban-drop-column").await?;
        let words = ns.stalled(generation, "ExpandFailed").await?;
        assert!(words.contains("the database is clean"), "{words}");
        assert_eq!(columns(ns).await?, "id name");

        files(ns, DROP).await?;
        ns.tell(APP, "retry", &format!("{wanted} again")).await?;
        let stable = ns.ready(generation).await?;
        assert_eq!(stable, wanted);

        // How far the backfill is: in the status, in a column, and as an Event at a quarter.
        let progress = |least: i64| {
            move |s: &SchemaStatus| s.progress.as_ref().is_some_and(|p| p.rows_done > least)
        };
        let first = schema(ns, "the progress of the backfill", progress(0)).await?;
        let first = first.progress.expect("it").rows_done;
        let next = schema(ns, "further progress", progress(first)).await?;
        let next = next.progress.expect("it");
        assert_eq!((next.batch.as_str(), next.rows_total), ("names", 20_000));
        let wide = ns.kubectl(&["get", "sro", APP, "-o", "wide"]).await?;
        assert!(wide.contains("% of about 20000 rows"), "{wide}");
        let events = ns
            .kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])
            .await?;
        assert!(events.contains("backfill of version 2: names "), "{events}");

        let target = asked(ns, "").await?;
        assert_eq!(columns(ns).await?, "full_name id name");
        let left = "SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM name";
        assert_eq!(postgres::query(ns, left).await?, "0");

        // What is approved is the text that the digest is of, and not what somebody has put there.
        files(ns, "DROP TABLE users;\n").await?;
        postgres::approve(ns, "db", &target, "1").await?;
        let changed = asked(ns, &target).await?;
        assert_eq!(columns(ns).await?, "full_name id name");
        let record = ns.view.now().databases["db"].spec.record.clone();
        assert_eq!(record.versions[0].approved, None);
        assert_eq!(record.undo_floor, None);
        let events = ns
            .kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])
            .await?;
        assert!(events.contains("is void"), "{events}");

        // Put back, it is approved once more.
        files(ns, DROP).await?;
        postgres::approve(ns, "db", &changed, "2").await?;
        let again = asked(ns, &changed).await?;
        assert_eq!(again, target, "the same text has the same digest");
        postgres::approve(ns, "db", &again, "3").await?;
        let ended =
            |s: &SchemaStatus| format!("{:?}", s.phase) == "Contract" && s.state == "Succeeded";
        schema(ns, "the end of the contract", ended).await?;
        assert_eq!(columns(ns).await?, "full_name id");
        let ran =
            "SELECT string_agg(phase || ' ' || file, ', ' ORDER BY phase) FROM stepgate.files";
        assert_eq!(
            postgres::query(ns, ran).await?,
            "contract contract.sql, expand expand.sql"
        );
        Ok(())
    })
    .await;
}
