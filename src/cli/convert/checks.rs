//! Checks from the metrics of AnalysisTemplates.
//!
//! A metric there is a query and a condition on its result. The query is not used: Stepgate counts
//! requests by itself. What is taken over is what the query is about and its limit, where both can
//! be told from it.

use serde_json::{Map, Value, json};

use super::{super::simulate::manifest::Documents, source::Source, steps::seconds};

/// Where a strategy names templates, besides its steps.
const PLACES: [&str; 4] = [
    "strategy.canary.analysis",
    "strategy.blueGreen.prePromotionAnalysis",
    "strategy.blueGreen.postPromotionAnalysis",
    "strategy.canary.steps",
];

/// `spec.analysis`, if anything that is measured can be told.
pub(super) fn analysis(source: &mut Source, documents: &Documents) -> Option<Value> {
    if source.peek("analysis.checks").is_array() {
        return source.take("analysis");
    }
    let mut checks: Vec<Value> = Vec::new();
    let mut interval: Option<i64> = None;
    for (path, name) in templates(source) {
        let found = documents.all().find(|d| {
            let kind = d["kind"].as_str().unwrap_or_default();
            matches!(kind, "AnalysisTemplate" | "ClusterAnalysisTemplate")
                && d["metadata"]["name"] == *name
        });
        let Some(found) = found else {
            source.warn(
                &path,
                format!(
                    "AnalysisTemplate {name} is not in the files, so nothing of it is measured: \
                     add its file with -f, or write spec.analysis.checks"
                ),
            );
            continue;
        };
        for metric in found["spec"]["metrics"].as_array().into_iter().flatten() {
            let metric_name = metric["name"].as_str().unwrap_or("metric");
            let label = format!("AnalysisTemplate {name}, metric {metric_name}");
            match check(metric) {
                Some((check, words)) => {
                    interval = interval.or_else(|| seconds(&metric["interval"]));
                    let known = checks.iter().any(|c: &Value| c["name"] == check["name"]);
                    if !known {
                        source.note(&path, format!("{label}: became {words}. Its query is not used: requests are counted for each pod of the new revision, by the metric source. Compare the limit"));
                        checks.push(check);
                    }
                }
                None => source.warn(
                    &path,
                    format!(
                        "{label}: not taken over: only the share of failed requests and \
                         percentiles of the response time, from Prometheus, can be checks"
                    ),
                ),
            }
        }
    }
    if checks.is_empty() {
        return None;
    }
    let mut analysis = Map::new();
    if let Some(seconds) = interval {
        analysis.insert("intervalSeconds".into(), json!(seconds.clamp(1, 3600)));
    }
    analysis.insert("checks".into(), Value::Array(checks));
    Some(Value::Object(analysis))
}

/// Where templates are named, and their names, each once.
fn templates(source: &mut Source) -> Vec<(String, String)> {
    let mut named: Vec<(String, String)> = Vec::new();
    let mut name = |path: String, analysis: &Value| {
        let refs = analysis["templates"].as_array().into_iter().flatten();
        for name in refs.filter_map(|t| t["templateName"].as_str()) {
            if named.iter().all(|(_, known)| known != name) {
                named.push((path.clone(), name.to_owned()));
            }
        }
    };
    for place in PLACES {
        if place == "strategy.canary.steps" {
            let steps = source.peek(place).as_array().cloned().unwrap_or_default();
            for (index, step) in steps.iter().enumerate() {
                name(format!("{place}[{index}].analysis"), &step["analysis"]);
            }
        } else if let Some(analysis) = source.take(place) {
            name(place.to_owned(), &analysis);
            if !analysis["startingStep"].is_null() {
                source.note(
                    &format!("{place}.startingStep"),
                    "not needed: the checks are measured from the first pod on",
                );
            }
        }
    }
    named
}

/// The check that asks for the same, and how it is told.
fn check(metric: &Value) -> Option<(Value, String)> {
    let query = metric["provider"]["prometheus"]["query"].as_str()?;
    let success = metric["successCondition"].as_str();
    let limit = match success {
        Some(condition) => limit(condition)?,
        None => {
            let failure = limit(metric["failureCondition"].as_str()?)?;
            Limit {
                at_most: !failure.at_most,
                ..failure
            }
        }
    };
    let name = label(metric["name"].as_str().unwrap_or("metric"));
    if let Some(percentile) = percentile(query) {
        let unit = if query.contains("_milliseconds") || query.contains("_ms") {
            1.0
        } else {
            1000.0
        };
        let milliseconds = whole(limit.value * unit)?;
        if !limit.at_most || milliseconds < 1 {
            return None;
        }
        let latency = json!({"percentile": percentile, "maxMilliseconds": milliseconds});
        let words = format!("a check that p{percentile} is at most {milliseconds} ms");
        return Some((json!({"name": name, "latency": latency}), words));
    }
    if !is_about_errors(query) {
        return None;
    }
    // Up to 1 it is a share, above a percentage.
    let percent = if limit.value <= 1.0 {
        limit.value * 100.0
    } else {
        limit.value
    };
    let failed = if limit.at_most {
        percent
    } else {
        100.0 - percent
    };
    if failed <= 0.0 || failed >= 100.0 {
        return None;
    }
    let failed = format!("{failed:.4}");
    let failed = failed.trim_end_matches('0').trim_end_matches('.');
    let check = json!({"name": name, "errorRate": {"maxPercent": failed}});
    Some((
        check,
        format!("a check that at most {failed}% of the requests fail"),
    ))
}

/// A bound on a result.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    at_most: bool,
    value: f64,
}

/// The one comparison of the result with a number; tests for an empty result do not count.
fn limit(condition: &str) -> Option<Limit> {
    let parts = condition.split("&&").flat_map(|part| part.split("||"));
    let found: Vec<Limit> = parts.filter_map(comparison).collect();
    match found[..] {
        [one] => Some(one),
        _ => None,
    }
}

fn comparison(part: &str) -> Option<Limit> {
    let part: String = part.chars().filter(|c| !"() \n\t".contains(*c)).collect();
    let rest = part.strip_prefix("result")?;
    let rest = rest.strip_prefix("[0]").unwrap_or(rest);
    let at_most = match rest.chars().next()? {
        '<' => true,
        '>' => false,
        _ => return None,
    };
    let number = rest[1..].trim_start_matches('=');
    let value: f64 = number.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(Limit { at_most, value })
}

/// The percentile of a query, in percent.
fn percentile(query: &str) -> Option<i64> {
    let (_, rest) = query.split_once("histogram_quantile(")?;
    let quantile: f64 = rest.split(',').next()?.trim().parse().ok()?;
    whole(quantile * 100.0).filter(|percent| (1..=99).contains(percent))
}

/// Whether it divides failed requests, or good ones, by all: by how such queries are written.
fn is_about_errors(query: &str) -> bool {
    let marks = [
        "5..", "5xx", "5.*", "[45]", "5[0-9]", "5\\d", "!~", "error", "fail",
    ];
    let query = query.to_lowercase();
    query.contains('/') && marks.iter().any(|mark| query.contains(mark))
}

#[expect(clippy::cast_possible_truncation, reason = "the bounds are checked")]
fn whole(number: f64) -> Option<i64> {
    let rounded = number.round();
    ((rounded - number).abs() < 1e-6 && (0.0..=3_600_000.0).contains(&rounded))
        .then_some(rounded as i64)
}

/// A name as a label has it.
fn label(name: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    let name: String = name.chars().take(40).map(plain).collect();
    match name.trim_matches('-') {
        "" => "metric".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, success: &str) -> Option<Value> {
        let metric = json!({
            "name": "Success_Rate",
            "successCondition": success,
            "provider": {"prometheus": {"query": query}},
        });
        check(&metric).map(|(check, _)| check)
    }

    #[test]
    fn limits_are_read_from_conditions() {
        let share = r#"sum(rate(r{code!~"5.."}[5m])) / sum(rate(r[5m]))"#;
        for (condition, percent) in [
            ("result[0] >= 0.95", Some("5")),
            ("result[0]>=0.999", Some("0.1")),
            ("len(result) == 0 || result[0] > 99", Some("1")),
            ("!isNaN(result[0]) && result[0] >= 0.95", Some("5")),
            ("result[0] >= 0.9 && result[0] <= 0.95", None),
            ("result[0] >= 1", None),
            ("asFloat(result) >= 0.95", None),
        ] {
            let check = of(share, condition);
            let found = check
                .as_ref()
                .map(|c| c["errorRate"]["maxPercent"].as_str().unwrap());
            assert_eq!(found, percent, "{condition}");
        }
        let name = of(share, "result[0] >= 0.95").unwrap()["name"].clone();
        assert_eq!(name, "success-rate");
    }

    #[test]
    fn a_failure_condition_is_the_other_way_round() {
        let metric = json!({
            "name": "errors", "failureCondition": "result[0] >= 0.02",
            "provider": {"prometheus": {"query": "sum(rate(e{c=~\"5..\"}[1m]))/sum(rate(e[1m]))"}},
        });
        assert_eq!(check(&metric).unwrap().0["errorRate"]["maxPercent"], "2");
    }

    #[test]
    fn percentiles_are_read_from_queries() {
        let seconds = "histogram_quantile(0.95, sum by (le) (rate(http_seconds_bucket[1m])))";
        let latency = of(seconds, "result[0] <= 0.25").unwrap()["latency"].clone();
        assert_eq!(latency, json!({"percentile": 95, "maxMilliseconds": 250}));
        let milliseconds = "histogram_quantile(0.99, rate(d_milliseconds_bucket[1m]))";
        let latency = of(milliseconds, "result[0] < 300").unwrap()["latency"].clone();
        assert_eq!(latency, json!({"percentile": 99, "maxMilliseconds": 300}));
        assert_eq!(of(seconds, "result[0] >= 0.25"), None);
        assert_eq!(of("sum(rate(cpu[1m]))", "result[0] <= 0.9"), None);
    }
}
