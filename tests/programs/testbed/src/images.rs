//! The images that run on the testbed.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Error, Result, program};

/// Every image of the testbed, as `localhost/stepgate/NAME:test`.
pub const IMAGES: [&str; 6] = [
    "stepgate",
    "stepgate-sql",
    "shop",
    "postgres",
    "prometheus",
    "busybox",
];

/// Those that are made of a program of the workspace.
const PROGRAMS: [&str; 3] = ["stepgate", "stepgate-sql", "shop"];

/// Builds archives of all images, or finds them in the cache. The workspace's programs are taken
/// from these folders, the first in which they are; without any, from beside this program.
///
/// # Errors
/// When a program is missing, or an image cannot be built.
pub async fn build(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (stripped, prometheus) = tokio::try_join!(programs(folders), prometheus())?;
    let image = |name: &'static str| {
        let mut command = program::script("tests/programs/images/build");
        command.arg(name);
        match name {
            name if PROGRAMS.contains(&name) => drop(command.arg(stripped.path().join(name))),
            "prometheus" => drop(command.arg(&prometheus)),
            _ => {}
        }
        async move { archive(command).await }
    };
    futures::future::try_join_all(IMAGES.map(image)).await
}

async fn archive(mut command: Command) -> Result<PathBuf> {
    let printed = program::output(&mut command).await?;
    Ok(PathBuf::from(printed.trim()))
}

/// The workspace's programs, without what only a debugger reads.
async fn programs(folders: &[PathBuf]) -> Result<tempfile::TempDir> {
    let cannot = |error: std::io::Error| Error::refused(format!("no room for programs: {error}"));
    let folder = tempfile::tempdir().map_err(cannot)?;
    for name in PROGRAMS {
        let built = find(name, folders)?;
        let mut strip = program::command("strip");
        strip.arg("-o").arg(folder.path().join(name)).arg(built);
        program::output(&mut strip).await?;
    }
    Ok(folder)
}

/// A program of the workspace.
fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    let beside = us.parent().map(Path::to_owned);
    let folders: Vec<_> = match folders {
        [] => beside.into_iter().collect(),
        some => some.to_vec(),
    };
    let mut found = folders.iter().map(|folder| folder.join(name));
    found.find(|path| path.is_file()).ok_or_else(|| {
        let words = format!("{name} is not built in any of {folders:?}: cargo build -p {name}");
        Error::refused(words)
    })
}

/// Prometheus, built from its pins.
async fn prometheus() -> Result<PathBuf> {
    let mut build = program::script("tests/programs/cluster/cluster");
    program::show(build.args(["build", "--tool", "prometheus"])).await?;
    let mut path = program::script("tests/programs/cluster/cluster");
    let printed = program::output(path.args(["path", "prometheus"])).await?;
    Ok(PathBuf::from(printed.trim()))
}
