//! The demo on a cluster that is there.

use std::process::ExitCode;

use testbed::traffic::Traffic;
use testbed::way::Way;
use testbed::{Error, Namespace, Result, Testbed, diagnosis, images, install};

use crate::{Arguments, What, figures, story, study};

/// The namespace of the demo.
pub const NAMESPACE: &str = "demo";

/// Installs what the demo needs, shows it, and removes it again.
///
/// # Errors
/// When something needed is not there.
pub async fn show(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.strategy == Way::Weighted && !arguments.inside {
        let words = "STRATEGY=weighted needs the gateway of the demo's own cluster: unset KUBECONFIG \
                     and CONTEXT, or choose another strategy";
        return Err(Error::refused(words));
    }
    let context = arguments.context.clone().filter(|name| !name.is_empty());
    let testbed = Testbed::attach(context).await?;
    if !arguments.inside {
        explain(&testbed).await?;
    }
    let shown = tokio::select! {
        shown = play(arguments, &testbed) => shown,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    };
    if let Err(error) = &shown {
        eprintln!(
            "\ndemo: {error}\n\n{}",
            diagnosis::describe(&testbed, NAMESPACE).await
        );
    }
    if !arguments.inside && !arguments.keep {
        println!("removing what was installed");
        let namespace = testbed.run_kubectl(&["get", "namespace", NAMESPACE]).await;
        if namespace.is_ok() {
            Namespace::create(&testbed, NAMESPACE)
                .await?
                .remove()
                .await?;
        }
        install::uninstall(&testbed).await?;
    }
    // It has been said, with all that is known.
    Ok(shown.unwrap_or(ExitCode::FAILURE))
}

async fn play(arguments: &Arguments, testbed: &Testbed) -> Result<ExitCode> {
    println!("installing Prometheus and Stepgate (deploy/install.yaml)");
    install::install(testbed).await?;
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    let options = match arguments.what() {
        What::Releases(options) => options,
        What::Study(options) => return study::play(arguments, &options, &namespace).await,
    };
    println!("PostgreSQL and the shop's Service, in namespace {NAMESPACE}");
    namespace.add_database_and_service().await?;
    let told = story::tell(arguments, &options, &namespace).await?;
    println!("\n{}", figures::table(&told));
    Ok(ExitCode::from(u8::from(!told.as_promised())))
}

/// What a cluster of one's own needs.
async fn explain(testbed: &Testbed) -> Result<()> {
    println!(
        "this is your cluster at {}. The demo installs there, and removes again:",
        testbed.server()
    );
    println!(
        "  Stepgate with its CRDs ({}), Prometheus ({}), the shop ({NAMESPACE})",
        install::OPERATOR,
        install::MONITORING
    );
    println!(
        "It needs an administrator's rights, about 1 CPU and 1 GiB, and these images on the nodes;"
    );
    println!(
        "load them now if they are not there (`kind load image-archive FILE`, `k3d image import FILE`,"
    );
    println!("`minikube image load FILE`):");
    Traffic::build().await?;
    let archives = images::build(&[]).await.map_err(|error| {
        let words =
            "the images are built on Linux with buildah and Go, see tests/programs/images/build";
        Error::refused(format!("{error}\n{words}"))
    })?;
    for (image, archive) in images::IMAGES.iter().zip(archives) {
        println!("  localhost/stepgate/{image}:test  {}", archive.display());
    }
    Ok(())
}
