//! Statements, and the rules that are found in each in expand and in contract, those left out that
//! only warn.

/// Statement, in expand, in contract.
pub const CASES: &[(&str, &str, &str)] = &[
    // What expand is for.
    ("ALTER TABLE users ADD COLUMN full_name text", "", ""),
    (
        "ALTER TABLE users ADD COLUMN active boolean NOT NULL DEFAULT true",
        "",
        "",
    ),
    (
        "ALTER TABLE users ADD COLUMN seen timestamptz DEFAULT now()",
        "",
        "",
    ),
    (
        "CREATE TABLE t (id bigint PRIMARY KEY, user_id bigint REFERENCES users(id))",
        "",
        "",
    ),
    (
        "CREATE INDEX CONCURRENTLY users_name ON users (name)",
        "",
        "",
    ),
    ("COMMENT ON TABLE users IS 'x'", "", ""),
    ("GRANT SELECT ON users TO reader", "", ""),
    ("ANALYZE users", "", ""),
    ("SET lock_timeout = '500ms'", "", ""),
    ("CREATE VIEW v AS SELECT id FROM users", "", ""),
    (
        "INSERT INTO plans (id, name) VALUES (1, 'free') ON CONFLICT DO NOTHING",
        "",
        "",
    ),
    (
        "CREATE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := NEW.b; RETURN NEW; END $$",
        "",
        "",
    ),
    (
        "CREATE TRIGGER sync BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()",
        "",
        "",
    ),
    // What breaks old code.
    (
        "ALTER TABLE users DROP COLUMN name",
        "E ban-drop-column",
        "",
    ),
    (
        "ALTER TABLE users DROP COLUMN name CASCADE",
        "E drop-cascade, E ban-drop-column",
        "J drop-cascade",
    ),
    ("DROP TABLE users", "E ban-drop-table", ""),
    ("DROP VIEW v", "E ban-drop-view", ""),
    ("DROP FUNCTION f()", "E ban-drop-function", ""),
    ("DROP TRIGGER sync ON users", "E ban-drop-trigger", ""),
    ("DROP INDEX CONCURRENTLY i", "E ban-drop-index", ""),
    (
        "DROP DATABASE shop",
        "E ban-drop-database",
        "E ban-drop-database",
    ),
    (
        "ALTER TABLE users RENAME COLUMN name TO full_name",
        "E renaming-column",
        "J renaming-column",
    ),
    (
        "ALTER TABLE users RENAME TO people",
        "E renaming-table",
        "J renaming-table",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
        "E ban-drop-not-null",
        "",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name DROP DEFAULT",
        "E ban-drop-default",
        "",
    ),
    (
        "ALTER TABLE users ADD COLUMN name text NOT NULL",
        "E adding-required-field",
        "E adding-required-field",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT n CHECK (name IS NOT NULL) NOT VALID",
        "E ban-new-write-restriction",
        "",
    ),
    (
        "CREATE UNIQUE INDEX CONCURRENTLY u ON users (email)",
        "E ban-new-write-restriction",
        "",
    ),
    ("REVOKE SELECT ON users FROM app", "E ban-revoke", ""),
    (
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        "E ban-alter-row-level-security",
        "J ban-alter-row-level-security",
    ),
    (
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "J ban-replace-view-function",
        "",
    ),
    // Locks.
    (
        "CREATE INDEX users_name ON users (name)",
        "E require-concurrent-index-creation",
        "E require-concurrent-index-creation",
    ),
    (
        "DROP INDEX users_name",
        "E ban-drop-index, E require-concurrent-index-deletion",
        "E require-concurrent-index-deletion",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name SET NOT NULL",
        "E adding-not-nullable-field, E ban-new-write-restriction",
        "E adding-not-nullable-field",
    ),
    (
        "ALTER TABLE users ALTER COLUMN id TYPE bigint",
        "E changing-column-type",
        "E changing-column-type",
    ),
    (
        "ALTER TABLE users ALTER COLUMN name TYPE varchar(200)",
        "J changing-column-type",
        "J changing-column-type",
    ),
    (
        "ALTER TABLE users ADD COLUMN id2 bigserial",
        "E serial-column",
        "E serial-column",
    ),
    (
        "ALTER TABLE users ADD COLUMN u uuid DEFAULT gen_random_uuid()",
        "E adding-field-with-default",
        "E adding-field-with-default",
    ),
    (
        "ALTER TABLE users ADD COLUMN a int CHECK (a > 0)",
        "E column-check",
        "E column-check",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT u UNIQUE (email)",
        "E ban-new-write-restriction, E disallowed-unique-constraint",
        "E disallowed-unique-constraint",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&)",
        "E ban-new-write-restriction, E exclude-constraint",
        "E exclude-constraint",
    ),
    (
        "ALTER TABLE a ADD CONSTRAINT c CHECK (x > 0) NOT VALID; ALTER TABLE a VALIDATE CONSTRAINT c",
        "E ban-new-write-restriction, E validate-in-same-transaction",
        "E validate-in-same-transaction",
    ),
    ("ALTER TABLE a VALIDATE CONSTRAINT c", "", ""),
    (
        "LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
        "E lock-table",
        "E lock-table",
    ),
    ("LOCK TABLE users IN ACCESS SHARE MODE", "", ""),
    ("VACUUM FULL users", "E vacuum-full", "E vacuum-full"),
    (
        "VACUUM (FULL, ANALYZE) users",
        "E vacuum-full",
        "E vacuum-full",
    ),
    ("CLUSTER users USING i", "E cluster", "E cluster"),
    (
        "REFRESH MATERIALIZED VIEW m",
        "E refresh-materialized-view",
        "E refresh-materialized-view",
    ),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY m", "", ""),
    (
        "ALTER TABLE users SET UNLOGGED",
        "E table-rewrite",
        "E table-rewrite",
    ),
    (
        "ALTER TABLE users SET TABLESPACE fast",
        "E table-rewrite",
        "E table-rewrite",
    ),
    (
        "ALTER TABLE m ATTACH PARTITION p FOR VALUES FROM (1) TO (2)",
        "J attach-partition",
        "J attach-partition",
    ),
    ("SET lock_timeout = 0", "E lock-timeout", "E lock-timeout"),
    (
        "SET LOCAL lock_timeout TO '10min'",
        "E lock-timeout",
        "E lock-timeout",
    ),
    (
        "SELECT set_config('lock_timeout', '0', false)",
        "E lock-timeout",
        "E lock-timeout",
    ),
    ("TRUNCATE users", "E truncate", "J truncate"),
    // Rows.
    (
        "UPDATE users SET full_name = name",
        "E unbounded-update",
        "E unbounded-update",
    ),
    (
        "DELETE FROM users",
        "E unbounded-delete",
        "E unbounded-delete",
    ),
    (
        "UPDATE users SET full_name = name WHERE full_name IS NULL",
        "J unseen-rows",
        "J unseen-rows",
    ),
    ("UPDATE users SET a = 1 WHERE id = 7 AND b IS NULL", "", ""),
    (
        "UPDATE users SET full_name = name WHERE id IN (SELECT id FROM users WHERE full_name IS NULL LIMIT 1000)",
        "",
        "",
    ),
    (
        "WITH x AS (DELETE FROM users RETURNING id) SELECT count(*) FROM x",
        "E unbounded-delete",
        "E unbounded-delete",
    ),
    (
        "INSERT INTO b SELECT * FROM a",
        "J unbounded-insert",
        "J unbounded-insert",
    ),
    (
        "INSERT INTO b SELECT * FROM a ORDER BY id LIMIT 1000",
        "",
        "",
    ),
    (
        "INSERT INTO b SELECT g FROM generate_series(1, 10) g",
        "",
        "",
    ),
    (
        "CREATE TABLE c AS SELECT * FROM a",
        "J unbounded-insert",
        "J unbounded-insert",
    ),
    (
        "UPDATE pg_attribute SET attnotnull = false WHERE attname = 'a'",
        "E catalogue-write",
        "E catalogue-write",
    ),
    (
        "UPDATE users SET a = 1 WHERE true",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "UPDATE users SET a = 1 WHERE 1 = 1",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "UPDATE users SET a = 1 WHERE 1 IN (1, 2)",
        "J unseen-rows",
        "J unseen-rows",
    ),
    ("DELETE FROM users WHERE id BETWEEN 1 AND 1000", "", ""),
    (
        "DELETE FROM users WHERE 1 BETWEEN 0 AND 2",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "DELETE FROM users WHERE id NOT IN (SELECT id FROM a LIMIT 10)",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "DELETE FROM users WHERE kind = (SELECT kind FROM a LIMIT 1)",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "DELETE FROM users WHERE ctid = ANY (ARRAY(SELECT ctid FROM users LIMIT 10))",
        "",
        "",
    ),
    (
        "DELETE FROM users WHERE id IN (SELECT id FROM a WHERE b IN (SELECT b FROM c LIMIT 1))",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "DELETE FROM users WHERE id IN (SELECT id FROM users LIMIT 1000000)",
        "J unseen-rows",
        "J unseen-rows",
    ),
    (
        "INSERT INTO b SELECT * FROM a LIMIT ALL",
        "J unbounded-insert",
        "J unbounded-insert",
    ),
    // What cannot be judged.
    ("SELECT * FROM migrate()", "J opaque-call", "J opaque-call"),
    (
        "SELECT app.migrate() FROM users",
        "J opaque-call",
        "J opaque-call",
    ),
    (
        "DO $$ BEGIN ALTER TABLE users DROP COLUMN name; END $$",
        "J opaque-block",
        "J opaque-block",
    ),
    ("CALL migrate()", "J opaque-call", "J opaque-call"),
    ("SELECT migrate()", "J opaque-call", "J opaque-call"),
    ("SELECT public.now()", "J opaque-call", "J opaque-call"),
    ("SELECT setval('users_id_seq', 100)", "", ""),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TABLE users'; END $$",
        "J opaque-function",
        "J opaque-function",
    ),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP TABLE users; END $$",
        "J opaque-function",
        "J opaque-function",
    ),
    (
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpython3u AS $$ pass $$",
        "J opaque-function",
        "J opaque-function",
    ),
    (
        "SET session_replication_role = replica",
        "J session-settings",
        "J session-settings",
    ),
    (
        "EXPLAIN ANALYZE DELETE FROM users",
        "J unknown-statement",
        "J unknown-statement",
    ),
    (
        "COPY users TO '/tmp/x'",
        "J unknown-statement",
        "J unknown-statement",
    ),
    ("LOAD 'x'", "J unknown-statement", "J unknown-statement"),
    // What cannot run.
    (
        "ALTER TABLE ${schema}.t DROP COLUMN a",
        "E syntax-error",
        "E syntax-error",
    ),
    ("ALTER TABLE users", "E syntax-error", "E syntax-error"),
    ("SELEC 1", "E syntax-error", "E syntax-error"),
    ("BEGIN", "E transaction-control", "E transaction-control"),
    ("COMMIT", "E transaction-control", "E transaction-control"),
    (
        "SAVEPOINT a",
        "E transaction-control",
        "E transaction-control",
    ),
    ("\\set x 1", "E psql-command", "E psql-command"),
    (
        "COPY users FROM STDIN",
        "E copy-from-stdin",
        "E copy-from-stdin",
    ),
    (
        "CREATE INDEX CONCURRENTLY ON users (name)",
        "E unnamed-index",
        "E unnamed-index",
    ),
    (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users (name)",
        "E index-if-not-exists",
        "E index-if-not-exists",
    ),
];
