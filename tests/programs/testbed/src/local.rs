//! A cluster on this machine, as `tests/programs/cluster/cluster` makes it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Result, program};

/// A running cluster. It stays until [`LocalCluster::down`].
#[derive(Debug)]
pub struct LocalCluster {
    name: String,
}

fn cluster(arguments: &[&str]) -> Command {
    let mut command = program::script("tests/programs/cluster/cluster");
    command.args(arguments);
    command
}

impl LocalCluster {
    /// A name, whether or not there is a cluster of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Whether this machine can run one; what is missing is said on the terminal.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn check() -> Result<()> {
        program::show(&mut cluster(&["check"])).await
    }

    /// Whether it is running.
    pub async fn is_up(&self) -> bool {
        program::output(&mut cluster(&["env", &self.name]))
            .await
            .is_ok()
    }

    /// Starts it, building its programs first if need be.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn up(&self) -> Result<()> {
        program::show(&mut cluster(&["up", &self.name])).await
    }

    /// Loads images into its node.
    ///
    /// # Errors
    /// When an archive cannot be read.
    pub async fn load(&self, archives: &[PathBuf]) -> Result<()> {
        let mut command = cluster(&["image", &self.name]);
        command.args(archives);
        program::output(&mut command).await.map(drop)
    }

    /// A command inside its network, as its administrator.
    pub fn inside(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Command {
        let mut command = cluster(&["exec", &self.name, "--"]);
        command.arg(program).args(arguments);
        command
    }

    /// Kills one of its components, and nothing else.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn stop(&self, component: &str) -> Result<()> {
        program::output(&mut cluster(&["stop", &self.name, component]))
            .await
            .map(drop)
    }

    /// Starts a component again, and waits until it works.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(&self, component: &str) -> Result<()> {
        program::output(&mut cluster(&["start", &self.name, component]))
            .await
            .map(drop)
    }

    /// Removes it and all it left.
    ///
    /// # Errors
    /// When something is left.
    pub async fn down(&self) -> Result<()> {
        program::output(&mut cluster(&["down", &self.name]))
            .await
            .map(drop)
    }
}
