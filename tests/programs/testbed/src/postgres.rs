//! PostgreSQL of a namespace, as an administrator has it, and what phases in SQL need there.

use std::process::Stdio;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::ListParams};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;

use crate::install::address;
use crate::{Error, Namespace, Result, kill, program};

/// Until its first error, and with nothing but answers.
const QUIET: [&str; 5] = ["-X", "-v", "ON_ERROR_STOP=1", "-tA", "-q"];

/// What a query answers, without headings.
///
/// # Errors
/// With the words of `psql`.
pub async fn query(namespace: &Namespace, text: &str) -> Result<String> {
    query_of(namespace, "postgres", text).await
}

/// The same, of the server of this Deployment.
///
/// # Errors
/// With the words of `psql`.
pub async fn query_of(namespace: &Namespace, deployment: &str, text: &str) -> Result<String> {
    let deployment = format!("deploy/{deployment}");
    let exec = ["exec", &deployment, "--", "psql", "-h", "127.0.0.1"];
    let words = [&exec[..], &["-U", "shop"], &QUIET, &["-c", text]].concat();
    Ok(namespace.kubectl(&words).await?.trim().to_owned())
}

/// The same by the address of its pod: `kubectl exec` and Services need the kubelet.
///
/// # Errors
/// With the words of `psql`.
pub async fn query_without_kubelet(namespace: &Namespace, text: &str) -> Result<String> {
    let pod = pod(namespace).await?;
    let address = pod.status.and_then(|status| status.pod_ip);
    let address = address.ok_or_else(|| Error::refused("PostgreSQL's pod has no address"))?;
    let mut psql = program::command("psql");
    psql.args(["-h", &address, "-U", "shop"]).args(QUIET);
    let answer = program::output(psql.args(["-c", text])).await?;
    Ok(answer.trim().to_owned())
}

/// A transaction that stays open, as that of a report or of somebody at a terminal.
#[derive(Debug)]
pub struct Transaction(Child);

impl Transaction {
    /// Begins it with this statement, and waits for its answer.
    ///
    /// # Errors
    /// When the statement is refused.
    pub async fn begin(namespace: &Namespace, statement: &str) -> Result<Self> {
        let refused = |why: String| Error::refused(format!("a transaction: {why}"));
        let place = ["-n", namespace.name(), "exec", "-i", "deploy/postgres"];
        let psql = ["--", "psql", "-h", "127.0.0.1", "-U", "shop"];
        let words = [&place[..], &psql[..], &QUIET].concat();
        let mut command = namespace.testbed().kubectl(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = command.spawn().map_err(|e| refused(e.to_string()))?;
        let text = format!("BEGIN;\n{statement};\n\\echo begun\n");
        if let Some(stdin) = &mut psql.stdin {
            let written = stdin.write_all(text.as_bytes()).await;
            written.map_err(|e| refused(e.to_string()))?;
        }
        if let Some(stdout) = psql.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "begun" {
                    return Ok(Self(psql));
                }
            }
        }
        Err(refused(format!("`{statement}` was not answered")))
    }

    /// Commits it.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn commit(mut self) -> Result<()> {
        let refused = |why: String| Error::refused(format!("COMMIT: {why}"));
        if let Some(mut stdin) = self.0.stdin.take() {
            let written = stdin.write_all(b"COMMIT;\n").await;
            written.map_err(|e| refused(e.to_string()))?;
        }
        let ended = self.0.wait().await.map_err(|e| refused(e.to_string()))?;
        let well = ended.success().then_some(());
        well.ok_or_else(|| refused(ended.to_string()))
    }
}

/// Makes the Secret `ddl` with the connection of this role, or changes it.
///
/// # Errors
/// With the words of `kubectl`.
pub async fn connection(namespace: &Namespace, role: &str) -> Result<()> {
    let address = address(namespace.testbed(), namespace.name(), "postgres").await?;
    let uri = format!("--from-literal=uri=postgres://{role}@{address}:5432/shop");
    namespace
        .kubectl(&["delete", "secret", "ddl", "--ignore-not-found"])
        .await?;
    let create = ["create", "secret", "generic", "ddl", &uri];
    namespace.kubectl(&create).await.map(drop)
}

/// Makes the ConfigMap `sql` with these files, or makes it anew.
///
/// # Errors
/// With the words of `kubectl`.
pub async fn files(namespace: &Namespace, files: &[(&str, &str)]) -> Result<()> {
    namespace
        .kubectl(&["delete", "configmap", "sql", "--ignore-not-found"])
        .await?;
    let files = files.iter();
    let files: Vec<String> = files
        .map(|(name, text)| format!("--from-literal={name}={text}"))
        .collect();
    let create = ["create", "configmap", "sql"].into_iter();
    let words: Vec<&str> = create.chain(files.iter().map(String::as_str)).collect();
    namespace.kubectl(&words).await.map(drop)
}

/// Approves `version/phase/digest` of a database as whoever this is; the annotation.
///
/// # Errors
/// With the words of `kubectl`.
pub async fn approve(
    namespace: &Namespace,
    database: &str,
    target: &str,
    id: &str,
) -> Result<String> {
    let name = "jsonpath={.status.userInfo.username}";
    let user = namespace.kubectl(&["auth", "whoami", "-o", name]).await?;
    let annotation = format!("stepgate.io/approve={target} {id} {}", user.trim());
    let annotate = ["annotate", "databaseschema", database, "--overwrite"];
    namespace
        .kubectl(&[&annotate[..], &[&annotation]].concat())
        .await?;
    Ok(annotation)
}

/// Kills its server, with all sessions; it starts again over the same data.
///
/// # Errors
/// When there is none.
pub async fn crash(namespace: &Namespace) -> Result<()> {
    let pod = pod(namespace).await?.name_any();
    kill::container(namespace.testbed(), namespace.name(), &pod)
        .await
        .map(drop)
}

/// The pod of its server.
async fn pod(namespace: &Namespace) -> Result<Pod> {
    let of_it = ListParams::default().labels("app=postgres");
    let pods = namespace.api::<Pod>().list(&of_it).await;
    let pods = pods.map_err(Error::api("the pod of PostgreSQL"))?;
    let pod = pods.items.into_iter().next();
    pod.ok_or_else(|| Error::refused("there is no PostgreSQL"))
}
