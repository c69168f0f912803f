//! The demo on a cluster that is started for it on this machine.

use std::process::ExitCode;

use testbed::local::LocalCluster;
use testbed::traffic::Traffic;
use testbed::way::Way;
use testbed::{Error, Result, images, program};
use tokio::signal::unix::{SignalKind, signal};

use crate::Arguments;

/// Starts a cluster, shows the demo in it, and removes it again.
///
/// # Errors
/// When the cluster cannot be started.
pub async fn show(arguments: &Arguments) -> Result<ExitCode> {
    LocalCluster::check().await?;
    let cluster = LocalCluster::named(&arguments.name);
    if cluster.is_up().await {
        return Err(kept(&arguments.name));
    }
    let shown = tokio::select! {
        shown = run(&cluster, arguments) => shown,
        // The demo inside hears an interrupt itself, and says how far it got.
        () = terminated() => Ok(ExitCode::from(143)),
    };
    if arguments.keep {
        let name = &arguments.name;
        println!(
            "\nkept: tests/programs/cluster/cluster exec {name} -- kubectl get sro -n demo -o wide"
        );
        println!("      tests/programs/cluster/cluster down {name}");
    } else {
        println!("removing the cluster");
        cluster.down().await?;
    }
    shown
}

/// A cluster that was kept is somebody's: it is not removed unasked.
fn kept(name: &str) -> Error {
    Error::refused(format!(
        "cluster {name} is still there: an earlier demo was kept (KEEP=1) or killed. Remove it with \
         tests/programs/cluster/cluster down {name}, or leave it and give this demo another name: \
         make demo NAME={name}-2"
    ))
}

async fn run(cluster: &LocalCluster, arguments: &Arguments) -> Result<ExitCode> {
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let prepare = async {
        // What a demo left that was killed, if it is not running.
        cluster.down().await?;
        println!("images and programs; only the first time this takes long");
        Traffic::build().await?;
        let archives = images::build(&[]).await?;
        cluster.up().await?;
        cluster.load(&archives).await?;
        if arguments.strategy == Way::Weighted {
            // Builds them too, if need be.
            let mut install = program::script("tests/programs/gateways/install");
            program::show(install.arg(&arguments.name)).await?;
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        prepared = prepare => prepared?,
        () = &mut interrupted => return Ok(ExitCode::from(130)),
    }
    let us = std::env::current_exe();
    let us = us.map_err(|error| Error::refused(format!("who am I? {error}")))?;
    // Settings from the environment are found there again.
    let options = std::iter::once("--inside".to_owned()).chain(std::env::args().skip(1));
    let mut inside = cluster.inside(&us, options);
    let status = inside.status().await;
    let status = status.map_err(|error| Error::refused(format!("the demo inside: {error}")))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// An interrupt. Afterwards another one does not end this process either: it cleans up.
async fn interrupted() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupts) => drop(interrupts.recv().await),
        Err(_) => std::future::pending().await,
    }
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}
