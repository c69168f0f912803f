//! What it looked like when something failed.

use std::fmt::Write as _;

use crate::Testbed;
use crate::install::OPERATOR;

/// Describes a namespace's Rollouts, pods and Jobs, its Events and what the operator said last.
/// What cannot be had is said in its place.
pub async fn describe(testbed: &Testbed, namespace: &str) -> String {
    let operator = ["-n", OPERATOR];
    let log = [
        "logs",
        "-l",
        "app.kubernetes.io/component=operator",
        "--prefix",
    ];
    let questions: [(&str, Vec<&str>); 6] = [
        (
            "Rollouts",
            vec!["get", "sro,sdb", "-o", "wide", "-n", namespace],
        ),
        ("Status", vec!["get", "sro", "-o", "yaml", "-n", namespace]),
        (
            "Children",
            vec![
                "get",
                "deployments,jobs,pods",
                "-o",
                "wide",
                "-n",
                namespace,
            ],
        ),
        (
            "Events",
            vec!["get", "events", "--sort-by=.lastTimestamp", "-n", namespace],
        ),
        ("Operator", [&["get", "pods"], &operator[..]].concat()),
        (
            "Operator's log",
            [&log[..], &["--tail=60"], &operator[..]].concat(),
        ),
    ];
    let mut text = String::new();
    for (title, arguments) in questions {
        let answer = testbed.run_kubectl(&arguments).await;
        let answer = answer.unwrap_or_else(|error| error.to_string());
        let _ = writeln!(text, "--- {title} ---\n{}", answer.trim_end());
    }
    text
}
