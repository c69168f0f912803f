//! The operator's process, and what it takes.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use testbed::install::OPERATOR;
use testbed::{Error, Result, Testbed, program};

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now: its own and what it maps of files.
    pub resident: u64,
    /// Of that, its own.
    pub own: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

impl Memory {
    /// Of the operator's pod.
    pub async fn of_operator(testbed: &Testbed) -> Result<Self> {
        Self::of(pid(testbed).await?)
    }

    /// Of a process.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| Error::refused(format!("{path}: {error}")))?;
        Self::parse(&text).ok_or_else(|| Error::refused(format!("{path}: no memory in it")))
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes * 1024)
        };
        Some(Self {
            resident: bytes("VmRSS:")?,
            own: bytes("RssAnon:")?,
            peak: bytes("VmHWM:")?,
        })
    }

    /// In words.
    pub fn words(&self) -> String {
        format!(
            "{} resident, {} of it its own; at the most {}",
            megabytes(self.resident),
            megabytes(self.own),
            megabytes(self.peak)
        )
    }
}

/// In millions of bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The process of the one pod of the operator, on this machine.
async fn pid(testbed: &Testbed) -> Result<u32> {
    let pods: Api<Pod> = Api::namespaced(testbed.client(), OPERATOR);
    let params = ListParams::default().labels("app.kubernetes.io/component=operator");
    let list = pods.list(&params).await;
    let list = list.map_err(Error::api("the operator's pods"))?;
    let ids: Vec<_> = list
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| {
            let name = pod.name_any();
            let id = pod
                .status?
                .container_statuses?
                .into_iter()
                .next()?
                .container_id?;
            Some((name, id))
        })
        .collect();
    let [(name, id)] = ids.as_slice() else {
        let words = format!("not one pod of the operator runs, but {}", ids.len());
        return Err(Error::refused(words));
    };
    let socket = std::env::var_os("CONTAINERD_SOCKET")
        .ok_or_else(|| Error::refused("CONTAINERD_SOCKET is not set"))?;
    let mut list = program::command("ctr");
    list.arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io", "tasks", "list"]);
    let tasks = program::output(&mut list).await?;
    let id = id.trim_start_matches("containerd://");
    let line = tasks.lines().find(|line| line.starts_with(id));
    let pid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    pid.ok_or_else(|| Error::refused(format!("pod {name} has no process: {tasks}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_of_our_own_process() {
        let own = Memory::of(std::process::id()).unwrap();
        assert!(
            own.own > 0 && own.own < own.resident && own.resident <= own.peak,
            "{own:?}"
        );
    }
}
