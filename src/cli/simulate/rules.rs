//! The definition's rules, which the API server evaluates in CEL, as functions here.
//!
//! A CEL evaluator would add fifty crates and 3 MB to a binary whose other commands never use it,
//! for a dozen rules. So each rule has a function under its very text; a test asks one for every
//! rule of the definitions, and what the API server itself says is compared in `tests/api_server`,
//! over the same mistakes.

use serde_json::Value;

use crate::api::name::is_dns_label;

type Rule = fn(&Value) -> bool;

/// Each rule's text, and what it asks for. True where the rule holds.
const RULES: [(&str, Rule); 59] = [
    ("self != 'without-undo'", |me| *me != "without-undo"),
    ("self.metadata.name.size() <= 40", |me| {
        text(&me["metadata"]["name"]).chars().count() <= 40
    }),
    (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        |me| {
            let name = text(&me["metadata"]["name"]);
            is_dns_label(name) && !name.starts_with(|c: char| c.is_ascii_digit())
        },
    ),
    (
        "!has(self.spec.after) || self.spec.after.all(a, a.rollout != self.metadata.name)",
        |me| {
            let after = list(&me["spec"]["after"]).iter();
            after
                .clone()
                .all(|one| one["rollout"] != me["metadata"]["name"])
        },
    ),
    ("self.onVariant != self.offVariant", |me| {
        me["onVariant"] != me["offVariant"]
    }),
    (
        "self.configMap.name == oldSelf.configMap.name",
        // There is no older object to differ from.
        |_| true,
    ),
    ("self[size(self) - 1].percent == 100", |me| {
        list(me).last().is_some_and(|step| step["percent"] == 100)
    }),
    ("self.map(s, s.percent).isSorted()", |me| {
        let percents = list(me).iter().filter_map(|step| step["percent"].as_i64());
        percents.is_sorted()
    }),
    // There is no older object to differ from.
    ("self.selector == oldSelf.selector", |_| true),
    (
        "!has(self.adopt) || !has(oldSelf.adopt) || self.adopt == oldSelf.adopt",
        |_| true,
    ),
    ("!has(self.adopt) || !has(self.traffic)", |me| {
        !has(me, "adopt") || !has(me, "traffic")
    }),
    (
        "!has(self.selector.matchLabels) || (has(self.template.metadata) && has(self.template.metadata.labels) && self.selector.matchLabels.all(k, k in self.template.metadata.labels && self.template.metadata.labels[k] == self.selector.matchLabels[k]))",
        template_carries_labels,
    ),
    (
        "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && self.matchExpressions.exists(e, e.operator in ['In', 'Exists']))",
        |me| {
            let labels = me["matchLabels"].as_object().is_some_and(|m| !m.is_empty());
            let names = |one: &Value| one["operator"] == "In" || one["operator"] == "Exists";
            labels || list(&me["matchExpressions"]).iter().any(names)
        },
    ),
    (
        "has(self.version) || !(has(self.backfill) || has(self.contract) || has(self.revert))",
        |me| {
            let mut needing = ["backfill", "contract", "revert"].into_iter();
            has(me, "version") || !needing.any(|phase| has(me, phase))
        },
    ),
    (
        "has(self.expand) || !(has(self.preflight) || has(self.revert))",
        |me| has(me, "expand") || !(has(me, "preflight") || has(me, "revert")),
    ),
    (
        "[has(self.command), has(self.template), has(self.sql)].filter(given, given).size() <= 1",
        |me| {
            let ways = ["command", "template", "sql"].into_iter();
            ways.filter(|way| has(me, way)).count() <= 1
        },
    ),
    ("!has(self.retryLimit) || self.retryLimit == 0", |me| {
        !has(me, "retryLimit") || me["retryLimit"] == 0
    }),
    (
        "!has(self.canary) || !has(self.type) || self.type == 'Canary'",
        |me| !has(me, "canary") || !has(me, "type") || me["type"] == "Canary",
    ),
    (
        "!has(self.rolling) || (has(self.type) && self.type == 'Rolling')",
        |me| !has(me, "rolling") || me["type"] == "Rolling",
    ),
    (
        "!has(self.blueGreen) || (has(self.type) && self.type == 'BlueGreen')",
        |me| !has(me, "blueGreen") || me["type"] == "BlueGreen",
    ),
    (
        "!has(self.stablePods) || self.steps.exists(s, has(s.weight))",
        |me| {
            let mut steps = list(&me["steps"]).iter();
            !has(me, "stablePods") || steps.any(|step| has(step, "weight"))
        },
    ),
    (
        "has(self.traffic) || !(has(self.strategy) && has(self.strategy.type) && self.strategy.type == 'BlueGreen')",
        |me| has(me, "traffic") || !is_blue_green(me),
    ),
    (
        "!has(self.traffic) || (has(self.traffic.routes) && size(self.traffic.routes) > 0) == (has(self.strategy) && has(self.strategy.canary) && self.strategy.canary.steps.exists(s, has(s.weight)))",
        |me| {
            let routes = list(&me["traffic"]["routes"]);
            !has(me, "traffic") || routes.is_empty() != is_weighted(me)
        },
    ),
    (
        "has(self.traffic) || !(has(self.strategy) && has(self.strategy.canary) && self.strategy.canary.steps.exists(s, has(s.weight)))",
        |me| has(me, "traffic") || !is_weighted(me),
    ),
    (
        "!has(self.traffic) || (has(self.strategy) && has(self.strategy.type) && self.strategy.type == 'BlueGreen') || (has(self.strategy) && has(self.strategy.canary) && self.strategy.canary.steps.exists(s, has(s.weight)))",
        |me| !has(me, "traffic") || is_blue_green(me) || is_weighted(me),
    ),
    (
        "has(self.analysis) || !(has(self.schema) && has(self.schema.expand) && has(self.schema.expand.soak))",
        |me| has(me, "analysis") || !has(&me["schema"]["expand"], "soak"),
    ),
    ("self.stableService != self.canaryService", |me| {
        me["stableService"] != me["canaryService"]
    }),
    (
        "self.portsFrom.name != self.stableService && self.portsFrom.name != self.canaryService",
        |me| {
            let from = &me["portsFrom"]["name"];
            *from != me["stableService"] && *from != me["canaryService"]
        },
    ),
    (
        "has(self.postgres) || !((has(self.preflight) && has(self.preflight.sql)) || (has(self.expand) && has(self.expand.sql)) || (has(self.backfill) && (has(self.backfill.sql) || has(self.backfill.batches))) || (has(self.contract) && has(self.contract.sql)) || (has(self.revert) && has(self.revert.sql)))",
        |me| has(me, "postgres") || !runs_sql(me),
    ),
    (
        "!has(self.contract) || !has(self.backfill) || has(self.backfill.batches) || has(self.backfill.verify)",
        |me| {
            let fills = &me["backfill"];
            let proves = has(fills, "batches") || has(fills, "verify");
            !has(me, "contract") || !has(me, "backfill") || proves
        },
    ),
    (
        "(has(self.version) && self.version <= 2147483647) || !((has(self.preflight) && has(self.preflight.sql)) || (has(self.expand) && has(self.expand.sql)) || (has(self.backfill) && (has(self.backfill.sql) || has(self.backfill.batches))) || (has(self.contract) && has(self.contract.sql)) || (has(self.revert) && has(self.revert.sql)))",
        |me| {
            let version = me["version"].as_i64();
            version.is_some_and(|version| version <= 2_147_483_647) || !runs_sql(me)
        },
    ),
    (
        "!(has(self.schema) && has(self.schema.contract) && has(self.schema.contract.flags)) || self.schema.contract.flags.all(k, has(self.flags) && self.flags.exists(f, f.key == k))",
        |me| {
            let mut named = list(&me["schema"]["contract"]["flags"]).iter();
            named.all(|key| list(&me["flags"]).iter().any(|flag| flag["key"] == *key))
        },
    ),
    ("has(self.batches) || !has(self.stallSeconds)", |me| {
        has(me, "batches") || !has(me, "stallSeconds")
    }),
    ("has(self.command) != has(self.template)", |me| {
        has(me, "command") != has(me, "template")
    }),
    (
        "[has(self.command), has(self.template), has(self.sql)].exists_one(given, given)",
        |me| one_of([has(me, "command"), has(me, "template"), has(me, "sql")]),
    ),
    (
        "[has(self.command), has(self.template), has(self.sql) || has(self.batches)].exists_one(given, given)",
        |me| {
            let sql = has(me, "sql") || has(me, "batches");
            one_of([has(me, "command"), has(me, "template"), sql])
        },
    ),
    ("has(self.batches) || !has(self.maxLagSeconds)", |me| {
        has(me, "batches") || !has(me, "maxLagSeconds")
    }),
    (
        "self.files.all(f, self.files.exists_one(g, g.configMapKeyRef.key == f.configMapKeyRef.key))",
        |me| {
            let keys = list(&me["files"]).iter();
            let keys: Vec<_> = keys.map(|f| &f["configMapKeyRef"]["key"]).collect();
            let once = |key| keys.iter().filter(|other| *other == key).count() == 1;
            keys.iter().all(once)
        },
    ),
    (
        "has(self[size(self) - 1].replicas) ? self[size(self) - 1].replicas == '100%' : has(self[size(self) - 1].weight)",
        |me| {
            list(me)
                .last()
                .is_some_and(|step| match has(step, "replicas") {
                    true => step["replicas"] == "100%",
                    false => has(step, "weight"),
                })
        },
    ),
    (
        "self.all(s, has(s.weight)) || self.all(s, has(s.replicas) && !has(s.weight))",
        |me| {
            let steps = list(me);
            let plain = |step: &Value| has(step, "replicas") && !has(step, "weight");
            steps.iter().all(|step| has(step, "weight")) || steps.iter().all(plain)
        },
    ),
    (
        "!has(self[size(self) - 1].weight) || self[size(self) - 1].weight == 100",
        |me| {
            list(me)
                .last()
                .is_some_and(|step| !has(step, "weight") || step["weight"] == 100)
        },
    ),
    (
        "self.all(s, s.name == self[size(self) - 1].name || !has(s.tests) || s.tests.all(t, !has(t.after) || t.after != 'Release'))",
        |me| {
            let before = list(me).split_last().map_or(&[][..], |(_, before)| before);
            let tests = before.iter().flat_map(|step| list(&step["tests"]));
            tests.into_iter().all(|test| test["after"] != "Release")
        },
    ),
    (
        "self.filter(s, has(s.weight)).map(s, s.weight).isSorted()",
        |me| {
            let weights = list(me).iter().filter_map(|step| step["weight"].as_i64());
            weights.is_sorted()
        },
    ),
    (
        "self.filter(s, has(s.replicas) && type(s.replicas) == string).map(s, size(s.replicas)).isSorted() && [2, 3].all(l, self.filter(s, has(s.replicas) && type(s.replicas) == string && size(s.replicas) == l).map(s, s.replicas).isSorted())",
        |me| {
            let shares = list(me).iter().filter_map(|step| step["replicas"].as_str());
            // The longer one is the larger one, as long as none begins with a zero.
            shares.map(|share| (share.len(), share)).is_sorted()
        },
    ),
    (
        "self.filter(s, has(s.replicas) && type(s.replicas) == int).map(s, int(s.replicas)).isSorted()",
        |me| {
            let counts = list(me).iter().filter_map(|step| step["replicas"].as_i64());
            counts.is_sorted()
        },
    ),
    (
        r"type(self) == string ? self.matches(r'^(100|[1-9]?[0-9])%$') : self >= 0 && self <= 100000",
        |me| is_share(me, 0),
    ),
    (
        r"type(self) == string ? self.matches(r'^(100|[1-9][0-9]?)%$') : self >= 1 && self <= 100000",
        |me| is_share(me, 1),
    ),
    ("has(self.errorRate) != has(self.latency)", |me| {
        has(me, "errorRate") != has(me, "latency")
    }),
    (
        "double(self.maxPercent) > 0.0 && double(self.maxPercent) < 100.0",
        |me| {
            let limit = text(&me["maxPercent"]).parse::<f64>();
            limit.is_ok_and(|percent| percent > 0.0 && percent < 100.0)
        },
    ),
    ("!has(self.namespaceLabel)", |me| !has(me, "namespaceLabel")),
    ("!has(self.errorValues) || !has(self.successValues)", |me| {
        !has(me, "errorValues") || !has(me, "successValues")
    }),
    (
        "!has(self.failedCounter) || !(has(self.statusLabel) || has(self.errorValues) || has(self.successValues))",
        |me| {
            let label = ["statusLabel", "errorValues", "successValues"];
            !has(me, "failedCounter") || !label.iter().any(|field| has(me, field))
        },
    ),
    (
        "!has(self.counter) || !self.counter.endsWith('_bucket')",
        |me| !text(&me["counter"]).ends_with("_bucket"),
    ),
    (
        "!has(self.histogram) || !self.histogram.endsWith('_bucket')",
        |me| !text(&me["histogram"]).ends_with("_bucket"),
    ),
    (
        "!has(self.errorValues) || ''.matches(self.errorValues) || !''.matches(self.errorValues)",
        |me| is_pattern(&me["errorValues"]),
    ),
    (
        "!has(self.successValues) || ''.matches(self.successValues) || !''.matches(self.successValues)",
        |me| is_pattern(&me["successValues"]),
    ),
    (
        "!has(self.matches) || ''.matches(self.matches) || !''.matches(self.matches)",
        |me| is_pattern(&me["matches"]),
    ),
    (
        "!has(self.notMatches) || ''.matches(self.notMatches) || !''.matches(self.notMatches)",
        |me| is_pattern(&me["notMatches"]),
    ),
    (
        "[has(self.equals), has(self.__in__), has(self.notIn), has(self.matches), has(self.notMatches)].exists_one(given, given)",
        |me| {
            let conditions = ["equals", "in", "notIn", "matches", "notMatches"];
            conditions.iter().filter(|field| has(me, field)).count() == 1
        },
    ),
];

/// The messages of a schema's own rules that a value breaks.
pub(super) fn broken<'a>(schema: &'a Value, value: &Value) -> impl Iterator<Item = &'a str> {
    let rules = list(&schema["x-kubernetes-validations"]).iter();
    rules
        .filter(|rule| {
            let known = RULES.iter().find(|(text, _)| rule["rule"] == *text);
            known.is_some_and(|(_, holds)| !holds(value))
        })
        .filter_map(|rule| rule["message"].as_str())
}

/// Nothing, or what RE2 reads. It knows a little less than the parser here, which the API server
/// then says.
fn is_pattern(value: &Value) -> bool {
    let reads = |pattern: &str| {
        regex_syntax::ast::parse::Parser::new()
            .parse(pattern)
            .is_ok()
    };
    value.as_str().is_none_or(reads)
}

fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}

fn is_blue_green(spec: &Value) -> bool {
    spec["strategy"]["type"] == "BlueGreen"
}

fn is_weighted(spec: &Value) -> bool {
    let steps = list(&spec["strategy"]["canary"]["steps"]);
    steps.iter().any(|step| has(step, "weight"))
}

fn one_of(given: [bool; 3]) -> bool {
    given.into_iter().filter(|given| *given).count() == 1
}

/// Whether a phase is SQL.
fn runs_sql(schema: &Value) -> bool {
    let phases = ["preflight", "expand", "backfill", "contract", "revert"].into_iter();
    let mut phases = phases.map(|phase| &schema[phase]);
    phases.any(|phase| has(phase, "sql") || has(phase, "batches"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A count from `least` on, or a whole percentage from `least` on without leading zeros.
fn is_share(value: &Value, least: i64) -> bool {
    let range = |most: i64, number: i64| (least..=most).contains(&number);
    match value.as_str() {
        None => value.as_i64().is_some_and(|count| range(100_000, count)),
        Some(share) => share.strip_suffix('%').is_some_and(|digits| {
            let number = digits.parse::<u8>().ok().map(i64::from);
            number.is_some_and(|n| range(100, n) && digits == n.to_string())
        }),
    }
}

fn template_carries_labels(me: &Value) -> bool {
    let Some(wanted) = me["selector"]["matchLabels"].as_object() else {
        return true;
    };
    let labels = &me["template"]["metadata"]["labels"];
    labels.is_object()
        && wanted
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::crd;

    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for rule in list(&value["x-kubernetes-validations"]) {
                    found.push(text(&rule["rule"]).to_owned());
                }
                map.values().for_each(|inner| texts(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| texts(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_rule_of_the_definition_has_its_function_and_every_function_a_rule() {
        let definitions = crd::definitions().unwrap();
        let (_, rollout) = definitions
            .iter()
            .find(|(f, _)| *f == "rollouts.yaml")
            .unwrap();
        let mut defined = Vec::new();
        texts(rollout, &mut defined);
        for rule in &defined {
            assert!(
                RULES.iter().any(|(known, _)| known == rule),
                "no function for: {rule}"
            );
        }
        for (known, _) in RULES {
            assert!(
                defined.iter().any(|rule| rule == known),
                "no rule for: {known}"
            );
        }
    }

    #[test]
    fn shares() {
        use serde_json::json;
        for (value, least, holds) in [
            (json!("0%"), 0, true),
            (json!("0%"), 1, false),
            (json!("100%"), 1, true),
            (json!("101%"), 0, false),
            (json!("05%"), 0, false),
            (json!("+5%"), 0, false),
            (json!("5"), 0, false),
            (json!(0), 1, false),
            (json!(100_000), 1, true),
            (json!(100_001), 1, false),
        ] {
            assert_eq!(is_share(&value, least), holds, "{value} from {least}");
        }
    }
}
