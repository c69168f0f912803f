//! The one query per check, and what its parts mean.
//!
//! Everything a check needs at one moment is asked for in a single query: Prometheus evaluates
//! it against one state of its database, so a scrape that arrives in between cannot give bad
//! requests without the good ones beside them. The parts are told apart by a label of their own:
//!
//! - `clock`: the time at the source; its absence shows that the answer is not one to this query;
//! - `up`: when each target that is up was last scraped (its scrape, not its requests, says that
//!   a silent pod is really silent);
//! - `series`: when each target's request series were last written, for sources that are pushed
//!   to and have no `up`;
//! - `beside`, in one check's query: all requests of the pods that serve beside them, by target;
//! - `total`, `bad`: requests by target, for an error rate;
//! - `bucket`: requests by target and bound, for a latency;
//! - `native`: targets with a native histogram under the same name;
//! - `matched`, where matchers are given: targets with series that they let through (`series`
//!   takes no notice of them: a pod that has only answered probes is seen all the same);
//! - `plain`: for a latency, targets that count requests under the same name without buckets;
//! - `failures`: whether the counter of failures is known in the namespace at all.
//!
//! A target is a pod and an `instance`. Series are summed within a job and the highest of all
//! jobs is taken, so that a pod scraped by two jobs is not counted twice.

use super::promql::{Expr, Selector};
use crate::api::TimeUnit;
use crate::evidence::{CheckKind, Failed, MetricNames, StatusValues};

/// Label that tells the parts of an answer apart.
pub(super) const PART: &str = "stepgate_part";

/// A query for the counts of one check's pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    pub(super) text: String,
    pub(super) pod_label: String,
    /// Unit of the bounds; `None` for an error rate.
    pub(super) bounds: Option<TimeUnit>,
    /// What must be there for the check to be read.
    pub(super) needs: Needs,
    /// Whether it asks for the pods beside them.
    pub(super) beside: bool,
    pub(super) scrape_interval_seconds: u32,
}

/// What must be there beside the metric, and is said when it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needs {
    /// A part that says which series the matchers let through.
    pub matched: bool,
    /// A counter of failures.
    pub failures: bool,
}

/// Whose pods are meant.
#[derive(Clone, Copy, Debug)]
pub struct Pods<'a> {
    /// The label that keeps namespaces apart at the source.
    pub namespace_label: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// What the names of the pods begin with.
    pub prefix: &'a str,
    /// The same of the pods beside them, whose requests are wanted too.
    pub beside: Option<&'a str>,
}

impl Query {
    /// The query for one check. The namespace is forced: there is no way to leave it out.
    pub fn new(
        kind: &CheckKind,
        names: &MetricNames,
        pods: Pods<'_>,
        scrape_interval_seconds: u32,
    ) -> Self {
        let builder = Builder { names, pods };
        let (mut parts, bounds) = match kind {
            CheckKind::ErrorRate { .. } => (builder.error_rate(), None),
            CheckKind::Latency { .. } => (builder.latency(), Some(names.unit())),
        };
        parts.extend(pods.beside.map(|prefix| {
            let pods = Pods { prefix, ..pods };
            Builder { names, pods }.all(kind).tagged(PART, "beside")
        }));
        let text = Expr::Union(parts).to_string();
        Self {
            text,
            pod_label: names.pod_label().to_owned(),
            bounds,
            needs: Needs {
                matched: !names.matchers().is_empty(),
                failures: bounds.is_none() && matches!(names.failed(), Failed::ByCounter(_)),
            },
            beside: pods.beside.is_some(),
            scrape_interval_seconds,
        }
    }

    /// The query in PromQL.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

struct Builder<'a> {
    names: &'a MetricNames,
    pods: Pods<'a>,
}

impl Builder<'_> {
    /// All requests, by target.
    fn all(&self, kind: &CheckKind) -> Expr {
        match kind {
            CheckKind::ErrorRate { .. } => self.per_target(self.total(), &[]),
            CheckKind::Latency { .. } => {
                let buckets = self.matched(&format!("{}_bucket", self.names.histogram()));
                let all = buckets.equal("le", "+Inf");
                self.per_target(Expr::Select(all), &[])
            }
        }
    }

    fn total(&self) -> Expr {
        let counter = || self.matched(self.names.counter());
        match self.names.failed() {
            Failed::ByCounter(_) => Expr::Select(counter()),
            Failed::ByLabel(labels) => {
                let labelled = labels
                    .iter()
                    .map(|s| Expr::Select(counter().present(&s.label)));
                Expr::Union(labelled.collect())
            }
        }
    }

    fn error_rate(&self) -> Vec<Expr> {
        let counter = || self.matched(self.names.counter());
        let wrong = match self.names.failed() {
            Failed::ByCounter(failed) => Expr::Select(self.matched(failed)),
            Failed::ByLabel(labels) => {
                // Present as well as matching: an expression that matches nothing at all must not
                // match series without the label.
                let wrong = labels.iter().map(|s| {
                    let present = counter().present(&s.label);
                    Expr::Select(match &s.values {
                        StatusValues::Errors(errors) => present.matching(&s.label, errors),
                        StatusValues::Successes(good) => present.not_matching(&s.label, good),
                    })
                });
                Expr::Union(wrong.collect())
            }
        };
        let mut parts = vec![
            self.per_target(self.total(), &[]).tagged(PART, "total"),
            self.per_target(wrong, &[]).tagged(PART, "bad"),
        ];
        if let Failed::ByCounter(failed) = self.names.failed() {
            let anywhere =
                Selector::of(failed).equal(self.pods.namespace_label, self.pods.namespace);
            let known = Expr::Select(anywhere).aggregate("count", &[]);
            parts.push(known.tagged(PART, "failures"));
        }
        parts.extend(self.presence(self.names.counter()));
        if self.names.counter() == format!("{}_count", self.names.histogram()) {
            parts.push(self.native());
        }
        parts
    }

    fn latency(&self) -> Vec<Expr> {
        let name = format!("{}_bucket", self.names.histogram());
        let mut parts = vec![
            self.per_target(Expr::Select(self.matched(&name)), &["le"])
                .tagged(PART, "bucket"),
        ];
        parts.extend(self.presence(&name));
        parts.push(self.native());
        let plain = self.select(&format!("{}_count", self.names.histogram()));
        parts.push(self.targets(plain).tagged(PART, "plain"));
        parts
    }

    /// The series of a metric that are counted.
    fn matched(&self, metric: &str) -> Selector {
        let mut selector = self.select(metric);
        for matcher in self.names.matchers() {
            let label = &matcher.label;
            if let Some(value) = &matcher.equals {
                selector = selector.equal(label, value);
            }
            if let Some(values) = &matcher.r#in {
                selector = selector.one_of(label, values);
            }
            if let Some(values) = &matcher.not_in {
                selector = selector.none_of(label, values);
            }
            if let Some(pattern) = &matcher.matches {
                selector = selector.matching(label, pattern);
            }
            if let Some(pattern) = &matcher.not_matches {
                selector = selector.not_matching(label, pattern);
            }
        }
        selector
    }

    /// The series of a metric that belong to the pods, and no others.
    fn select(&self, metric: &str) -> Selector {
        Selector::of(metric)
            .equal(self.pods.namespace_label, self.pods.namespace)
            .starting_with(self.names.pod_label(), self.pods.prefix)
    }

    fn per_target(&self, of: Expr, more: &[&str]) -> Expr {
        let mut target = vec![self.names.pod_label(), "instance"];
        target.extend(more);
        let mut within_job = target.clone();
        within_job.push("job");
        of.aggregate("sum", &within_job).aggregate("max", &target)
    }

    fn presence(&self, metric: &str) -> Vec<Expr> {
        let target = [self.names.pod_label(), "instance"];
        let up = self.select("up");
        let scraped = Expr::WhereOne(
            Box::new(Expr::Timestamp(up.clone())),
            Box::new(Expr::Select(up)),
        );
        let mut parts = vec![
            scraped.aggregate("max", &target).tagged(PART, "up"),
            Expr::Timestamp(self.select(metric))
                .aggregate("max", &target)
                .tagged(PART, "series"),
            Expr::Clock.tagged(PART, "clock"),
        ];
        if !self.names.matchers().is_empty() {
            let matched = self.targets(self.matched(metric));
            parts.push(matched.tagged(PART, "matched"));
        }
        parts
    }

    fn native(&self) -> Expr {
        // A summary has series of the plain name too; they carry a quantile.
        let plain = self.select(self.names.histogram()).equal("quantile", "");
        self.targets(plain).tagged(PART, "native")
    }

    /// The targets that have such series.
    fn targets(&self, series: Selector) -> Expr {
        let target = [self.names.pod_label(), "instance"];
        Expr::Select(series).aggregate("count", &target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BuiltIn, Convention, Matcher};

    fn text(kind: CheckKind, convention: Convention) -> String {
        let names = convention.resolve(&Convention::default()).unwrap();
        let pods = Pods {
            namespace_label: "namespace",
            namespace: "prod",
            prefix: "shop-abc-",
            beside: None,
        };
        Query::new(&kind, &names, pods, 15).text
    }

    const ERRORS: CheckKind = CheckKind::ErrorRate { max_percent: 0.5 };
    const P95: CheckKind = CheckKind::Latency {
        percentile: 95.0,
        max_milliseconds: 200.0,
    };

    #[test]
    fn every_selector_has_the_namespace_and_the_pods() {
        for convention in [BuiltIn::Prometheus, BuiltIn::Opentelemetry] {
            for kind in [ERRORS, P95] {
                let text = text(kind, Convention::built_in(convention));
                let selectors = text.matches('{').count();
                let forced = text
                    .matches(r#"{namespace="prod",pod=~"shop-abc-.+""#)
                    .count();
                assert!(selectors > 2);
                assert_eq!(selectors, forced, "{text}");
            }
        }
    }

    #[test]
    fn every_counted_series_is_matched_and_presence_is_not() {
        let matchers = vec![
            Matcher {
                label: "uri".into(),
                not_in: Some(vec!["/ready".into(), "/metrics".into()]),
                ..Matcher::default()
            },
            Matcher {
                label: "reporter".into(),
                equals: Some("destination".into()),
                ..Matcher::default()
            },
        ];
        let convention = Convention {
            matchers,
            ..Convention::default()
        };
        for (kind, metric) in [
            (ERRORS, "http_requests_total"),
            (P95, "http_request_duration_seconds_bucket"),
        ] {
            let text = text(kind, convention.clone());
            let pods = r#"{namespace="prod",pod=~"shop-abc-.+""#;
            let only = r#",uri!~"/ready|/metrics",reporter="destination""#;
            let counted = text.matches(&format!("{metric}{pods}{only}")).count();
            let all = text.matches(&format!("{metric}{{")).count();
            let presence = format!("timestamp({metric}{pods}}})");
            assert_eq!(text.matches(&presence).count(), 1, "{text}");
            assert_eq!(counted, all - 1, "{text}");
        }
    }

    #[test]
    fn failures_of_a_counter_of_their_own() {
        let convention = Convention {
            counter: Some("jobs_processed_total".into()),
            failed_counter: Some("jobs_failed_total".into()),
            ..Convention::default()
        };
        let text = text(ERRORS, convention);
        let wrong =
            r#"sum by (pod,instance,job) (jobs_failed_total{namespace="prod",pod=~"shop-abc-.+"})"#;
        assert!(text.contains(wrong), "{text}");
        let known = r#"count by () (jobs_failed_total{namespace="prod"})"#;
        assert!(text.contains(known), "{text}");
    }

    #[test]
    fn failures_by_negation() {
        let convention = Convention {
            status_label: Some("grpc_code".into()),
            success_values: Some("OK|NotFound".into()),
            ..Convention::default()
        };
        let text = text(ERRORS, convention);
        let wrong = r#"grpc_code!="",grpc_code!~"OK|NotFound"}"#;
        assert!(text.contains(wrong), "{text}");
    }

    #[test]
    fn wrong_answers_are_told_by_either_label() {
        let text = text(ERRORS, Convention::default());
        for label in ["status", "code"] {
            let wrong = format!(r#"{label}!="",{label}=~"5.."}}"#);
            assert!(text.contains(&wrong), "{text}");
        }
    }
}
