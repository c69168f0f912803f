//! Under which names a workload counts its requests.

use thiserror::Error;

use crate::api::{BuiltIn, Convention, TimeUnit};

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
    /// Anchored RE2 of the values that are errors.
    pub errors: String,
}

/// The names in full, checked: what queries are built from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricNames {
    pub(crate) counter: String,
    pub(crate) status: Vec<StatusLabel>,
    pub(crate) histogram: String,
    pub(crate) unit: TimeUnit,
    pub(crate) pod_label: String,
}

impl MetricNames {
    /// Counter of requests.
    pub(crate) fn counter(&self) -> &str {
        &self.counter
    }
    /// Labels that tell wrong answers from right ones; a request is wrong if any of them says so.
    pub(crate) fn status(&self) -> &[StatusLabel] {
        &self.status
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
    /// The expression for error values is empty or too long.
    #[error("errorValues: write a regular expression of 1 to 200 characters, such as `5..`")]
    ErrorValues,
    /// Error values without a label that they are values of, where the convention has several.
    #[error("errorValues: name the label they are values of in statusLabel too")]
    ErrorValuesWithoutLabel,
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
        let names = MetricNames {
            counter: pick(&self.counter, &source.counter, counter),
            status: self.status(base, source, own)?,
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
        };
        names.check()?;
        Ok(names)
    }

    fn status(
        &self,
        base: BuiltIn,
        source: &Self,
        own: bool,
    ) -> Result<Vec<StatusLabel>, ConventionError> {
        let theirs = |v: &Option<String>| v.clone().filter(|_| !own);
        let label = self
            .status_label
            .clone()
            .or_else(|| theirs(&source.status_label));
        let errors = self
            .error_values
            .clone()
            .or_else(|| theirs(&source.error_values));
        let of = |label: &str, errors: &str| StatusLabel {
            label: label.to_owned(),
            errors: errors.to_owned(),
        };
        match (label, errors) {
            (Some(label), errors) => Ok(vec![of(&label, errors.as_deref().unwrap_or("5.."))]),
            (None, Some(_)) => Err(ConventionError::ErrorValuesWithoutLabel),
            (None, None) => Ok(match base {
                // There is no standard; both are common, a series has one of them.
                BuiltIn::Prometheus => vec![of("status", "5.."), of("code", "5..")],
                // A request that ended without a status has `error_type` only.
                BuiltIn::Opentelemetry => {
                    vec![
                        of("http_response_status_code", "5.."),
                        of("error_type", ".+"),
                    ]
                }
            }),
        }
    }
}

impl MetricNames {
    fn check(&self) -> Result<(), ConventionError> {
        for (field, name) in [("counter", &self.counter), ("histogram", &self.histogram)] {
            if !is_name(name, true) {
                return Err(ConventionError::MetricName {
                    field,
                    name: shown(name),
                });
            }
        }
        check_label("podLabel", &self.pod_label)?;
        for status in &self.status {
            check_label("statusLabel", &status.label)?;
        }
        let length_fits = |s: &StatusLabel| (1..=200).contains(&s.errors.chars().count());
        if !self.status.iter().all(length_fits) {
            return Err(ConventionError::ErrorValues);
        }
        Ok(())
    }
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
mod tests {
    use super::*;

    #[test]
    fn built_in_names() {
        let p = Convention::default()
            .resolve(&Convention::default())
            .unwrap();
        assert_eq!(p.counter, "http_requests_total");
        assert_eq!(
            p.status
                .iter()
                .map(|s| s.label.as_str())
                .collect::<Vec<_>>(),
            ["status", "code"]
        );
        let o = Convention::built_in(BuiltIn::Opentelemetry);
        let o = Convention::default().resolve(&o).unwrap();
        assert_eq!(o.counter, "http_server_request_duration_seconds_count");
        assert_eq!(o.histogram, "http_server_request_duration_seconds");
        assert_eq!(o.status[0].label, "http_response_status_code");
    }

    #[test]
    fn check_overrides_source_overrides_built_in() {
        let source = Convention {
            counter: Some("served_total".into()),
            pod_label: Some("k8s_pod_name".into()),
            unit: Some(TimeUnit::Milliseconds),
            ..Convention::default()
        };
        let check = Convention {
            status_label: Some("result".into()),
            ..Convention::default()
        };
        let names = check.resolve(&source).unwrap();
        assert_eq!(names.counter, "served_total");
        assert_eq!(names.pod_label, "k8s_pod_name");
        assert_eq!(names.unit, TimeUnit::Milliseconds);
        assert_eq!(
            names.status,
            [StatusLabel {
                label: "result".into(),
                errors: "5..".into()
            }]
        );
        // A check that names a convention does not get half of another one.
        let names = Convention::built_in(BuiltIn::Prometheus)
            .resolve(&source)
            .unwrap();
        assert_eq!(
            (names.counter(), names.pod_label()),
            ("http_requests_total", "k8s_pod_name")
        );
        assert_eq!(names.unit(), TimeUnit::Seconds);
        assert_eq!(names.histogram(), "http_request_duration_seconds");
    }

    #[test]
    fn a_sources_status_label_is_not_that_of_another_convention() {
        let source = Convention {
            status_label: Some("result".into()),
            error_values: Some("bad".into()),
            ..Convention::default()
        };
        let label = |c: Convention| c.resolve(&source).unwrap().status[0].clone();
        let theirs = StatusLabel {
            label: "result".into(),
            errors: "bad".into(),
        };
        assert_eq!(label(Convention::default()), theirs);
        let own = label(Convention::built_in(BuiltIn::Prometheus));
        assert_eq!((own.label.as_str(), own.errors.as_str()), ("status", "5.."));
    }

    #[test]
    fn nonsense_names_are_refused_by_field() {
        let bad = |c: Convention| c.resolve(&Convention::default()).unwrap_err().to_string();
        let text = |s: &str| Some(s.to_owned());
        let error = bad(Convention {
            counter: text("up{}"),
            ..Convention::default()
        });
        assert!(error.starts_with("counter: \"up{}\" is"), "{error}");
        let error = bad(Convention {
            histogram: text("1st"),
            ..Convention::default()
        });
        assert!(error.starts_with("histogram: "), "{error}");
        let error = bad(Convention {
            pod_label: text("a:b"),
            ..Convention::default()
        });
        assert!(error.starts_with("podLabel: "), "{error}");
        let error = bad(Convention {
            status_label: text(""),
            ..Convention::default()
        });
        assert!(error.starts_with("statusLabel: "), "{error}");
        let error = bad(Convention {
            error_values: text("5.."),
            ..Convention::default()
        });
        assert!(error.contains("statusLabel"), "{error}");
    }
}
