//! How a live read is made, whatever is read.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::refusal;
use crate::{api::name::is_object_name, cluster::ReadError};

/// Objects per page of a list.
const PAGE: u32 = 100;
/// Pods that are read of a Job. Anybody's pod can carry its label.
const PODS: u32 = 50;
/// How long one waits for what only adds to a message; shorter than for any answer that counts.
const PATIENCE: Duration = Duration::from_secs(2);

/// A list, page by page, of what `pick` makes of its objects.
pub(super) async fn list<K, T>(
    api: &Api<K>,
    labels: &str,
    what: &str,
    pick: impl Fn(K) -> Option<T>,
) -> Result<Vec<T>, ReadError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    let mut picked = Vec::new();
    loop {
        let page = api.list(&params).await.map_err(|e| unread(what, &e))?;
        picked.extend(page.items.into_iter().filter_map(&pick));
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(picked);
        }
    }
}

/// Pods that say they are this Job's.
pub(super) async fn pods_of(api: &Api<Pod>, job: &str) -> Result<Vec<Pod>, String> {
    if !is_object_name(job) {
        return Err(format!("{job:?} is no name of a Job"));
    }
    let params = ListParams::default()
        .labels(&format!("batch.kubernetes.io/job-name={job}"))
        .limit(PODS);
    let pods = api.list(&params).await.map_err(|e| refusal::words(&e))?;
    Ok(pods.items)
}

/// What nothing may wait for, or that nobody said it in time: a kubelet that cannot be reached keeps
/// a request for a log for minutes.
pub(super) async fn in_time<T>(
    words: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, words).await.map_err(late)?
}

/// Why a read has no answer.
pub(super) fn unread(what: &str, error: &kube::Error) -> ReadError {
    ReadError {
        what: what.to_owned(),
        message: refusal::words(error),
    }
}
