//! Under which names a workload counts its requests.

use thiserror::Error;

use crate::api::{BuiltIn, Convention, Matcher, TimeUnit};

impl TimeUnit {
    /// How many milliseconds it is.
    pub(crate) fn milliseconds(self) -> f64 {
        match self {
            Self::Seconds => 1000.0,
            Self::Milliseconds => 1.0,
        }
    }
}

/// A label that tells wrong answers from right ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusLabel {
    /// Name of the label.
    pub label: String,
    /// Which values are errors.
    pub values: StatusValues,
}

/// Which values of a label are errors, as anchored RE2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusValues {
    /// Those that match.
    Errors(String),
    /// Those that do not.
    Successes(String),
}

/// What tells failed requests from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failed {
    /// Labels; a request is wrong if any of them says so.
    ByLabel(Vec<StatusLabel>),
    /// A counter of their own.
    ByCounter(String),
}

/// The names in full, checked: what queries are built from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricNames {
    pub(crate) counter: String,
    pub(crate) failed: Failed,
    pub(crate) histogram: String,
    pub(crate) unit: TimeUnit,
    pub(crate) pod_label: String,
    pub(crate) matchers: Vec<Matcher>,
}

impl MetricNames {
    /// Counter of requests.
    pub(crate) fn counter(&self) -> &str {
        &self.counter
    }
    /// What tells wrong answers from right ones.
    pub(crate) fn failed(&self) -> &Failed {
        &self.failed
    }
    /// Histogram of request durations, without `_bucket`.
    pub(crate) fn histogram(&self) -> &str {
        &self.histogram
    }
    /// Unit of the histogram's bounds.
    pub(crate) fn unit(&self) -> TimeUnit {
        self.unit
    }
    /// Label that holds the name of the pod.
    pub(crate) fn pod_label(&self) -> &str {
        &self.pod_label
    }
    /// Which series are counted.
    pub(crate) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }
}

/// A name that cannot stand in a query.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConventionError {
    /// Not a metric name.
    #[error(
        "{field}: {name:?} is not a metric name: write letters, digits, `_` and `:` only, \
         starting with no digit"
    )]
    MetricName {
        /// Which field.
        field: &'static str,
        /// What it says.
        name: String,
    },
    /// Not a label name.
    #[error(
        "{field}: {name:?} is not a label name: write letters, digits and `_` only, starting \
         with no digit"
    )]
    LabelName {
        /// Which field.
        field: &'static str,
        /// What it says.
        name: String,
    },
    /// An expression or a value is empty or too long.
    #[error("{field}: write 1 to 200 characters")]
    Length {
        /// Which field.
        field: &'static str,
    },
    /// Values without a label that they are values of, where the convention has several.
    #[error("{field}: name the label they are values of in statusLabel too")]
    ValuesWithoutLabel {
        /// Which field.
        field: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("{field}: leave out either this or {other}")]
    Both {
        /// Which field.
        field: &'static str,
        /// Which other.
        other: &'static str,
    },
    /// One bucket of a histogram is no counter, and a histogram is named without its suffix.
    #[error("{field}: {name:?} ends in _bucket: {instead}")]
    Suffix {
        /// Which field.
        field: &'static str,
        /// What it says.
        name: String,
        /// What to write.
        instead: &'static str,
    },
    /// Not exactly one condition, or too many.
    #[error("matchers: give {label:?} exactly one of equals, in, notIn, matches and notMatches")]
    Matcher {
        /// Its label.
        label: String,
    },
    /// More than are taken.
    #[error("matchers: at most 10, each with at most 20 values")]
    TooManyMatchers,
    /// Where the namespace is written.
    #[error("namespaceLabel: it is a field of the metric source itself, beside metric")]
    NamespaceLabel,
}

impl Convention {
    /// One of the built-in conventions, as it is.
    pub fn built_in(convention: BuiltIn) -> Self {
        Self {
            convention: Some(convention),
            ..Self::default()
        }
    }

    /// The names in full: this block's, else the source's, else those of the built-in
    /// convention. A block that names a convention of its own takes from the source only the
    /// labels that find the pods.
    pub fn resolve(&self, source: &Self) -> Result<MetricNames, ConventionError> {
        let own = self.convention.is_some();
        let base = self.convention.or(source.convention).unwrap_or_default();
        let (counter, histogram) = match base {
            BuiltIn::Prometheus => ("http_requests_total", "http_request_duration_seconds"),
            BuiltIn::Opentelemetry => (
                "http_server_request_duration_seconds_count",
                "http_server_request_duration_seconds",
            ),
        };
        let pick = |mine: &Option<String>, theirs: &Option<String>, built_in: &str| {
            mine.clone()
                .or_else(|| theirs.clone().filter(|_| !own))
                .unwrap_or_else(|| built_in.to_owned())
        };
        if self.namespace_label.is_some() || source.namespace_label.is_some() {
            return Err(ConventionError::NamespaceLabel);
        }
        let theirs = source.matchers.iter().filter(|_| !own);
        let names = MetricNames {
            counter: pick(&self.counter, &source.counter, counter),
            failed: self.failed(base, source, own)?,
            histogram: pick(&self.histogram, &source.histogram, histogram),
            unit: self
                .unit
                .or(source.unit.filter(|_| !own))
                .unwrap_or(TimeUnit::Seconds),
            pod_label: self
                .pod_label
                .clone()
                .or_else(|| source.pod_label.clone())
                .unwrap_or_else(|| "pod".to_owned()),
            matchers: theirs.chain(&self.matchers).cloned().collect(),
        };
        names.check()?;
        Ok(names)
    }

    /// This block's way to tell failed requests; else the source's; else the convention's.
    fn failed(&self, base: BuiltIn, source: &Self, own: bool) -> Result<Failed, ConventionError> {
        let none = Self::default();
        let theirs = if own { &none } else { source };
        for block in [self, theirs] {
            let values = ("errorValues", block.error_values.as_ref());
            let successes = ("successValues", block.success_values.as_ref());
            let label = ("statusLabel", block.status_label.as_ref());
            let counter = ("failedCounter", block.failed_counter.as_ref());
            for (one, other) in [
                (values, successes),
                (counter, label),
                (counter, values),
                (counter, successes),
            ] {
                if let (Some(_), Some(_)) = (one.1, other.1) {
                    return Err(ConventionError::Both {
                        field: one.0,
                        other: other.0,
                    });
                }
            }
        }
        let by_label = self.status_label.is_some() || self.values().is_some();
        if let Some(counter) = &self.failed_counter {
            return Ok(Failed::ByCounter(counter.clone()));
        }
        if let Some(counter) = theirs.failed_counter.as_ref().filter(|_| !by_label) {
            return Ok(Failed::ByCounter(counter.clone()));
        }
        let label = self.status_label.as_ref().or(theirs.status_label.as_ref());
        let values = self.values().or_else(|| theirs.values());
        let errors = |label: &str, errors: &str| StatusLabel {
            label: label.to_owned(),
            values: StatusValues::Errors(errors.to_owned()),
        };
        Ok(Failed::ByLabel(match (label, values) {
            (Some(label), Some(values)) => vec![StatusLabel {
                label: label.clone(),
                values,
            }],
            (Some(label), None) => vec![errors(label, "5..")],
            (None, Some(values)) => {
                return Err(ConventionError::ValuesWithoutLabel {
                    field: values.field(),
                });
            }
            (None, None) => match base {
                // There is no standard; both are common, a series has one of them.
                BuiltIn::Prometheus => vec![errors("status", "5.."), errors("code", "5..")],
                // A request that ended without a status has `error_type` only.
                BuiltIn::Opentelemetry => vec![
                    errors("http_response_status_code", "5.."),
                    errors("error_type", ".+"),
                ],
            },
        }))
    }

    fn values(&self) -> Option<StatusValues> {
        let errors = self.error_values.clone().map(StatusValues::Errors);
        errors.or_else(|| self.success_values.clone().map(StatusValues::Successes))
    }

    /// The fields of this block that are regular expressions.
    pub(crate) fn patterns(&self) -> Vec<String> {
        let mut fields = Vec::new();
        for (field, given) in [
            ("errorValues", &self.error_values),
            ("successValues", &self.success_values),
        ] {
            fields.extend(given.as_ref().map(|_| format!("metric.{field}")));
        }
        for matcher in &self.matchers {
            for (field, given) in [
                ("matches", &matcher.matches),
                ("notMatches", &matcher.not_matches),
            ] {
                let of = |_: &String| format!("metric.matchers of {}: {field}", matcher.label);
                fields.extend(given.as_ref().map(of));
            }
        }
        fields
    }
}

impl StatusValues {
    fn field(&self) -> &'static str {
        match self {
            Self::Errors(_) => "errorValues",
            Self::Successes(_) => "successValues",
        }
    }

    fn pattern(&self) -> &str {
        match self {
            Self::Errors(pattern) | Self::Successes(pattern) => pattern,
        }
    }
}

impl MetricNames {
    fn check(&self) -> Result<(), ConventionError> {
        let failed = match &self.failed {
            Failed::ByCounter(counter) => Some(("failedCounter", counter)),
            Failed::ByLabel(_) => None,
        };
        let names = [("counter", &self.counter), ("histogram", &self.histogram)];
        for (field, name) in names.into_iter().chain(failed) {
            if !is_name(name, true) {
                return Err(ConventionError::MetricName {
                    field,
                    name: shown(name),
                });
            }
            if name.ends_with("_bucket") {
                let instead = match field {
                    "histogram" => "leave that out",
                    _ => "name a counter that counts each request once",
                };
                return Err(ConventionError::Suffix {
                    field,
                    name: shown(name),
                    instead,
                });
            }
        }
        check_label("podLabel", &self.pod_label)?;
        if let Failed::ByLabel(labels) = &self.failed {
            for status in labels {
                check_label("statusLabel", &status.label)?;
                check_length(status.values.field(), status.values.pattern())?;
            }
        }
        // Ten of a source and ten of a check.
        if self.matchers.len() > 20 {
            return Err(ConventionError::TooManyMatchers);
        }
        self.matchers.iter().try_for_each(check_matcher)
    }
}

fn check_length(field: &'static str, value: &str) -> Result<(), ConventionError> {
    match value.chars().count() {
        1..=200 => Ok(()),
        _ => Err(ConventionError::Length { field }),
    }
}

fn check_matcher(matcher: &Matcher) -> Result<(), ConventionError> {
    check_label("matchers: label", &matcher.label)?;
    let lists = [&matcher.r#in, &matcher.not_in];
    let texts = [&matcher.equals, &matcher.matches, &matcher.not_matches];
    let given =
        lists.iter().filter(|l| l.is_some()).count() + texts.iter().filter(|t| t.is_some()).count();
    let empty = lists.iter().any(|l| l.as_ref().is_some_and(Vec::is_empty));
    if given != 1 || empty {
        return Err(ConventionError::Matcher {
            label: shown(&matcher.label),
        });
    }
    if lists
        .iter()
        .any(|l| l.as_ref().is_some_and(|l| l.len() > 20))
    {
        return Err(ConventionError::TooManyMatchers);
    }
    let values = lists.into_iter().flatten().flatten();
    let mut values = values.chain(texts.into_iter().flatten());
    values.try_for_each(|value| check_length("matchers", value))
}

/// Checks a label's name; `field` is what the error calls it.
pub(crate) fn check_label(field: &'static str, name: &str) -> Result<(), ConventionError> {
    if is_name(name, false) {
        Ok(())
    } else {
        Err(ConventionError::LabelName {
            field,
            name: shown(name),
        })
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    name.len() <= 200
        && name.starts_with(|c: char| !c.is_ascii_digit() && legal(c))
        && name.chars().all(legal)
}

/// A wrong name as an error shows it: cut, because nothing has bounded it yet.
fn shown(name: &str) -> String {
    name.chars().take(60).collect()
}

#[cfg(test)]
#[path = "convention_tests.rs"]
mod tests;
