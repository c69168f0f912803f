//! The measurements, one after the other, on the cluster that is there.

use std::process::ExitCode;

use testbed::install::OPERATOR;
use testbed::{Namespace, Result, Testbed, diagnosis, install};

use crate::figure::Section;
use crate::shop::Shop;
use crate::{
    Arguments, Part, answers, backfill, figure, harm, idle, many, page, restart, size, start,
    writes,
};

const NAMESPACE: &str = "bench";
/// Each takes a minute or more, three ways.
const MOST_BACKFILLS: u32 = 3;

/// What came out so far.
#[derive(Debug, Default)]
struct Measured {
    sections: Vec<Section>,
    /// What could not be measured, and why.
    failed: Vec<String>,
}

impl Measured {
    fn add(&mut self, part: Part, section: Result<Section>) {
        match section {
            Ok(section) => {
                eprint!("{}", figure::table(std::slice::from_ref(&section)));
                self.sections.push(section);
            }
            Err(error) => {
                eprintln!("NOT MEASURED: {error}");
                self.failed.push(format!("{part:?}: {error}"));
            }
        }
    }
}

/// Measures everything, prints the table and writes the page.
///
/// # Errors
/// When the operator cannot be installed, or the page not be written.
pub async fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let testbed = Testbed::attach(None).await?;
    install::install(&testbed).await?;
    let namespace = Namespace::create(&testbed, NAMESPACE).await?;
    let mut measured = Measured::default();
    if let Err(error) = run(arguments, &testbed, namespace, &mut measured).await {
        eprintln!("{}", diagnosis::describe(&testbed, NAMESPACE).await);
        measured.failed.push(error.to_string());
    }
    without_a_cluster(arguments, &mut measured).await;
    say(arguments, &measured)
}

/// Measures only what needs no cluster.
///
/// # Errors
/// As [`measure`].
pub async fn measure_alone(arguments: &Arguments) -> Result<ExitCode> {
    let mut measured = Measured::default();
    without_a_cluster(arguments, &mut measured).await;
    say(arguments, &measured)
}

async fn without_a_cluster(arguments: &Arguments, measured: &mut Measured) {
    if arguments.begins(Part::Backfill) {
        let runs = arguments.runs.min(MOST_BACKFILLS);
        let backfill = backfill::measure(arguments.rows, runs).await;
        measured.add(Part::Backfill, backfill);
    }
    if arguments.begins(Part::Size) {
        measured.add(Part::Size, size::measure().await);
    }
}

fn say(arguments: &Arguments, measured: &Measured) -> Result<ExitCode> {
    println!("\n{}", figure::table(&measured.sections));
    for words in &measured.failed {
        println!("NOT MEASURED: {words}");
    }
    if arguments.only.is_empty() && measured.failed.is_empty() {
        page::write(&arguments.page, &measured.sections)?;
        println!("written to {}", arguments.page.display());
    }
    Ok(ExitCode::from(u8::from(!measured.failed.is_empty())))
}

async fn run(
    arguments: &Arguments,
    testbed: &Testbed,
    namespace: Namespace,
    measured: &mut Measured,
) -> Result<()> {
    let wants = |part: Part| arguments.begins(part);
    namespace.add_database_and_service().await?;
    let mut shop = Shop::new(namespace);
    eprintln!("the shop is released for the first time");
    let mut traffic = shop.first_release(arguments.rate).await?;
    if wants(Part::Writes) {
        measured.add(
            Part::Writes,
            writes::measure(&mut shop, arguments.runs).await,
        );
    }
    if wants(Part::Harm) {
        let harm = harm::measure(&mut shop, &mut traffic, arguments.runs).await;
        measured.add(Part::Harm, harm);
    }
    traffic.stop().await?;
    if wants(Part::Idle) {
        measured.add(Part::Idle, idle::measure(arguments.idle_seconds).await);
    }
    if wants(Part::Start) {
        measured.add(Part::Start, start::measure(testbed).await);
    }
    if wants(Part::Many) {
        measured.add(Part::Many, many::measure(testbed, arguments.many).await);
    }
    if wants(Part::Answers) {
        measured.add(
            Part::Answers,
            answers::measure(testbed, arguments.answers).await,
        );
    }
    if wants(Part::Restart) {
        let restart = restart::measure(testbed, &arguments.restart).await;
        measured.add(Part::Restart, restart);
    }
    Ok(())
}

/// Runs so many pods of the operator, and waits for that.
///
/// # Errors
/// When it does not come about.
pub async fn scale_operator(testbed: &Testbed, pods: u32) -> Result<()> {
    let count = format!("--replicas={pods}");
    let of = ["-n", OPERATOR];
    let scale = [&["scale", "deployment/stepgate", &count][..], &of].concat();
    testbed.run_kubectl(&scale).await?;
    let selector = "app.kubernetes.io/component=operator";
    let wait: &[&str] = match pods {
        0 => &[
            "wait",
            "pod",
            "-l",
            selector,
            "--for=delete",
            "--timeout=600s",
        ],
        _ => &["rollout", "status", "deployment/stepgate", "--timeout=600s"],
    };
    testbed.run_kubectl(&[wait, &of].concat()).await.map(drop)
}
