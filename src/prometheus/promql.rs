//! PromQL out of typed parts. Whatever a user wrote ends up in a quoted, escaped label value or
//! in a checked name, never as text of the query.

use std::fmt;

/// A vector selector: a metric and what its labels must be.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    metric: String,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug)]
struct Matcher {
    label: String,
    operator: &'static str,
    value: String,
}

impl Selector {
    /// All series of a metric. The name is one that [`crate::evidence`] has checked,
    /// or a constant.
    pub(crate) fn of(metric: impl Into<String>) -> Self {
        Self {
            metric: metric.into(),
            matchers: Vec::new(),
        }
    }

    fn with(mut self, label: &str, operator: &'static str, value: String) -> Self {
        self.matchers.push(Matcher {
            label: label.to_owned(),
            operator,
            value,
        });
        self
    }

    /// `label="value"`
    pub(crate) fn equal(self, label: &str, value: &str) -> Self {
        self.with(label, "=", value.to_owned())
    }

    /// The label is there.
    pub(crate) fn present(self, label: &str) -> Self {
        self.with(label, "!=", String::new())
    }

    /// `label=~"regex"`, anchored by Prometheus.
    pub(crate) fn matching(self, label: &str, regex: &str) -> Self {
        self.with(label, "=~", regex.to_owned())
    }

    /// `label!~"regex"`, anchored by Prometheus.
    pub(crate) fn not_matching(self, label: &str, regex: &str) -> Self {
        self.with(label, "!~", regex.to_owned())
    }

    /// The label has one of these values.
    pub(crate) fn one_of(self, label: &str, values: &[String]) -> Self {
        self.with(label, "=~", any_of(values))
    }

    /// The label has none of these values.
    pub(crate) fn none_of(self, label: &str, values: &[String]) -> Self {
        self.with(label, "!~", any_of(values))
    }

    /// The value starts with `prefix` and goes on.
    pub(crate) fn starting_with(self, label: &str, prefix: &str) -> Self {
        self.with(label, "=~", format!("{}.+", literal(prefix)))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.metric)?;
        for (i, m) in self.matchers.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(
                f,
                "{comma}{}{}\"{}\"",
                m.label,
                m.operator,
                Escaped(&m.value)
            )?;
        }
        f.write_str("}")
    }
}

/// An expression; only the forms that are used.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Select(Selector),
    /// When each series was last written, Unix seconds.
    Timestamp(Selector),
    /// `sum by (labels) (of)`, and the like.
    Aggregate {
        operator: &'static str,
        by: Vec<String>,
        of: Box<Expr>,
    },
    /// Those of the first for which the second has the value 1.
    WhereOne(Box<Expr>, Box<Expr>),
    /// All series of all, each label set once.
    Union(Vec<Expr>),
    /// The same with one more label.
    Tag {
        label: &'static str,
        value: &'static str,
        of: Box<Expr>,
    },
    /// The time of evaluation: one sample without labels, always there.
    Clock,
}

impl Expr {
    pub(crate) fn aggregate(self, operator: &'static str, by: &[&str]) -> Self {
        Self::Aggregate {
            operator,
            by: by.iter().map(|l| (*l).to_owned()).collect(),
            of: Box::new(self),
        }
    }

    pub(crate) fn tagged(self, label: &'static str, value: &'static str) -> Self {
        Self::Tag {
            label,
            value,
            of: Box::new(self),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(selector) => selector.fmt(f),
            Self::Timestamp(selector) => write!(f, "timestamp({selector})"),
            Self::Aggregate { operator, by, of } => {
                write!(f, "{operator} by ({}) ({of})", by.join(","))
            }
            Self::WhereOne(which, flag) => write!(f, "({which} and ({flag} == 1))"),
            Self::Union(parts) => {
                f.write_str("(")?;
                for (i, part) in parts.iter().enumerate() {
                    let or = if i == 0 { "" } else { " or " };
                    write!(f, "{or}{part}")?;
                }
                f.write_str(")")
            }
            Self::Tag { label, value, of } => {
                write!(f, "label_replace({of},\"{label}\",\"{value}\",\"\",\"\")")
            }
            Self::Clock => f.write_str("vector(time())"),
        }
    }
}

/// A string as it stands between double quotes in PromQL, whose escapes are Go's.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A regular expression that matches exactly this text.
fn literal(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex
}

/// A regular expression that matches exactly these texts.
fn any_of(values: &[String]) -> String {
    let literals: Vec<String> = values.iter().map(|value| literal(value)).collect();
    literals.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_become_text() {
        let up = Selector::of("up")
            .equal("namespace", "a")
            .starting_with("pod", "shop-1.5-");
        let all = Expr::WhereOne(
            Box::new(Expr::Timestamp(up.clone())),
            Box::new(Expr::Select(up)),
        );
        let text = all
            .aggregate("max", &["pod", "instance"])
            .tagged("part", "up")
            .to_string();
        assert_eq!(
            text,
            r#"label_replace(max by (pod,instance) ((timestamp(up{namespace="a",pod=~"shop-1\\.5-.+"}) and (up{namespace="a",pod=~"shop-1\\.5-.+"} == 1))),"part","up","","")"#
        );
    }

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let text = Selector::of("m")
            .matching("l", "\"} or up{a=~\"\\\n")
            .to_string();
        assert_eq!(text, r#"m{l=~"\"} or up{a=~\"\\\u000a"}"#);
    }

    #[test]
    fn values_of_a_list_are_no_patterns() {
        let paths = ["/a.b|c".to_owned(), "/metrics".to_owned()];
        let text = Selector::of("m").none_of("uri", &paths).to_string();
        assert_eq!(text, r#"m{uri!~"/a\\.b\\|c|/metrics"}"#);
        let text = Selector::of("m").one_of("uri", &paths[1..]).to_string();
        assert_eq!(text, r#"m{uri=~"/metrics"}"#);
    }

    proptest! {
        #[test]
        fn escaped_text_reads_back_as_itself(value in any::<String>()) {
            let escaped = Escaped(&value).to_string();
            // JSON's escapes are Go's for what is used here.
            let back: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
