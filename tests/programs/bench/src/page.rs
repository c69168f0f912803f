//! docs/figures.md.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use testbed::{Error, Result, program};

use crate::figure::{Section, markdown};

const HEAD: &str = "# Figures

<!-- Written by `make bench`; change tests/programs/bench, not this page. -->

`make bench` measures all of this with the release build, on a real Kubernetes of one node \
(`tests/programs/cluster`); `BENCH_ONLY=restart make bench` measures one part and renews its section alone. \
The cluster, the load generator and the operator share the machine. The last column is Argo Rollouts 1.10 on \
the same testbed with the same work, where it was measured.
";
/// What begins a section.
const BEGINS: &str = "\n## ";

/// Writes these sections into the page, in place of those of the same titles. The others stay.
///
/// # Errors
/// When it cannot be read or written.
pub fn write(path: &Path, sections: &[Section]) -> Result<()> {
    let path = program::repository().join(path);
    let cannot = |error: std::io::Error| Error::refused(format!("{}: {error}", path.display()));
    let before = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(cannot)?,
    };
    let day = Timestamp::now().strftime("%Y-%m-%d").to_string();
    std::fs::write(&path, renewed(&before, sections, &day)).map_err(cannot)
}

/// The page with these sections, measured on this day.
fn renewed(before: &str, sections: &[Section], day: &str) -> String {
    let mut all: Vec<(String, String)> = before
        .split(BEGINS)
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .map(|(title, text)| (title.to_owned(), text.to_owned()))
        .collect();
    for section in sections {
        let text = text(section, day);
        match all.iter_mut().find(|(title, _)| title == section.title) {
            Some((_, known)) => *known = text,
            None => all.push((section.title.to_owned(), text)),
        }
    }
    let mut page = HEAD.to_owned();
    for (title, text) in all {
        let _ = write!(page, "{BEGINS}{title}\n\n{}\n", text.trim());
    }
    page
}

fn text(section: &Section, day: &str) -> String {
    let mut text = format!("Measured on {day} on {}.\n\n", machine());
    text.push_str(&markdown(std::slice::from_ref(section)));
    text.push('\n');
    for note in &section.notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}

/// Processor, memory and kernel of this machine.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':'));
        value
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processor = value(&read("/proc/cpuinfo"), "model name");
    let memory: f64 = value(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "a machine with {cores} cores ({processor}), {:.0} GiB and Linux {}",
        memory / 1024.0 / 1024.0,
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;

    #[test]
    fn a_section_is_renewed_and_the_others_stay() {
        let section = |title, measured: u64| Section {
            title,
            figures: vec![Figure::at_most(
                "requests",
                (measured, measured.to_string()),
                0,
            )],
            notes: vec!["counted".into()],
        };
        let both = [section("Idle", 0), section("Start", 7)];
        let page = renewed("", &both, "2026-01-01");
        assert!(page.starts_with(HEAD));
        assert!(page.contains("## Idle\n\nMeasured on 2026-01-01 on a machine with "));
        assert!(
            page.contains("| requests | 0 | 0 | met |  |\n\n- counted\n"),
            "{page}"
        );
        let later = renewed(&page, &[section("Idle", 3)], "2026-02-02");
        assert!(
            later.contains("## Idle\n\nMeasured on 2026-02-02"),
            "{later}"
        );
        assert!(later.contains("| requests | 3 | 0 | MISSED |"), "{later}");
        assert!(!later.contains("| requests | 0 |"), "{later}");
        let start = |page: &str| page[page.find("## Start").unwrap()..].to_owned();
        assert_eq!(start(&later), start(&page));
    }
}
