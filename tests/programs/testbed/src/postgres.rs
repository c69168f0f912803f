//! PostgreSQL of a namespace, as an administrator has it, and what phases in SQL need there.

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::ListParams};

use crate::install::address;
use crate::{Error, Namespace, Result, kill};

/// What a query answers, without headings.
///
/// # Errors
/// With the words of `psql`.
pub async fn query(namespace: &Namespace, text: &str) -> Result<String> {
    let exec = ["exec", "deploy/postgres", "--"];
    let psql = ["psql", "-h", "127.0.0.1", "-U", "shop"];
    let how = ["-v", "ON_ERROR_STOP=1", "-tAqc", text];
    let words = [&exec[..], &psql[..], &how[..]].concat();
    Ok(namespace.kubectl(&words).await?.trim().to_owned())
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
    let of_it = ListParams::default().labels("app=postgres");
    let pods = namespace.api::<Pod>().list(&of_it).await;
    let pods = pods.map_err(Error::api("the pod of PostgreSQL"))?;
    let pod = pods.items.first();
    let pod = pod.ok_or_else(|| Error::refused("there is no PostgreSQL"))?;
    kill::container(namespace.testbed(), namespace.name(), &pod.name_any())
        .await
        .map(drop)
}
