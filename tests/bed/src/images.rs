//! The images that run on the bed.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Error, Result, program};

/// Every image of the bed, as `localhost/stepgate/NAME:test`.
pub const IMAGES: [&str; 5] = ["stepgate", "shop", "postgres", "prometheus", "busybox"];

/// Builds archives of all images, or finds them in the cache.
///
/// # Errors
/// When a program is missing, or an image cannot be built.
pub async fn build() -> Result<Vec<PathBuf>> {
    let (stripped, prometheus) = tokio::try_join!(programs(), prometheus())?;
    let image = |name: &'static str| {
        let mut command = program::script("tests/images/build");
        command.arg(name);
        match name {
            "stepgate" | "shop" => drop(command.arg(stripped.path().join(name))),
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

/// The operator and the shop, without what only a debugger reads.
async fn programs() -> Result<tempfile::TempDir> {
    let cannot = |error: std::io::Error| Error::refused(format!("no room for programs: {error}"));
    let folder = tempfile::tempdir().map_err(cannot)?;
    for name in ["stepgate", "shop"] {
        let built = beside_us(name)?;
        let mut strip = program::command("strip");
        strip.arg("-o").arg(folder.path().join(name)).arg(built);
        program::output(&mut strip).await?;
    }
    Ok(folder)
}

/// A program of the workspace, built where this one was.
fn beside_us(name: &str) -> Result<PathBuf> {
    let us =
        std::env::current_exe().map_err(|error| Error::refused(format!("who am I? {error}")))?;
    let folders = us.ancestors().skip(1).take(2);
    let mut found = folders.map(|folder| folder.join(name));
    found.find(|path| Path::is_file(path)).ok_or_else(|| {
        let words = format!(
            "{name} is not built beside {}: cargo build -p stepgate -p shop, with the same profile",
            us.display()
        );
        Error::refused(words)
    })
}

/// Prometheus, built from its pins.
async fn prometheus() -> Result<PathBuf> {
    let mut build = program::script("tests/cluster/cluster");
    program::show(build.args(["build", "--tool", "prometheus"])).await?;
    let mut path = program::script("tests/cluster/cluster");
    let printed = program::output(path.args(["path", "prometheus"])).await?;
    Ok(PathBuf::from(printed.trim()))
}
