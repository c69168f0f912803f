//! docs/figures.md.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use testbed::{Error, Result, program};

use crate::figure::{Section, markdown};

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, sections: &[Section]) -> Result<()> {
    let path = program::repository().join(path);
    let cannot = |error: std::io::Error| Error::refused(format!("{}: {error}", path.display()));
    std::fs::write(&path, text(sections)).map_err(cannot)
}

fn text(sections: &[Section]) -> String {
    let mut page = String::from(
        "# Figures\n\n<!-- Written by `make bench`; change tests/programs/bench, not this page. -->\n\n",
    );
    let _ = writeln!(
        page,
        "Measured by `make bench` on {}, with the release build, on a real Kubernetes of one node \
         (`tests/programs/cluster`) on {}. The cluster, the load generator and the operator share that \
         machine. The last column is Argo Rollouts 1.10 on the same testbed with the same work, where \
         it was measured.\n",
        Timestamp::now().strftime("%Y-%m-%d"),
        machine()
    );
    page.push_str(&markdown(sections));
    for section in sections {
        let _ = writeln!(page, "\n## {}\n", section.title);
        for note in &section.notes {
            let _ = writeln!(page, "- {note}");
        }
    }
    page
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
    fn the_page_has_the_table_and_where_it_comes_from() {
        let sections = [Section {
            title: "Idle",
            figures: vec![Figure::at_most("requests", (0, "0".into()), 0)],
            notes: vec!["counted".into()],
        }];
        let page = text(&sections);
        assert!(
            page.contains("| requests | 0 | 0 | met |  |\n\n## Idle\n\n- counted\n"),
            "{page}"
        );
        assert!(page.contains(" cores ("), "{page}");
    }
}
