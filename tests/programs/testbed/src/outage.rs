//! Parts of the local cluster that end and come back, as in an outage.

use crate::local::LocalCluster;
use crate::{Error, Result};

/// What can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The API server.
    ApiServer,
    /// The node's kubelet: its pods run on, and nobody looks after them.
    Kubelet,
}

impl Part {
    const fn component(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::Kubelet => "kubelet",
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// When this is not the local cluster, or it does not run.
    pub async fn stop(self) -> Result<()> {
        here()?.stop(self.component()).await
    }

    /// Starts it again, if it is away, and waits until it works.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(self) -> Result<()> {
        here()?.start(self.component()).await
    }
}

/// The cluster in whose network this runs.
fn here() -> Result<LocalCluster> {
    let name = std::env::var("CLUSTER")
        .ok()
        .filter(|name| !name.is_empty());
    let words =
        "parts of a cluster can be stopped on the local one only: run this by `cluster exec`";
    let name = name.ok_or_else(|| Error::refused(words))?;
    Ok(LocalCluster::named(&name))
}
