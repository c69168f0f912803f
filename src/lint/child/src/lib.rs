//! A process of its own for the parser: SQL that exhausts its stack or its memory ends that process
//! and no other.
//!
//! A program that has SQL judged calls [`lint`], and [`serve`] where it is started with
//! [`SUBCOMMAND`].

use std::{
    env,
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output, Stdio},
};

use rustix::process::{Resource, Rlimit, setrlimit};
use stepgate_lint::{Finding, Phase, Source, wire};

/// The subcommand that the process is started with.
pub const SUBCOMMAND: &str = "lint-child";
/// What it may use of memory, the program itself not counted.
const MEGABYTES: u64 = 64;
/// What it may use of a processor, for all files.
const SECONDS: u64 = 10;
/// The signal of a process that has used that up.
const SIGXCPU: i32 = 24;
/// That of one whose stack ended where nobody says so.
const SIGSEGV: i32 = 11;

/// Has the files of a phase linted in processes of their own.
///
/// # Errors
/// When no process can be started.
pub fn lint(phase: Phase, files: Vec<Source>) -> Result<Vec<Finding>, String> {
    let mut session = wire::Session::new(phase, files);
    while let Some(request) = session.request() {
        let output = start(&request)
            .map_err(|error| format!("no process to read the SQL in can be started: {error}"))?;
        session.answer(&output.stdout, how_it_ended(&output).as_deref());
    }
    Ok(session.findings())
}

fn start(request: &str) -> io::Result<Output> {
    let mut child = Command::new(env::current_exe()?)
        .arg(SUBCOMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // If it ends before it has read everything, how it ended tells more.
        let _ = input.write_all(request.as_bytes());
    }
    child.wait_with_output()
}

/// Why a process did not end well.
fn how_it_ended(output: &Output) -> Option<String> {
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let signal = output.status.signal();
    Some(
        if said.contains("overflowed its stack") || signal == Some(SIGSEGV) {
            "the parser's stack is exhausted".to_owned()
        } else if said.contains("memory allocation of") {
            format!("it takes more than {MEGABYTES} MB of memory")
        } else {
            match signal {
                Some(SIGXCPU) => format!("it takes more than {SECONDS} seconds"),
                Some(signal) => format!("the parser was ended by signal {signal}"),
                None => {
                    let first = said.lines().find(|line| !line.trim().is_empty());
                    format!("the parser failed: {}", first.unwrap_or("it said nothing"))
                }
            }
        },
    )
}

/// What the process does: takes its limits, and answers on its standard output.
///
/// # Errors
/// When the limits are refused, or what is read is no request.
pub fn serve() -> io::Result<()> {
    let limit = |resource, soft, hard| {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        setrlimit(resource, limit)
    };
    limit(Resource::Data, MEGABYTES << 20, MEGABYTES << 20)?;
    // The first second above it brings the signal that names the reason.
    limit(Resource::Cpu, SECONDS, SECONDS + 1)?;
    limit(Resource::Core, 0, 0)?;
    wire::serve(io::stdin().lock(), io::stdout().lock())
}
