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
//! - `total`, `bad`: requests by target, for an error rate;
//! - `bucket`: requests by target and bound, for a latency;
//! - `native`: targets with a native histogram under the same name.
//!
//! A target is a pod and an `instance`. Series are summed within a job and the highest of all
//! jobs is taken, so that a pod scraped by two jobs is not counted twice.

use super::promql::{Expr, Selector};
use crate::api::TimeUnit;
use crate::evidence::{CheckKind, MetricNames};

/// Label that tells the parts of an answer apart.
pub(super) const PART: &str = "stepgate_part";

/// A query for the counts of one check's pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    pub(super) text: String,
    pub(super) pod_label: String,
    /// Unit of the bounds; `None` for an error rate.
    pub(super) bounds: Option<TimeUnit>,
    pub(super) scrape_interval_seconds: u32,
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
        let (text, bounds) = match kind {
            CheckKind::ErrorRate { .. } => (builder.error_rate(), None),
            CheckKind::Latency { .. } => (builder.latency(), Some(names.unit())),
        };
        Self {
            text,
            pod_label: names.pod_label().to_owned(),
            bounds,
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
    fn error_rate(&self) -> String {
        let counter = || self.select(self.names.counter());
        let status = self.names.status();
        let labelled = status
            .iter()
            .map(|s| Expr::Select(counter().present(&s.label)));
        let wrong = status.iter().map(|s| {
            // Present as well as matching: an expression that matches nothing at all must not
            // match series without the label.
            Expr::Select(counter().present(&s.label).matching(&s.label, &s.errors))
        });
        let mut parts = vec![
            self.per_target(Expr::Union(labelled.collect()), &[])
                .tagged(PART, "total"),
            self.per_target(Expr::Union(wrong.collect()), &[])
                .tagged(PART, "bad"),
        ];
        parts.extend(self.presence(counter()));
        if self.names.counter() == format!("{}_count", self.names.histogram()) {
            parts.push(self.native());
        }
        Expr::Union(parts).to_string()
    }

    fn latency(&self) -> String {
        let bucket = || self.select(&format!("{}_bucket", self.names.histogram()));
        let mut parts = vec![
            self.per_target(Expr::Select(bucket()), &["le"])
                .tagged(PART, "bucket"),
        ];
        parts.extend(self.presence(bucket()));
        parts.push(self.native());
        Expr::Union(parts).to_string()
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

    fn presence(&self, series: Selector) -> [Expr; 3] {
        let target = [self.names.pod_label(), "instance"];
        let up = self.select("up");
        let scraped = Expr::WhereOne(
            Box::new(Expr::Timestamp(up.clone())),
            Box::new(Expr::Select(up)),
        );
        [
            scraped.aggregate("max", &target).tagged(PART, "up"),
            Expr::Timestamp(series)
                .aggregate("max", &target)
                .tagged(PART, "series"),
            Expr::Clock.tagged(PART, "clock"),
        ]
    }

    fn native(&self) -> Expr {
        // A summary has series of the plain name too; they carry a quantile.
        let plain = self.select(self.names.histogram()).equal("quantile", "");
        let target = [self.names.pod_label(), "instance"];
        Expr::Select(plain)
            .aggregate("count", &target)
            .tagged(PART, "native")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BuiltIn, Convention};

    fn text(kind: CheckKind, convention: Convention) -> String {
        let names = convention.resolve(&Convention::default()).unwrap();
        let pods = Pods {
            namespace_label: "namespace",
            namespace: "prod",
            prefix: "shop-abc-",
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
    fn wrong_answers_are_told_by_either_label() {
        let text = text(ERRORS, Convention::default());
        for label in ["status", "code"] {
            let wrong = format!(r#"{label}!="",{label}=~"5.."}}"#);
            assert!(text.contains(&wrong), "{text}");
        }
    }
}
