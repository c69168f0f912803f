//! What PostgreSQL does not take for SQL never passes the lint as clean.

use squawk_lexer::{TokenKind, tokenize};
use stepgate_lint::{Finding, Phase, lint};
use tokio_postgres::error::SqlState;

use super::{corpus::CASES, server::Server};

/// Each statement without one of its tokens, with one twice, and with two in the wrong order.
fn broken() -> Vec<String> {
    let mut all = Vec::new();
    for (sql, ..) in CASES {
        let (mut at, mut last) = (0, 0..0);
        for token in tokenize(sql) {
            let end = at + token.len as usize;
            if !matches!(token.kind, TokenKind::Whitespace) {
                let [before, this, after] = [&sql[..at], &sql[at..end], &sql[end..]];
                all.push(format!("{before}{after}"));
                all.push(format!("{before}{this} {this}{after}"));
                let [before, between] = [&sql[..last.start], &sql[last.end..at]];
                let last_word = &sql[last.clone()];
                all.push(format!("{before}{this}{between} {last_word}{after}"));
                last = at..end;
            }
            at = end;
        }
    }
    all.sort();
    all.dedup();
    all
}

#[tokio::test]
async fn what_postgresql_cannot_read_is_never_clean() {
    let server = Server::start().await;
    let client = server.connect("test").await;
    let (mut asked, mut missed) = (0, Vec::new());
    for sql in broken() {
        // To prepare a statement is to read it, not to run it.
        let Err(error) = client.prepare(&sql).await else {
            continue;
        };
        if error.code() != Some(&SqlState::SYNTAX_ERROR) {
            continue;
        }
        asked += 1;
        if !lint(&sql, Phase::Contract).iter().any(Finding::blocks) {
            missed.push(sql);
        }
    }
    assert!(asked > 500, "{asked}");
    assert!(
        missed.is_empty(),
        "{} of {asked}:\n{}",
        missed.len(),
        missed.join("\n")
    );
}
