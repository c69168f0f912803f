//! The measurements, one after the other, on the cluster that is there.

use std::process::ExitCode;

use testbed::install::OPERATOR;
use testbed::way::Way;
use testbed::{Namespace, Result, Testbed, diagnosis, install};

use crate::figure::Section;
use crate::shop::Shop;
use crate::{
    Arguments, Part, answers, backfill, beside, figure, harm, idle, life, many, page, restart,
    size, start, ways, writes,
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

/// Measures what needs this cluster, prints the table and writes the page.
///
/// # Errors
/// When the operator cannot be installed, or the page not be written.
pub async fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let testbed = Testbed::attach(None).await?;
    install::install(&testbed).await?;
    let mut measured = Measured::default();
    if let Err(error) = run(arguments, &testbed, &mut measured).await {
        eprintln!("{}", diagnosis::describe(&testbed, NAMESPACE).await);
        measured.failed.push(error.to_string());
    }
    Ok(ExitCode::from(u8::from(!say(arguments, &measured)?)))
}

/// Measures what needs no cluster; whether all could be measured.
///
/// # Errors
/// As [`measure`].
pub async fn measure_alone(arguments: &Arguments) -> Result<bool> {
    let mut measured = Measured::default();
    if arguments.begins(Part::Backfill) {
        let runs = arguments.runs.min(MOST_BACKFILLS);
        let backfill = backfill::measure(arguments.rows, runs).await;
        measured.add(Part::Backfill, backfill);
    }
    if arguments.begins(Part::Size) {
        measured.add(Part::Size, size::measure().await);
    }
    say(arguments, &measured)
}

/// Says what came out, and writes that into the page; whether all could be measured.
fn say(arguments: &Arguments, measured: &Measured) -> Result<bool> {
    if measured.sections.is_empty() && measured.failed.is_empty() {
        return Ok(true);
    }
    println!("\n{}", figure::table(&measured.sections));
    for words in &measured.failed {
        println!("NOT MEASURED: {words}");
    }
    page::write(&arguments.page, &measured.sections)?;
    println!("written to {}", arguments.page.display());
    Ok(measured.failed.is_empty())
}

/// What is measured with the shop, one after the other.
const WITH_SHOP: [Part; 5] = [
    Part::Writes,
    Part::Harm,
    Part::Idle,
    Part::Start,
    Part::Many,
];

async fn run(arguments: &Arguments, testbed: &Testbed, measured: &mut Measured) -> Result<()> {
    let wants = |part: Part| arguments.begins(part);
    let has_shop = WITH_SHOP.iter().any(|part| arguments.inside.contains(part));
    if has_shop {
        with_shop(arguments, testbed, measured).await?;
    }
    if wants(Part::Answers) {
        let answers = answers::measure(testbed, arguments.answers).await;
        measured.add(Part::Answers, answers);
    }
    if wants(Part::Beside) {
        measured.add(Part::Beside, beside::measure(testbed).await);
    }
    if wants(Part::Life) {
        measured.add(Part::Life, life::measure(testbed, arguments.runs).await);
    }
    if wants(Part::Ways) {
        let ways = ways::measure(testbed, arguments.runs, arguments.rate).await;
        measured.add(Part::Ways, ways);
    }
    // The last: what it makes stays.
    if wants(Part::Restart) {
        let restart = restart::measure(testbed, &arguments.restart).await;
        measured.add(Part::Restart, restart);
    }
    Ok(())
}

async fn with_shop(
    arguments: &Arguments,
    testbed: &Testbed,
    measured: &mut Measured,
) -> Result<()> {
    let wants = |part: Part| arguments.begins(part);
    let namespace = Namespace::create(testbed, NAMESPACE).await?;
    namespace.add_database_and_service().await?;
    let mut shop = Shop::new(namespace);
    eprintln!("the shop is released for the first time");
    let mut traffic = shop.first_release(Way::Canary, arguments.rate).await?;
    if wants(Part::Writes) {
        let writes = writes::measure(&mut shop, arguments.runs).await;
        measured.add(Part::Writes, writes);
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
