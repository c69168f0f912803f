//! The measurements' cluster on this machine.

use std::process::ExitCode;

use testbed::local::LocalCluster;
use testbed::traffic::Traffic;
use testbed::{Error, Result, images};

use crate::{Arguments, there};

/// Starts a cluster, measures in it, and removes it again.
///
/// # Errors
/// When the cluster cannot be started.
pub async fn measure(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.needs_no_cluster() {
        return there::measure_alone(arguments).await;
    }
    LocalCluster::check().await?;
    let cluster = LocalCluster::named(&arguments.name);
    let measured = tokio::select! {
        measured = run(&cluster) => measured,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    };
    if arguments.keep {
        let name = &arguments.name;
        eprintln!("kept; remove it with: tests/programs/cluster/cluster down {name}");
    } else {
        cluster.down().await?;
    }
    measured
}

async fn run(cluster: &LocalCluster) -> Result<ExitCode> {
    // What an earlier one left would be measured too.
    cluster.down().await?;
    Traffic::build().await?;
    let archives = images::build(&[]).await?;
    cluster.up().await?;
    cluster.load(&archives).await?;
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    let options = std::env::args_os().skip(1).chain(["--inside".into()]);
    let mut inside = cluster.inside(&us, options);
    let status = inside.status().await;
    let status = status.map_err(|error| Error::refused(format!("the bench inside: {error}")))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
