//! Each page: its files pass the lint of their phase, run in order, and can be taken back.

use std::{fs, path::Path};

use stepgate::api::PhaseKind;
use stepgate_lint::{Finding, Source, lint_files};
use tokio_postgres::Client;

use super::{
    job::{self, UNPROVED},
    page::{PHASES, Page},
    server::Server,
};

#[test]
fn every_file_passes_the_lint_of_its_phase() {
    let pages = Page::recipes();
    assert!(pages.len() >= 9, "{}", pages.len());
    for page in pages {
        assert_eq!(page.unknown(), Vec::<&str>::new(), "{}", page.name);
        let mut seen = 0;
        for (name, phase) in PHASES {
            let files = page.files(name);
            seen += files.len();
            let found: Vec<Finding> = lint_files(&files, phase)
                .into_iter()
                .filter(Finding::blocks)
                .collect();
            assert!(found.is_empty(), "{} {name}: {found:#?}", page.name);
            assert!(
                files
                    .iter()
                    .all(|file| !file.text.contains("squawk-ignore"))
            );
        }
        assert!(seen > 0, "{} has no file", page.name);
    }
}

/// `make study` renames a column as the recipe does. It takes too long for every change.
#[test]
fn the_files_of_the_study_pass_the_lint_of_their_phase() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/shop/manifests/sql");
    let mut seen = 0;
    for version in fs::read_dir(folder).unwrap() {
        for (name, phase) in PHASES {
            let path = version.as_ref().unwrap().path().join(format!("{name}.sql"));
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            seen += 1;
            let name = path.display().to_string();
            let mut found = lint_files(&[Source { name, text }], phase);
            found.retain(Finding::blocks);
            assert!(found.is_empty(), "{found:#?}");
        }
    }
    assert_eq!(seen, 4, "expands of v2, v3 and v4, and the contract of v4");
}

/// A field that does not exist, or a value that it may not have, would be refused.
#[test]
fn what_a_page_shows_is_what_the_api_takes() {
    let rename = Page::read("rename-a-column");
    let (mut whole, mut parts) = (0, 0);
    for page in Page::all() {
        for (name, fragment) in page.fragments() {
            if name == "backfill" {
                parts += 1;
                assert!(fragment.keys().eq(["backfill"]), "{}", page.name);
                for release in ["v2", page.last()] {
                    assert!(page.schema(release).backfill.is_some(), "{}", page.name);
                }
                continue;
            }
            whole += 1;
            assert!(fragment.keys().eq(["schema"]), "{}", page.name);
            let schema = page.taken(&fragment["schema"]);
            if page.name == "README" {
                assert_eq!(schema, rename.schema(name), "{name}");
            }
        }
    }
    assert_eq!((whole, parts), (3, 6));
}

#[tokio::test]
async fn every_page_runs_in_order() {
    let server = Server::start().await;
    let client = server.connect("test").await;
    for page in Page::recipes() {
        let run = async |release, phase| job::run(&server, &page, release, phase).await;
        begin(&client, &page).await;
        run("v2", PhaseKind::Expand).await;
        serves(&client, &page, "v1").await;
        serves(&client, &page, "v2").await;
        let last = page.last();
        if page.schema(last).backfill.is_some() {
            let early = job::try_to(&server, &page, last, PhaseKind::Contract).await;
            let status = early.unwrap().status.code();
            assert_eq!(status, Some(UNPROVED), "{}", page.name);
        }
        run("v2", PhaseKind::Backfill).await;
        for proof in page.blocks("proof") {
            assert_eq!(count(&client, proof).await, 0, "{}: {proof}", page.name);
        }
        for check in page.blocks("check") {
            client.batch_execute(check).await.unwrap();
        }
        if last != "v2" {
            run(last, PhaseKind::Backfill).await;
        }
        run(last, PhaseKind::Contract).await;
        serves(&client, &page, last).await;
    }
}

#[tokio::test]
async fn every_revert_leaves_the_schema_as_it_was() {
    let server = Server::start().await;
    let client = server.connect("test").await;
    let mut taken_back = 0;
    for page in Page::recipes() {
        if page.files("revert").is_empty() {
            continue;
        }
        taken_back += 1;
        let run = async |phase| job::run(&server, &page, "v2", phase).await;
        begin(&client, &page).await;
        let before = schema(&client).await;
        run(PhaseKind::Expand).await;
        let expanded = schema(&client).await;
        assert_ne!(before, expanded, "{}", page.name);
        run(PhaseKind::Backfill).await;
        run(PhaseKind::Revert).await;
        assert_eq!(before, schema(&client).await, "{}", page.name);
        serves(&client, &page, "v1").await;
    }
    assert!(taken_back >= 7, "{taken_back}");
}

/// An empty database, without a ledger, with what the page starts from.
async fn begin(client: &Client, page: &Page) {
    let empty = "DROP SCHEMA IF EXISTS public, stepgate CASCADE; CREATE SCHEMA public;";
    client.batch_execute(empty).await.unwrap();
    client.batch_execute(page.block("start")).await.unwrap();
}

/// The statements of a release can be prepared, which is what a schema that lacks something
/// refuses.
async fn serves(client: &Client, page: &Page, release: &str) {
    for statements in page.blocks(release) {
        for statement in statements
            .split(';')
            .map(str::trim)
            .filter(|one| !one.is_empty())
        {
            if let Err(error) = client.prepare(statement).await {
                panic!("{} {release}: {statement}: {error:?}", page.name);
            }
        }
    }
}

async fn count(client: &Client, query: &str) -> i64 {
    client
        .query_one(query.trim().trim_end_matches(';'), &[])
        .await
        .unwrap()
        .get(0)
}

/// Columns, indexes, constraints, triggers and functions, as text.
async fn schema(client: &Client) -> Vec<String> {
    let query = "
        SELECT format('column %s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
          FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid))
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
