//! Four recipes under requests of old and new code: none fails, nobody waits for a lock for more
//! than a second, and the way back works at every stage before the contract.

use recipes::{
    page::Page,
    server::{Server, fill, run},
    traffic::{Code, WHO},
};
use tokio_postgres::Client;

/// Requests at each stage.
const REQUESTS: u64 = 300;

#[tokio::test(flavor = "current_thread")]
async fn rename_a_column() {
    play("rename-a-column").await;
}

#[tokio::test(flavor = "current_thread")]
async fn change_a_type() {
    play("change-a-type").await;
}

#[tokio::test(flavor = "current_thread")]
async fn not_null_with_an_index() {
    play("not-null").await;
}

#[tokio::test(flavor = "current_thread")]
async fn shadow_table_and_swap() {
    play("shadow-table").await;
}

/// What the four would show if they were wrong.
#[tokio::test(flavor = "current_thread")]
async fn a_change_that_hurts_is_seen() {
    let page = Page::read("rename-a-column");
    let server = Server::start();
    let phases = server.connect("phases").await;
    phases.batch_execute(page.block("start")).await.unwrap();

    let v1 = Code::start(&server, page.block("v1")).await;
    v1.serve(REQUESTS).await;
    let held = "BEGIN; LOCK TABLE users; SELECT pg_sleep(1.5); COMMIT;";
    phases.batch_execute(held).await.unwrap();
    v1.stop().await;
    assert!(!server.long_waits(WHO).is_empty(), "{}", server.log());

    let v1 = Code::start(&server, page.block("v1")).await;
    let renamed = "ALTER TABLE users RENAME COLUMN name TO full_name";
    phases.batch_execute(renamed).await.unwrap();
    v1.serve(REQUESTS).await;
    let failed = v1.end().await;
    assert!(
        failed.iter().any(|error| error.contains("42703")),
        "{failed:?}"
    );
}

async fn play(name: &str) {
    let page = Page::read(name);
    let server = Server::start();
    let phases = server.connect("phases").await;
    phases.batch_execute(page.block("start")).await.unwrap();
    let start = async |release: &str| Code::start(&server, page.block(release)).await;

    // Old code; the expand, and its way back, beneath it.
    let v1 = start("v1").await;
    v1.serve(REQUESTS).await;
    phase(&phases, &page, "expand").await;
    v1.serve(REQUESTS).await;
    phase(&phases, &page, "revert").await;
    v1.serve(REQUESTS).await;
    phase(&phases, &page, "expand").await;
    v1.serve(REQUESTS).await;

    // New code beside it; back to the old, and on again.
    let v2 = start("v2").await;
    v2.serve(REQUESTS).await;
    v2.stop().await;
    v1.serve(REQUESTS).await;
    let v2 = start("v2").await;
    v2.serve(REQUESTS).await;

    // The backfill beneath both; back to the old even then, with the expand taken back too.
    phase(&phases, &page, "backfill").await;
    v2.serve(REQUESTS).await;
    v2.stop().await;
    v1.serve(REQUESTS).await;
    phase(&phases, &page, "revert").await;
    v1.serve(REQUESTS).await;
    phase(&phases, &page, "expand").await;
    let v2 = start("v2").await;
    v2.serve(REQUESTS).await;
    phase(&phases, &page, "backfill").await;
    v1.serve(REQUESTS).await;

    // The last old pod goes; the proof is taken after it.
    v1.stop().await;
    let v3 = if page.blocks("v3").is_empty() {
        None
    } else {
        let v3 = start("v3").await;
        v3.serve(REQUESTS).await;
        Some(v3)
    };
    phase(&phases, &page, "backfill").await;
    let proof = page.block("proof").trim().trim_end_matches(';');
    let left: i64 = phases.query_one(proof, &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "{name}");

    // The contract beneath the newest code.
    let newest = match v3 {
        Some(v3) => {
            v2.serve(REQUESTS).await;
            v2.stop().await;
            v3
        }
        None => v2,
    };
    phase(&phases, &page, "contract").await;
    newest.serve(REQUESTS).await;
    newest.stop().await;

    let waits = server.long_waits(WHO);
    assert!(waits.is_empty(), "{name}: {waits:#?}");
}

async fn phase(client: &Client, page: &Page, name: &str) {
    for file in page.files(name) {
        if name == "backfill" {
            fill(client, &file).await;
        } else {
            run(client, &file).await;
        }
    }
}
