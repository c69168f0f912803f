//! Routes as they are read, whatever their kind. A further kind is a reader here, and its names.

use std::fmt;

use serde_json::Value;

use crate::{
    api::traffic::{RouteKind, RouteRef},
    plan::facts::Base,
};

/// Which routes are to be read, and whose weights count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutesAsked {
    /// Their namespace, and that of the Services.
    pub namespace: String,
    /// The routes.
    pub routes: Vec<RouteRef>,
    /// The Service that users reach at rest.
    pub stable: String,
    /// The Service of the revision in motion.
    pub canary: String,
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteFacts {
    /// Which one.
    pub asked: RouteRef,
    /// What it does, or why nobody knows.
    pub found: Result<Found, Unusable>,
}

/// A route that can be told what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Name, uid, and the version this is a copy of.
    pub base: Base,
    /// The weights of each rule that names both Services.
    pub rules: Vec<Pair>,
    /// Its controllers have reported that they have taken it as it is. A kind without such a report
    /// is taken at once.
    pub accepted: bool,
}

/// The weights of the two Services in one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The rule, for messages.
    pub rule: String,
    /// That of the Service of users.
    pub stable: Weight,
    /// That of the Service of the revision in motion.
    pub canary: Weight,
}

/// A weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Where it stands, as a JSON pointer.
    pub pointer: String,
    /// What it is.
    pub value: i32,
}

/// Why a route cannot be told anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is none of its name.
    Missing,
    /// The cluster does not know its kind.
    UnknownKind,
    /// The operator may not read it, in the API server's words.
    Forbidden(String),
    /// It does not name the Service of the new revision at all, so it sends nobody there: what to
    /// write.
    Unnamed(String),
    /// It does not name the two Services as it should: what is wrong with it, and what to write.
    Unfit(String),
}

impl Unusable {
    /// By this route nobody gets to the new revision.
    #[must_use]
    pub(crate) const fn leads_nowhere(&self) -> bool {
        matches!(self, Self::Missing | Self::UnknownKind | Self::Unnamed(_))
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

impl Pair {
    /// Percent of the requests that the new revision's Service gets of those to both.
    #[must_use]
    pub fn share(&self) -> i32 {
        let sum = self.stable.value + self.canary.value;
        if sum == 0 {
            return 0;
        }
        (self.canary.value * 100 + sum - 1) / sum
    }
}

impl RoutesAsked {
    /// What a route does, as the API server holds it.
    #[must_use]
    pub fn read(&self, asked: &RouteRef, base: Base, route: &Value) -> RouteFacts {
        let reader = match asked.kind {
            RouteKind::Http | RouteKind::Grpc => GATEWAY_API,
            RouteKind::VirtualService => ISTIO,
        };
        let rules = self.pairs(asked, &reader, &route["spec"]);
        let found = rules.map(|rules| Found {
            base,
            rules,
            accepted: (reader.accepted)(route),
        });
        let asked = asked.clone();
        RouteFacts { asked, found }
    }

    fn pairs(
        &self,
        asked: &RouteRef,
        reader: &Reader,
        spec: &Value,
    ) -> Result<Vec<Pair>, Unusable> {
        let Self { stable, canary, .. } = self;
        let none = Vec::new();
        let rules = spec[reader.rules].as_array().unwrap_or(&none);
        let leads =
            |backend: &Value, service: &str| (reader.leads_to)(backend, service, &self.namespace);
        let all = rules
            .iter()
            .filter_map(|rule| rule[reader.backends].as_array());
        if !all.flatten().any(|backend| leads(backend, canary)) {
            return Err(Unusable::Unnamed(self.lacks(reader, "rules")));
        }
        let mut pairs = Vec::new();
        let mut left: Vec<&String> = asked.rules.iter().collect();
        for (index, rule) in rules.iter().enumerate() {
            let name = rule["name"].as_str();
            if !asked.rules.is_empty() && !asked.rules.iter().any(|r| Some(&**r) == name) {
                continue;
            }
            left.retain(|r| Some(&***r) != name);
            let words = name.map_or_else(
                || format!("{}[{index}]", reader.rules),
                |name| format!("{} {name}", reader.rule),
            );
            let backends = rule[reader.backends].as_array().unwrap_or(&none);
            let place = |service: &str| {
                let mut all = backends.iter().enumerate();
                let (at, backend) = all.find(|(_, b)| leads(b, service))?;
                Some(Weight {
                    pointer: format!(
                        "/spec/{}/{index}/{}/{at}/weight",
                        reader.rules, reader.backends
                    ),
                    value: weight_of(backend, reader.unsaid),
                })
            };
            match (place(stable), place(canary)) {
                (Some(of_stable), Some(of_canary)) => {
                    if backends.len() > 2 {
                        return Err(Unusable::Unfit(format!(
                            "its {words} has more backends than Services {stable} and {canary}: \
                             keep these two alone there"
                        )));
                    }
                    pairs.push(Pair {
                        rule: words,
                        stable: of_stable,
                        canary: of_canary,
                    });
                }
                _ if asked.rules.is_empty() => {}
                _ => return Err(Unusable::Unfit(self.lacks(reader, &words))),
            }
        }
        if let Some(rule) = left.first() {
            return Err(Unusable::Unfit(format!(
                "it has no {} of the name {rule}: correct spec.traffic.routes[].rules, or name the \
                 rule (older definitions of the Gateway API know no names of rules: leave rules out)",
                reader.rule
            )));
        }
        if pairs.is_empty() {
            return Err(Unusable::Unfit(self.lacks(reader, "rules")));
        }
        Ok(pairs)
    }

    fn lacks(&self, reader: &Reader, rule: &str) -> String {
        let Self { stable, canary, .. } = self;
        let backend = |service, weight| (reader.written)(service, weight);
        format!(
            "its {rule} must name Services {stable} and {canary}: write {}: [{}, {}], with the \
             port of the Service",
            reader.backends,
            backend(stable, 100),
            backend(canary, 0),
        )
    }
}

/// How routes of a kind are read.
struct Reader {
    /// The list of their rules.
    rules: &'static str,
    /// What one of them is called, for messages.
    rule: &'static str,
    /// The list of a rule's backends.
    backends: &'static str,
    /// The weight of one that gives none.
    unsaid: i32,
    /// Whether a backend is the Service of this name, in this namespace, which is the route's.
    leads_to: fn(&Value, &str, &str) -> bool,
    /// Its controllers have taken it as it is.
    accepted: fn(&Value) -> bool,
    /// A backend as one writes it.
    written: fn(&str, i32) -> String,
}

const GATEWAY_API: Reader = Reader {
    rules: "rules",
    rule: "rule",
    backends: "backendRefs",
    unsaid: 1,
    leads_to: |backend, service, own| {
        let kind = backend["kind"].as_str().unwrap_or("Service");
        let group = backend["group"].as_str().unwrap_or_default();
        let namespace = backend["namespace"].as_str();
        kind == "Service"
            && group.is_empty()
            && namespace.is_none_or(|namespace| namespace == own)
            && backend["name"] == service
    },
    accepted: |route| {
        let generation = &route["metadata"]["generation"];
        let asked = route["spec"]["parentRefs"].as_array();
        // What a former parent has left is nobody's word any more.
        let is_asked = |parent: &&Value| {
            let of = &parent["parentRef"];
            let same = |r: &Value| {
                r["name"] == of["name"]
                    && (r["sectionName"].is_null() || r["sectionName"] == of["sectionName"])
            };
            asked.is_none_or(|asked| asked.is_empty() || asked.iter().any(same))
        };
        let parents = route["status"]["parents"].as_array().into_iter().flatten();
        let parents: Vec<&Value> = parents.filter(is_asked).collect();
        let taken = |parent: &&Value| {
            let conditions = parent["conditions"].as_array();
            let is = |kind: &str| {
                let mut all = conditions.into_iter().flatten();
                all.any(|c| {
                    c["type"] == kind
                        && c["status"] == "True"
                        && c["observedGeneration"] == *generation
                })
            };
            is("Accepted") && is("ResolvedRefs")
        };
        !parents.is_empty() && parents.iter().all(taken)
    },
    written: |service, weight| format!("{{name: {service}, port: 80, weight: {weight}}}"),
};

const ISTIO: Reader = Reader {
    rules: "http",
    rule: "HTTP route",
    backends: "route",
    unsaid: 0,
    leads_to: |backend, service, own| {
        let host = backend["destination"]["host"].as_str().unwrap_or_default();
        let subset = &backend["destination"]["subset"];
        let whole = format!("{service}.{own}.svc");
        let further = host.strip_prefix(&whole);
        let is_whole = further.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        subset.is_null() && (host == service || is_whole)
    },
    // It reports nothing.
    accepted: |_| true,
    written: |service, weight| format!("{{destination: {{host: {service}}}, weight: {weight}}}"),
};

fn weight_of(backend: &Value, unsaid: i32) -> i32 {
    let weight = backend["weight"].as_i64();
    weight.map_or(unsaid, |weight| {
        i32::try_from(weight)
            .unwrap_or(i32::MAX)
            .clamp(0, 1_000_000)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(kind: RouteKind, rules: &[&str]) -> RoutesAsked {
        let rules = rules.iter().map(|&r| r.to_owned()).collect();
        RoutesAsked {
            namespace: "shop".into(),
            routes: vec![RouteRef {
                kind,
                name: "shop".into(),
                rules,
            }],
            stable: "shop-stable".into(),
            canary: "shop-canary".into(),
        }
    }

    fn read(asked: &RoutesAsked, route: &Value) -> Result<Found, Unusable> {
        let base = Base {
            name: "shop".into(),
            uid: "1".into(),
            resource_version: "1".into(),
        };
        asked.read(&asked.routes[0], base, route).found
    }

    fn shares(found: &Found) -> Vec<(&str, i32, &str)> {
        let rules = found.rules.iter();
        rules
            .map(|p| (&*p.rule, p.share(), &*p.canary.pointer))
            .collect()
    }

    fn http(observed: i64) -> Value {
        let condition =
            |kind| json!({"type": kind, "status": "True", "observedGeneration": observed});
        json!({
            "metadata": {"generation": 3},
            "spec": {"rules": [
                {"matches": [], "backendRefs": [{"name": "shop-canary", "port": 80}]},
                {"name": "web", "backendRefs": [
                    {"name": "shop-stable", "port": 80, "weight": 95},
                    {"name": "shop-canary", "port": 80, "weight": 5},
                ]},
            ]},
            "status": {"parents": [{"conditions": [condition("Accepted"), condition("ResolvedRefs")]}]},
        })
    }

    #[test]
    fn a_route_of_the_gateway_api_tells_its_weights_and_whether_they_are_taken() {
        let all = asked(RouteKind::Http, &[]);
        let found = read(&all, &http(3)).unwrap();
        let pointer = "/spec/rules/1/backendRefs/1/weight";
        assert_eq!(shares(&found), [("rule web", 5, pointer)]);
        assert!(found.accepted);
        assert!(
            !read(&all, &http(2)).unwrap().accepted,
            "of an earlier generation"
        );
        let mut left = http(3);
        left["spec"]["parentRefs"] = json!([{"name": "gateway"}]);
        let former = json!({"parentRef": {"name": "former"}, "conditions": []});
        let parents = left["status"]["parents"].as_array_mut().unwrap();
        parents[0]["parentRef"] = json!({"name": "gateway"});
        parents.push(former);
        assert!(
            read(&all, &left).unwrap().accepted,
            "a former parent has no say"
        );
        let mut unreported = http(3);
        unreported["status"] = json!({});
        assert!(!read(&all, &unreported).unwrap().accepted);
    }

    #[test]
    fn a_virtual_service_names_its_services_by_host() {
        let all = asked(RouteKind::VirtualService, &["web"]);
        let route = |host: &str| {
            json!({"spec": {"http": [{"name": "web", "route": [
                {"destination": {"host": "shop-stable"}, "weight": 100},
                {"destination": {"host": host}},
            ]}]}})
        };
        for host in ["shop-canary", "shop-canary.shop.svc.cluster.local"] {
            let found = read(&all, &route(host)).unwrap();
            let pointer = "/spec/http/0/route/1/weight";
            assert_eq!(shares(&found), [("HTTP route web", 0, pointer)]);
            assert!(found.accepted);
        }
        for host in [
            "shop-canary.example.com",
            "shop-canary.other.svc.cluster.local",
            "shop-canary.shop.svcx.example.com",
            "other",
        ] {
            read(&all, &route(host)).unwrap_err();
        }
    }

    #[test]
    fn a_route_that_does_not_fit_is_told_with_what_to_write() {
        let words = |asked: &RoutesAsked, route: &Value| match read(asked, route) {
            Err(Unusable::Unfit(words) | Unusable::Unnamed(words)) => words,
            other => panic!("{other:?}"),
        };
        let named = asked(RouteKind::Http, &["api"]);
        assert_eq!(
            words(&named, &http(3)),
            "it has no rule of the name api: correct spec.traffic.routes[].rules, or name the rule \
             (older definitions of the Gateway API know no names of rules: leave rules out)"
        );
        let all = asked(RouteKind::Http, &[]);
        let empty = json!({"spec": {"rules": [{"backendRefs": [{"name": "shop"}]}]}});
        assert_eq!(
            words(&all, &empty),
            "its rules must name Services shop-stable and shop-canary: write backendRefs: [{name: \
             shop-stable, port: 80, weight: 100}, {name: shop-canary, port: 80, weight: 0}], with \
             the port of the Service"
        );
        let mut third = http(3);
        let backends = third["spec"]["rules"][1]["backendRefs"].as_array_mut();
        backends.unwrap().push(json!({"name": "old", "weight": 1}));
        assert!(words(&all, &third).contains("more backends than"));
        let mut elsewhere = http(3);
        elsewhere["spec"]["rules"][1]["backendRefs"][1]["namespace"] = json!("other");
        assert!(words(&all, &elsewhere).contains("must name Services"));
        elsewhere["spec"]["rules"][1]["backendRefs"][1]["namespace"] = json!("shop");
        read(&all, &elsewhere).unwrap();
    }
}
