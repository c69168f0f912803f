//! The walls between the parts of the program, as the text of `src/` keeps them: who sees whom, and
//! who sees a client, a clock or async. And `pub` means that somebody outside of the library uses
//! it, so that the compiler says what nobody does.

// What a test gives up on ends the test.
#![allow(clippy::unwrap_used)]

mod circles;
mod doors;
mod pages;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The parts, lower ones first, and the parts that each one sees.
const PARTS: [(&str, &[&str]); 8] = [
    ("api", &[]),
    ("evidence", &["api"]),
    ("plan", &["api", "evidence"]),
    ("cluster", &["api", "evidence", "plan"]),
    ("prometheus", &["api", "evidence"]),
    ("simulate", &["api", "evidence", "plan", "cluster"]),
    (
        "operator",
        &["api", "evidence", "plan", "cluster", "prometheus"],
    ),
    ("cli", &["api", "plan", "simulate"]),
];

/// Something that few may name.
struct Few {
    what: &'static str,
    /// Beginnings of paths, `crate` being the library; or a name anywhere in one.
    names: &'static [&'static str],
    /// Of these, what everybody may name.
    but: &'static [&'static str],
    /// Beginnings of files under `src/`.
    who: &'static [&'static str],
}

const FEW: [Few; 11] = [
    Few {
        what: "the API server's client",
        names: &["kube"],
        // The derives of the custom resources: they are no client.
        but: &[
            "kube::CustomResource",
            "kube::CustomResourceExt",
            "kube::KubeSchema",
        ],
        who: &[
            "cluster/kubernetes/",
            "operator/client.rs",
            "operator/events.rs",
            "operator/lease",
            "operator/start.rs",
        ],
    },
    Few {
        what: "the adapter to the API server",
        names: &["crate::cluster::kubernetes"],
        but: &[],
        who: &["cluster/kubernetes/", "operator/"],
    },
    Few {
        what: "a client of metric sources",
        names: &["reqwest", "prometheus_http_query"],
        but: &[],
        who: &["prometheus/"],
    },
    Few {
        what: "the network",
        names: &["hyper", "hyper_util", "tower", "std::net"],
        but: &[],
        who: &["cluster/kubernetes/", "operator/"],
    },
    Few {
        what: "own metrics and logs",
        names: &["prometheus_client", "tracing"],
        but: &[],
        who: &["cluster/kubernetes/", "prometheus/", "operator/"],
    },
    Few {
        what: "a clock",
        names: &[
            "Timestamp::now",
            "Zoned::now",
            "SystemTime",
            "Instant::now",
            "std::time::Instant",
        ],
        but: &[],
        who: &["prometheus/", "operator/"],
    },
    Few {
        what: "an order by chance",
        names: &["HashMap", "HashSet"],
        but: &[],
        who: &["cluster/kubernetes/", "operator/"],
    },
    Few {
        what: "chance",
        names: &[
            "rand",
            "fastrand",
            "getrandom",
            "uuid",
            "RandomState",
            "BuildHasher",
        ],
        but: &[],
        // The simulator's own random numbers have a seed.
        who: &["operator/"],
    },
    Few {
        what: "an async runtime",
        names: &["tokio"],
        but: &[],
        who: &["cluster/kubernetes/", "prometheus/", "operator/", "main.rs"],
    },
    Few {
        what: "futures beside each other",
        names: &["futures"],
        but: &[],
        who: &[
            "cluster/kubernetes/",
            "cluster/pass/",
            "prometheus/",
            "operator/",
        ],
    },
    Few {
        what: "async",
        names: &["async", "await"],
        but: &[],
        // The simulator drives the code that the operator runs.
        who: &[
            "cluster/",
            "prometheus/",
            "operator/",
            "simulate/driver.rs",
            "main.rs",
        ],
    },
];

#[test]
fn every_wall_stands() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        broken.extend(breaches(&file, &text));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Where this text, as that of the file of this name, breaks a wall.
fn breaches(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let (part, _) = file.split_once('/').unwrap_or((file, ""));
    let sees = PARTS.iter().find(|(name, _)| *name == part);
    for (line, path) in paths(file, text) {
        let mut segments = path.split("::");
        let seen = segments.next().filter(|first| *first == "crate");
        let seen = seen.and_then(|_| segments.next()).unwrap_or(part);
        if let Some((_, sees)) = sees
            && seen != part
            && PARTS.iter().any(|(name, _)| *name == seen)
            && !sees.contains(&seen)
        {
            broken.push(format!(
                "src/{file}:{line}: `{part}` sees nothing of `{seen}`: {path}"
            ));
        }
        for few in &FEW {
            if few.names.iter().any(|name| names(&path, name))
                && !few.but.contains(&path.as_str())
                && !few.who.iter().any(|who| file.starts_with(who))
            {
                let what = few.what;
                broken.push(format!("src/{file}:{line}: it sees {what}: {path}"));
            }
        }
    }
    broken
}

/// Who judges SQL reads no file, starts no process and knows no time: his callers do.
#[test]
fn the_judge_of_sql_has_nothing_but_its_text() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lint/src");
    let mut seen = 0;
    for file in files(&source) {
        if file.ends_with("tests.rs") {
            continue;
        }
        seen += 1;
        for (line, path) in paths("lint.rs", &fs::read_to_string(&file).unwrap()) {
            let is_forbidden = ["fs", "process", "net", "env", "thread", "time", "os"]
                .iter()
                .any(|part| names(&path, &format!("std::{part}")));
            assert!(!is_forbidden, "{}:{line}: {path}", file.display());
        }
    }
    assert!(seen > 0);
}

/// Whether the path leads through the name: the beginning of it, or a type's name anywhere. A word
/// alone is a variable, but for those of the language.
fn names(path: &str, name: &str) -> bool {
    let word = !path.contains("::") && !["async", "await"].contains(&path);
    let of_a_type = name.contains(char::is_uppercase);
    let (path, name) = (format!("::{path}::"), format!("::{name}::"));
    !word && (path.starts_with(&name) || of_a_type && path.contains(&name))
}

/// All paths that a file names, those of `use` trees one by one, and their lines. Those through
/// `super` and `self` are written from `crate` on.
fn paths(file: &str, text: &str) -> Vec<(usize, String)> {
    paths_of(&tokens(text), &module(file))
}

/// The module that a file is, by its parts.
fn module(file: &str) -> Vec<&str> {
    let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
    ["crate"].into_iter().chain(module.split('/')).collect()
}

fn paths_of(tokens: &[Token], module: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        tree(tokens, &mut at, &[], module, &mut found);
    }
    found
}

/// Whether a token begins a path.
fn begins(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

type Token = (usize, String);

/// Reads one path, with the tree that it ends in; anything else is passed over.
fn tree(
    tokens: &[Token],
    at: &mut usize,
    stem: &[&str],
    module: &[&str],
    found: &mut Vec<(usize, String)>,
) {
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    if !begins(text(*at)) {
        *at += 1;
        return;
    }
    let line = tokens[*at].0;
    let mut path = stem.to_vec();
    loop {
        match text(*at) {
            "self" if path.is_empty() => path.extend(module),
            // `super` of a module inside of a file leads to the file; so far up, no further.
            "super" if path.is_empty() => path.extend(&module[..module.len() - 1]),
            "super" => _ = path.pop(),
            segment => path.push(segment),
        }
        *at += 1;
        if text(*at) != "::" {
            break;
        }
        *at += 1;
        if text(*at) == "{" {
            *at += 1;
            while !["}", ""].contains(&text(*at)) {
                tree(tokens, at, &path, module, found);
            }
            *at += 1;
            return;
        }
        if !begins(text(*at)) {
            break;
        }
    }
    found.push((line, path.join("::")));
}

/// Names, `::`, and other signs one by one, with their lines; without comments and quotations.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        // Every other part is quoted; what is quoted over several lines reads as prose does.
        for code in line.split('"').step_by(2) {
            let mut rest = code.trim_start();
            while let Some(first) = rest.chars().next() {
                let name = |c: char| c.is_alphanumeric() || c == '_';
                let end = match first {
                    ':' if rest.starts_with("::") => 2,
                    first if name(first) => rest.find(|c| !name(c)).unwrap_or(rest.len()),
                    first => first.len_utf8(),
                };
                tokens.push((number + 1, rest[..end].to_owned()));
                rest = rest[end..].trim_start();
            }
        }
    }
    tokens
}

/// Each wall is broken in a text of its own, in every way of writing it.
#[test]
fn a_breach_is_found_where_it_is() {
    let breached = [
        ("api/status.rs", "use crate::evidence::Verdict;", 1),
        (
            "evidence/board.rs",
            "use crate::{\n    api,\n    plan::facts,\n};",
            3,
        ),
        ("evidence/board.rs", "use std::time::Instant;", 1),
        ("plan/gate.rs", "fn f() {}\nuse crate::cluster::Cached;", 2),
        ("plan/gate.rs", "use super::super::cluster::Cached;", 1),
        ("plan/tests/undo.rs", "use super::super::super::cluster;", 1),
        ("plan/gate.rs", "fn f(c: &crate::prometheus::Client) {}", 1),
        ("plan/gate.rs", "use crate::{api, operator::{clock}};", 1),
        ("plan/gate.rs", "let now = Timestamp::now();", 1),
        ("plan/gate.rs", "let now = jiff::Timestamp::now();", 1),
        ("plan/gate.rs", ".unwrap_or_else(Timestamp::now)", 1),
        ("plan/gate.rs", "use std::{fmt, time::SystemTime};", 1),
        ("plan/gate.rs", "use std::collections::HashMap;", 1),
        ("plan/gate.rs", "let n: u8 = rand::random();", 1),
        ("evidence/board.rs", "use std::hash::RandomState;", 1),
        ("simulate/random.rs", "use getrandom::fill;", 1),
        ("plan/gate.rs", "pub async fn f() {}", 1),
        ("plan/gate.rs", "x\n.await;", 2),
        ("plan/gate.rs", "use tokio::sync::Mutex;", 1),
        ("plan/gate.rs", "use kube::Api;", 1),
        ("evidence/judge.rs", "use reqwest::Url;", 1),
        (
            "evidence/judge.rs",
            "use prometheus_client::registry::Unit;",
            1,
        ),
        ("api/rollout.rs", "use kube::{CustomResource, Client};", 1),
        ("cluster/pass.rs", "use kube::Api;", 1),
        ("cluster/pass.rs", "use crate::operator::queue::Queue;", 1),
        ("cluster/pass.rs", "use super::kubernetes::index::Index;", 1),
        ("cluster/pass.rs", "tokio::spawn(f());", 1),
        (
            "prometheus/sampler.rs",
            "use crate::operator::metrics::Metrics;",
            1,
        ),
        ("prometheus/sampler.rs", "use crate::cluster::Key;", 1),
        ("simulate/world.rs", "use crate::operator::clock::Clock;", 1),
        (
            "simulate/world.rs",
            "use crate::cluster::kubernetes::stored;",
            1,
        ),
        ("simulate/world.rs", "use std::net::TcpStream;", 1),
        ("operator/run.rs", "use crate::simulate::World;", 1),
        ("operator/run.rs", "use kube::Client;", 1),
        ("operator/run.rs", "use crate::cli::simulate;", 1),
        ("cli/simulate/play.rs", "use crate::operator::config;", 1),
    ];
    for (file, text, line) in breached {
        let broken = breaches(file, text);
        let place = format!("src/{file}:{line}: ");
        let found = matches!(broken.as_slice(), [one] if one.starts_with(&place));
        assert!(found, "{file}: {text}: {broken:?}");
    }
}

#[test]
fn what_may_be_seen_breaks_no_wall() {
    let whole = [
        ("api/rollout.rs", "use kube::{CustomResource, KubeSchema};"),
        ("evidence/convention.rs", "use crate::api::Convention;"),
        (
            "plan/gate.rs",
            "// as crate::cluster does, with async\n/// [`crate::cluster`]",
        ),
        ("plan/gate.rs", "let words = \"crate::cluster, await\";"),
        (
            "plan/gate.rs",
            "use super::{draft::Draft, facts::{Observed, PodFacts}};",
        ),
        (
            "plan/gate.rs",
            "use crate::{api::{Check, status}, evidence::Reason, plan::mover};",
        ),
        (
            "plan/gate.rs",
            "draft.cluster::<u8>(); let tokio = 1; let prometheus = 2;",
        ),
        ("simulate/prometheus.rs", "use super::prometheus::Outage;"),
        ("cluster/pass.rs", "pub async fn run() {}"),
        (
            "cluster/kubernetes/watch.rs",
            "use kube::Client; tokio::spawn(x);",
        ),
        (
            "operator/lease/record.rs",
            "use kube::Api; Timestamp::now();",
        ),
        ("main.rs", "use stepgate::{cli::simulate, operator::start};"),
    ];
    for (file, text) in whole {
        assert_eq!(breaches(file, text), [""; 0], "{file}: {text}");
    }
}

/// A function or a constant that nobody outside names must be `pub(crate)`: only then does the
/// compiler say that nobody inside names it either. Types may be there for a signature alone. One
/// whose name stands outside for something else is not found.
#[test]
fn what_is_public_is_named_outside() {
    let outside = outside();
    let mut unnamed = Vec::new();
    for (file, text) in sources() {
        let public = public(&text).into_iter();
        let public = public.filter(|(_, name)| !outside.contains(*name));
        unnamed.extend(public.map(|(line, name)| format!("src/{file}:{line}: {name}")));
    }
    assert!(
        unnamed.is_empty(),
        "nobody outside names these, write `pub(crate)`:\n{}",
        unnamed.join("\n")
    );
}

/// Public functions, constants and statics, with their lines.
fn public(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate();
    let found = lines.filter_map(|(number, line)| {
        let mut rest = line.trim_start().strip_prefix("pub ")?;
        let mut item = false;
        while let Some((word, more)) = rest.split_once(' ')
            && ["const", "async", "unsafe", "fn", "static"].contains(&word)
        {
            (rest, item) = (more, true);
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        item.then_some((number + 1, &rest[..end.unwrap_or(rest.len())]))
    });
    found.collect()
}

#[test]
fn public_items_are_read_as_they_are_written() {
    let text = "\
pub const A: u8 = 1;
    pub(crate) fn b() {}
    pub async fn c<T>(x: T) {}
pub struct D(pub u8);
    pub e: u8,
    pub const fn f(&self) {}
pub static G: u8 = 1;";
    assert_eq!(public(text), [(1, "A"), (3, "c"), (6, "f"), (7, "G")]);
}

/// Every name in the binary and in the programs and suites under `tests/`, but for this suite.
fn outside() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = files(&root.join("tests"));
    files.retain(|file| !file.starts_with(root.join("tests/walls")));
    files.push(root.join("src/main.rs"));
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        names.extend(tokens(&text).into_iter().map(|(_, text)| text));
    }
    names
}

/// The files of `src/` by their names there, with `/` in them, and their texts. Folders that are
/// crates of their own have walls already.
fn sources() -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = files(&source).into_iter().map(|file| {
        let name = file.strip_prefix(&source).unwrap().to_str().unwrap();
        (name.to_owned(), fs::read_to_string(&file).unwrap())
    });
    let is_a_crate = |name: &str| {
        let folder = name.split('/').next().unwrap_or_default();
        source.join(folder).join("Cargo.toml").exists()
    };
    let all: Vec<_> = all.filter(|(name, _)| !is_a_crate(name)).collect();
    let parts: BTreeSet<&str> = all
        .iter()
        .filter_map(|(name, _)| name.split_once('/'))
        .map(|(part, _)| part)
        .collect();
    assert!(
        parts.into_iter().eq(BTreeSet::from(PARTS.map(|(p, _)| p))),
        "a part of its own belongs into the table"
    );
    all
}

/// All Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}
