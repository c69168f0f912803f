//! No circle of files: what two files need of each other lies in a third one below both. So each
//! part can be read from the bottom up, and each file be understood by what it imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Token, begins, module, paths_of, sources, tokens, tree};

/// A file's module, `crate` being the library.
type Module = String;

/// The files of the library that no test is, by their modules.
struct Files(BTreeMap<Module, File>);

struct File {
    /// Every path in it, from `crate` on where that is known.
    paths: BTreeSet<String>,
    /// What it only hands on, by name.
    handed_on: BTreeMap<String, String>,
}

impl Files {
    fn of(sources: &[(String, String)]) -> Self {
        let files = sources.iter().filter(|(file, _)| !is_a_test(file));
        let files = files.map(|(file, text)| {
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            (module(file).join("::"), File::of(file, text))
        });
        Self(files.collect())
    }

    /// The file in which a path ends, and the name there that it leads to; nothing where it names no
    /// more than a module, or leads out of the library.
    fn home(&self, path: &str) -> Option<(&str, String)> {
        let mut path = path.to_owned();
        // What is handed on is handed on a few times at most.
        for _ in 0..5 {
            let (module, rest) = path
                .rmatch_indices("::")
                .map(|(at, _)| (&path[..at], &path[at + 2..]))
                .find(|(module, _)| self.0.contains_key(*module))?;
            let (name, further) = rest.split_once("::").unwrap_or((rest, ""));
            let (module, file) = self.0.get_key_value(module)?;
            match file.handed_on.get(name) {
                Some(to) if further.is_empty() => path = to.clone(),
                Some(to) => path = format!("{to}::{further}"),
                None => return Some((module, name.to_owned())),
            }
        }
        None
    }

    /// Whom each file needs, and for which names.
    fn needs(&self) -> BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> {
        let mut needs: BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
        for (module, file) in &self.0 {
            let own = needs.entry(module).or_default();
            for path in file.paths.iter().filter(|path| !self.0.contains_key(*path)) {
                if let Some((home, name)) = self.home(&self.whole(module, path))
                    && home != module
                {
                    own.entry(home).or_default().insert(name);
                }
            }
        }
        needs
    }

    /// A path from `crate` on: one that begins with an import, or with a module inside of this one.
    fn whole(&self, module: &str, path: &str) -> String {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        if first == "crate" || rest.is_empty() {
            return path.to_owned();
        }
        let imported = || {
            let end = format!("::{first}");
            let mut paths = self.0[module].paths.iter();
            paths.find(|path| path.starts_with("crate::") && path.ends_with(&end))
        };
        let inside = format!("{module}::{first}");
        match imported() {
            Some(import) => format!("{import}::{rest}"),
            None if self.0.contains_key(&inside) => format!("{inside}::{rest}"),
            None => path.to_owned(),
        }
    }
}

impl File {
    fn of(file: &str, text: &str) -> Self {
        let plain = |path: String| path.trim_end_matches("::self").to_owned();
        let tokens = tokens(text);
        let handed_on = handed_on(&tokens, &module(file)).into_iter().map(plain);
        let handed_on: BTreeMap<_, _> = handed_on
            .filter_map(|path| Some((path.rsplit_once("::")?.1.to_owned(), path)))
            .collect();
        let paths = paths_of(&tokens, &module(file)).into_iter();
        let mut paths: BTreeSet<String> = paths.map(|(_, path)| plain(path)).collect();
        // What is only handed on is needed by whoever asks for it.
        let is_used = |path: &&String| {
            let name = path.rsplit("::").next().unwrap_or_default();
            tokens.iter().filter(|(_, token)| token == name).count() > 1
        };
        for path in handed_on.values().filter(|path| !is_used(path)) {
            paths.remove(path);
        }
        Self { paths, handed_on }
    }
}

pub(super) fn is_a_test(file: &str) -> bool {
    let mut parts = file.trim_end_matches(".rs").split('/');
    parts.any(|part| part == "tests" || part.ends_with("_tests") || part == "fixture")
}

/// The paths of every `pub use`.
fn handed_on(tokens: &[Token], module: &[&str]) -> Vec<String> {
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| text(*at) == "use") {
        let before = (0..at)
            .rev()
            .find(|at| !begins(text(*at)) || text(*at) == "pub");
        let is_public = match before {
            Some(before) if text(before) == "pub" => true,
            // `pub(super) use`, `pub(in crate::plan) use`.
            Some(before) if text(before) == ")" => {
                let opens = (0..before).rev().find(|at| text(*at) == "(");
                opens.is_some_and(|at| at > 0 && text(at - 1) == "pub")
            }
            _ => false,
        };
        if is_public {
            tree(tokens, &mut (at + 1), &[], module, &mut found);
        }
    }
    found.into_iter().map(|(_, path)| path).collect()
}

/// The shortest circle, as `a needs X of b, b needs Y of a`.
fn circle(files: &Files) -> Option<String> {
    let needs = files.needs();
    let ways = needs.keys().filter_map(|from| way_back(&needs, from));
    let shortest = ways.min_by_key(Vec::len)?;
    let told = shortest.windows(2).map(|pair| {
        let names: Vec<_> = needs[pair[0]][pair[1]].iter().map(String::as_str).collect();
        format!("{} needs {} of {}", pair[0], names.join(", "), pair[1])
    });
    Some(told.collect::<Vec<_>>().join("; "))
}

/// The shortest way from a file along its needs back to it.
fn way_back<'f>(
    needs: &BTreeMap<&'f str, BTreeMap<&'f str, BTreeSet<String>>>,
    from: &'f str,
) -> Option<Vec<&'f str>> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut known = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in needs[way.last()?].keys() {
            let way: Vec<&str> = way.iter().copied().chain([*next]).collect();
            if *next == from {
                return Some(way);
            }
            if known.insert(*next) {
                ways.push_back(way);
            }
        }
    }
    None
}

#[test]
fn no_files_need_each_other() {
    let found = circle(&Files::of(&sources()));
    assert_eq!(found, None, "what both need belongs into a file below both");
}

/// The ways of writing an import, each in a circle of its own.
#[test]
fn a_circle_is_found_however_it_is_written() {
    let circles = [
        ["use super::b::X;", "fn f() { super::a::g() }"],
        ["use crate::p::{b::X};", "use super::a; fn f() { a::g() }"],
        [
            "use super::{b::{self, Y}}; fn f() { b::h() }",
            "use super::a::g;",
        ],
    ];
    for [a, b] in circles {
        let files = [("p/a.rs", a), ("p/b.rs", b)].map(|(f, t)| (f.to_owned(), t.to_owned()));
        let found = circle(&Files::of(&files)).unwrap_or_default();
        assert!(found.contains("crate::p::a needs "), "{a} {b}: {found}");
    }
}

#[test]
fn what_is_handed_on_a_test_and_a_parent_that_is_only_named_make_no_circle() {
    let whole = [
        (
            "p/mod.rs",
            "mod a;\nmod b;\npub(crate) use self::a::{X, Y};",
        ),
        (
            "p/a.rs",
            "pub struct X;\n#[cfg(test)]\nmod tests { use super::super::b::f; }",
        ),
        ("p/b.rs", "use super::X;\npub(in crate::p) fn f(_: X) {}"),
        ("p/a/tests.rs", "use crate::p::b::f;"),
    ];
    let files = whole.map(|(file, text)| (file.to_owned(), text.to_owned()));
    assert_eq!(circle(&Files::of(&files)), None);
}
