//! Figures and the table of them.

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What came out.
    pub measured: String,
    /// What was wanted.
    pub goal: String,
    /// What Argo Rollouts came to on the same testbed, where that was measured.
    pub argo: &'static str,
    /// Whether the goal is met; `None`: it has none.
    pub met: Option<bool>,
}

/// What one part measured.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// Its lines of the table.
    pub figures: Vec<Figure>,
    /// How it was measured and where it comes from, in lines.
    pub notes: Vec<String>,
}

impl Figure {
    /// A figure with the goal of staying below `goal`.
    pub fn below(name: impl Into<String>, measured: (f64, String), goal: (f64, &str)) -> Self {
        Self {
            name: name.into(),
            met: Some(measured.0 < goal.0),
            measured: measured.1,
            goal: format!("< {}", goal.1),
            argo: "",
        }
    }

    /// A figure with the goal of not exceeding a count.
    pub fn at_most(name: impl Into<String>, measured: (u64, String), goal: u64) -> Self {
        Self {
            name: name.into(),
            met: Some(measured.0 <= goal),
            measured: measured.1,
            goal: match goal {
                0 => "0".into(),
                goal => format!("≤ {goal}"),
            },
            argo: "",
        }
    }

    /// A figure that is only told.
    pub fn told(name: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            measured: measured.into(),
            goal: String::new(),
            argo: "",
            met: None,
        }
    }

    /// With what Argo Rollouts came to.
    #[must_use]
    pub const fn argo(mut self, argo: &'static str) -> Self {
        self.argo = argo;
        self
    }

    /// `met`, `MISSED` or nothing.
    #[must_use]
    pub const fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }

    fn cells(&self) -> [&str; 5] {
        let Self {
            name,
            measured,
            goal,
            argo,
            met: _,
        } = self;
        [name, measured, goal, self.verdict(), argo]
    }
}

const HEADS: [&str; 5] = ["Figure", "Measured", "Goal", "Verdict", "Argo Rollouts"];

/// The table, for a terminal.
pub fn table(sections: &[Section]) -> String {
    let rows = rows(sections);
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(c, w)| format!("{c:<w$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        if index == 0 {
            text.push_str(&widths.map(|w| "─".repeat(w)).join("  "));
            text.push('\n');
        }
    }
    text
}

/// The table, in Markdown.
pub fn markdown(sections: &[Section]) -> String {
    let mut text = String::new();
    for (index, row) in rows(sections).iter().enumerate() {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
        if index == 0 {
            text.push_str("|---|---|---|---|---|\n");
        }
    }
    text
}

fn rows(sections: &[Section]) -> Vec<[String; 5]> {
    let figures = sections.iter().flat_map(|section| &section.figures);
    let cells = figures.map(|figure| figure.cells().map(str::to_owned));
    std::iter::once(HEADS.map(str::to_owned))
        .chain(cells)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_its_goal_is_shown_as_missed() {
        let sections = [Section {
            title: "",
            figures: vec![
                Figure::below("time", (99.9, "99.9 ms".into()), (100.0, "100 ms")).argo("9 s"),
                Figure::below("time", (100.0, "100 ms".into()), (100.0, "100 ms")),
                Figure::at_most("writes", (24, "24".into()), 24),
                Figure::at_most("idle", (1, "1".into()), 0),
                Figure::told("more", "7"),
            ],
            notes: Vec::new(),
        }];
        let lines = table(&sections);
        let verdicts: Vec<_> = sections[0].figures.iter().map(Figure::verdict).collect();
        assert_eq!(verdicts, ["met", "MISSED", "met", "MISSED", ""]);
        assert!(
            lines.contains("time    99.9 ms   < 100 ms  met      9 s\n"),
            "{lines}"
        );
        let page = markdown(&sections);
        assert!(page.contains("| idle | 1 | 0 | MISSED |  |\n"), "{page}");
    }
}
