//! The measurements' cluster on this machine.

use std::process::ExitCode;

use clap::ValueEnum as _;
use testbed::local::LocalCluster;
use testbed::traffic::Traffic;
use testbed::{Error, Result, images, program};

use crate::{Arguments, Part, there};

/// Measures what is wanted: on clusters that it starts and removes again, and without one.
///
/// # Errors
/// When a cluster cannot be started.
pub async fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let mut all_measured = true;
    for parts in arguments.on_clusters() {
        if parts.is_empty() {
            continue;
        }
        LocalCluster::check().await?;
        let cluster = LocalCluster::named(&arguments.name);
        let measured = tokio::select! {
            measured = run(&cluster, arguments, &parts) => measured,
            _ = tokio::signal::ctrl_c() => Err(Error::refused("interrupted")),
        };
        if arguments.keep {
            let name = &arguments.name;
            eprintln!("kept; remove it with: tests/programs/cluster/cluster down {name}");
        } else {
            cluster.down().await?;
        }
        all_measured &= measured?;
    }
    all_measured &= there::measure_alone(arguments).await?;
    Ok(ExitCode::from(u8::from(!all_measured)))
}

/// Whether all of these parts could be measured.
async fn run(cluster: &LocalCluster, arguments: &Arguments, parts: &[Part]) -> Result<bool> {
    // What an earlier one left would be measured too.
    cluster.down().await?;
    Traffic::build().await?;
    let archives = images::build(&[]).await?;
    if parts.contains(&Part::Beside) {
        let mut build = program::script("tests/programs/cluster/cluster");
        program::show(build.args(["build", "--tool", "argo-rollouts"])).await?;
    }
    cluster.up().await?;
    cluster.load(&archives).await?;
    if parts.contains(&Part::Ways) {
        let mut install = program::script("tests/programs/gateways/install");
        program::show(install.arg(&arguments.name)).await?;
    }
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    let names = parts.iter().filter_map(Part::to_possible_value);
    let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
    let inside = ["--inside".into(), names.join(",").into()];
    let options = std::env::args_os().skip(1).chain(inside);
    let mut inside = cluster.inside(&us, options);
    let status = inside.status().await;
    let status = status.map_err(|error| Error::refused(format!("the bench inside: {error}")))?;
    Ok(status.success())
}
