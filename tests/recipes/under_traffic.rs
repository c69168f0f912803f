//! Four recipes under requests of old and new code: none fails, nobody waits for a lock for more
//! than a second, and the way back works at every stage before the contract.

use stepgate::api::{PhaseKind, schema::KeptBy};

use super::{
    job,
    page::Page,
    server::Server,
    traffic::{Code, WHO},
};

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
    let server = Server::start().await;
    let other = server.connect("other").await;
    other.batch_execute(page.block("start")).await.unwrap();

    let v1 = Code::start(&server, page.block("v1")).await;
    v1.serve(REQUESTS).await;
    let held = "BEGIN; LOCK TABLE users; SELECT pg_sleep(1.5); COMMIT;";
    other.batch_execute(held).await.unwrap();
    v1.stop().await;
    assert!(!server.long_waits(WHO).is_empty(), "{}", server.log());

    let v1 = Code::start(&server, page.block("v1")).await;
    let renamed = "ALTER TABLE users RENAME COLUMN name TO full_name";
    other.batch_execute(renamed).await.unwrap();
    v1.serve(REQUESTS).await;
    let failed = v1.end().await;
    assert!(
        failed.iter().any(|error| error.contains("42703")),
        "{failed:?}"
    );
}

async fn play(name: &str) {
    let page = Page::read(name);
    let server = Server::start().await;
    let test = server.connect("test").await;
    test.batch_execute(page.block("start")).await.unwrap();
    let start = async |release: &str| Code::start(&server, page.block(release)).await;
    let run = async |release, phase| job::run(&server, &page, release, phase).await;
    let kept_by = page.schema("v2").backfill.unwrap().kept_by;
    // Beneath old code too where a trigger keeps what it writes; otherwise beneath the new alone.
    let backfill = async |v1: Code| match kept_by {
        KeptBy::Trigger => {
            run("v2", PhaseKind::Backfill).await;
            v1
        }
        KeptBy::Code => {
            v1.stop().await;
            run("v2", PhaseKind::Backfill).await;
            start("v1").await
        }
    };

    // Old code; the expand, and its way back, beneath it.
    let v1 = start("v1").await;
    v1.serve(REQUESTS).await;
    run("v2", PhaseKind::Expand).await;
    v1.serve(REQUESTS).await;
    run("v2", PhaseKind::Revert).await;
    v1.serve(REQUESTS).await;
    run("v2", PhaseKind::Expand).await;
    v1.serve(REQUESTS).await;

    // New code beside it; back to the old, and on again.
    let v2 = start("v2").await;
    v2.serve(REQUESTS).await;
    v2.stop().await;
    v1.serve(REQUESTS).await;
    let v2 = start("v2").await;
    v2.serve(REQUESTS).await;

    // The backfill; back to the old even then, with the expand taken back too.
    let v1 = backfill(v1).await;
    v2.serve(REQUESTS).await;
    v2.stop().await;
    v1.serve(REQUESTS).await;
    run("v2", PhaseKind::Revert).await;
    v1.serve(REQUESTS).await;
    run("v2", PhaseKind::Expand).await;
    let v2 = start("v2").await;
    v2.serve(REQUESTS).await;
    let v1 = backfill(v1).await;
    v1.serve(REQUESTS).await;

    // The last old pod goes. What it wrote is filled in once more, unless a trigger has done it.
    v1.stop().await;
    if kept_by == KeptBy::Code {
        run("v2", PhaseKind::Backfill).await;
    }
    let last = page.last();
    let newest = if last == "v2" {
        v2
    } else {
        let newest = start(last).await;
        newest.serve(REQUESTS).await;
        v2.serve(REQUESTS).await;
        v2.stop().await;
        run(last, PhaseKind::Backfill).await;
        newest
    };
    let proof = page.block("proof").trim().trim_end_matches(';');
    let left: i64 = test.query_one(proof, &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "{name}");

    // The contract beneath the newest code.
    run(last, PhaseKind::Contract).await;
    newest.serve(REQUESTS).await;
    newest.stop().await;

    let waits = server.long_waits(WHO);
    assert!(waits.is_empty(), "{name}: {waits:#?}");
}
