//! Changes of a manifest, drawn by the definition's own schema: what a field may be, its bounds,
//! just beyond them, and what nobody expects there.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    string::string_regex,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};
use stepgate::simulate::random::Random;

/// Strings that something somewhere reads as more than a string.
const STRANGE: &[&str] = &[
    "",
    " ",
    "\u{0}",
    "\n",
    "-",
    ".",
    "..",
    "/",
    "a/b/c",
    "%2e%2e%2f",
    "{{ .x }}",
    "$(NAME)",
    "\"}",
    "null",
    "true",
    "1.10",
    "1e400",
    "-1",
    "0%",
    "101%",
    "0x10",
    "1Gi",
    "-0.1m",
    "9999999999999Ei",
    "1.5Mi ",
    "é",
    "日本語",
    "\u{202e}gnp.exe",
    "\u{200b}",
    "🦀🦀",
    "ﷺ",
    "e\u{301}\u{301}\u{301}",
    "A",
    "web_1",
    "web.example.com:80/x@sha256:0",
];

/// Keys of labels and annotations, and with them the operator's own.
const KEYS: &[&str] = &[
    "app",
    "a b",
    "-",
    "x/y/z",
    "é",
    "stepgate.io/rollout",
    "stepgate.io/revision",
    "stepgate.io/epoch",
    "stepgate.io/promote",
    "stepgate.io/undo",
    "stepgate.io/retry",
    "stepgate.io/pause",
    "stepgate.io/resume",
    "stepgate.io/promot",
    "app.kubernetes.io/name",
    "pod-template-hash",
    "kubernetes.io/limit-ranger",
];

/// The schemas, and what draws from them.
pub struct Mutator {
    rollout: Value,
    database: Value,
    pod: Value,
}

/// A field that is there, or may be.
struct Place<'s> {
    at: Vec<String>,
    schema: &'s Value,
}

impl Mutator {
    /// By the definitions in `crds/`. Pod templates, which they leave open, go by the API's own
    /// types.
    pub fn new() -> Self {
        let read = |file: &str| {
            let path = format!("{}/crds/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("a definition");
            let mut definition: Value = serde_saphyr::from_str(&text).expect("YAML");
            let at = "/spec/versions/0/schema/openAPIV3Schema";
            definition.pointer_mut(at).expect("a schema").take()
        };
        let pod = schemars::schema_for!(PodTemplateSpec);
        Self {
            rollout: read("rollouts"),
            database: read("databaseschemas"),
            pod: serde_json::to_value(pod).expect("JSON"),
        }
    }

    /// Changes something, and says what.
    pub fn mutate(&self, object: &mut Value, random: &mut Random) -> String {
        let is_rollout = object["kind"] == "Rollout";
        let draw = random.below(100);
        if draw < 12 {
            return metadata(object, random);
        }
        let mut places = Vec::new();
        if is_rollout {
            let (spec, own) = (&self.rollout["properties"]["spec"], draw < 75);
            self.places(spec, object.get("spec"), vec!["spec".into()], &mut places);
            // Templates have ten times as many fields as all else together.
            let wanted = |place: &Place<'_>| own != place.at.iter().any(|part| part == "template");
            if places.iter().any(wanted) {
                places.retain(wanted);
            }
        } else {
            let own = self.database["properties"].as_object().expect("members");
            for (name, schema) in own.iter().filter(|(name, _)| *name != "metadata") {
                self.places(schema, object.get(name), vec![name.clone()], &mut places);
            }
        }
        // Half of the time something that is written: else it is always what nobody writes.
        if random.chance(50) {
            let written = |place: &Place<'_>| find(object, &place.at).is_some();
            if places.iter().any(written) {
                places.retain(written);
            }
        }
        let place = random.one_of(&places).expect("the definition has fields");
        let old = find(object, &place.at).cloned();
        let new = self.value(place.schema, old.as_ref(), random);
        let told = new.as_ref().map_or("removed".into(), shown);
        put(object, &place.at, new);
        format!("{}: {told}", place.at.join("."))
    }

    /// Where a schema says that its members are somewhere else, those.
    fn resolved<'s>(&'s self, schema: &'s Value, at: Option<&str>) -> &'s Value {
        if at == Some("template") {
            return &self.pod;
        }
        let named = schema["$ref"].as_str();
        let named = named.or_else(|| schema["allOf"][0]["$ref"].as_str());
        let named = named.or_else(|| schema["anyOf"][0]["$ref"].as_str());
        let found = named.and_then(|path| self.pod.pointer(path.trim_start_matches('#')));
        found.unwrap_or(schema)
    }

    fn places<'s>(
        &'s self,
        schema: &'s Value,
        value: Option<&Value>,
        at: Vec<String>,
        found: &mut Vec<Place<'s>>,
    ) {
        let schema = self.resolved(schema, at.last().map(String::as_str));
        let deeper = |part: &str| [at.as_slice(), &[part.to_owned()]].concat();
        match value {
            Some(Value::Object(members)) => {
                let own = schema["properties"].as_object().into_iter().flatten();
                for (name, schema) in own {
                    self.places(schema, members.get(name), deeper(name), found);
                }
                for name in members.keys() {
                    if schema["additionalProperties"].is_object() {
                        let schema = &schema["additionalProperties"];
                        self.places(schema, members.get(name), deeper(name), found);
                    }
                }
            }
            Some(Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let at = deeper(&index.to_string());
                    self.places(&schema["items"], Some(item), at, found);
                }
            }
            _ => {}
        }
        found.push(Place { at, schema });
    }

    /// Another value for a field; `None` takes it away.
    fn value(&self, schema: &Value, old: Option<&Value>, random: &mut Random) -> Option<Value> {
        // Most are right: what is refused at the door never reaches the operator.
        match random.below(100) {
            0..10 => None,
            10..12 => Some(Value::Null),
            12..17 => {
                let other = [
                    json!(true),
                    json!(7),
                    json!(0.5),
                    json!("text"),
                    json!([]),
                    json!(["a"]),
                    json!({}),
                    json!({"unknown": 1}),
                ];
                random.one_of(&other).cloned()
            }
            17..40 => Some(self.edge(schema, old, random)),
            _ => Some(self.right(schema, random, 0)),
        }
    }

    /// A value at a bound, or beyond it.
    fn edge(&self, schema: &Value, old: Option<&Value>, random: &mut Random) -> Value {
        let is_either = schema["x-kubernetes-int-or-string"] == true;
        match schema["type"].as_str() {
            _ if is_either => {
                let edges = [
                    json!(0),
                    json!(-1),
                    json!(1),
                    json!("1%"),
                    json!("100%"),
                    json!("0%"),
                    json!("33.3%"),
                    json!(i32::MAX),
                    json!(i64::MAX),
                    json!("25"),
                ];
                random.one_of(&edges).expect("some").clone()
            }
            Some("integer" | "number") => {
                let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
                let edges = [
                    least.map(|n| json!(n)),
                    least.map(|n| json!(n - 1)),
                    most.map(|n| json!(n)),
                    most.map(|n| json!(n + 1)),
                    Some(json!(0)),
                    Some(json!(-1)),
                    Some(json!(i32::MAX)),
                    Some(json!(i64::from(i32::MAX) + 1)),
                    Some(json!(i64::MAX)),
                    Some(json!(i64::MIN)),
                    Some(json!(0.5)),
                    Some(json!(1e300)),
                ];
                let edges: Vec<_> = edges.into_iter().flatten().collect();
                random.one_of(&edges).expect("some").clone()
            }
            Some("array") => match old.and_then(Value::as_array) {
                Some(items) if !items.is_empty() && random.chance(50) => {
                    // The same once more.
                    let mut items = items.clone();
                    items.extend(random.one_of(&items).cloned());
                    json!(items)
                }
                _ if random.chance(30) => json!([]),
                _ => {
                    let most = schema["maxItems"].as_u64().unwrap_or(40).min(300);
                    let mut all = Vec::new();
                    for _ in 0..=most {
                        all.push(self.right(&schema["items"], random, 2));
                    }
                    json!(all)
                }
            },
            Some("object") => {
                let mut members = old.and_then(Value::as_object).cloned().unwrap_or_default();
                match random.below(3) {
                    0 => members.clear(),
                    1 => {
                        members.insert("unknown".into(), json!({"kept": [1]}));
                    }
                    _ => {
                        for n in 0..70 {
                            members.insert(format!("k{n}"), json!("v"));
                        }
                    }
                }
                Value::Object(members)
            }
            Some("boolean") => json!(random.chance(50)),
            _ => {
                let most = schema["maxLength"].as_u64().unwrap_or(63).min(5000);
                let most = usize::try_from(most).expect("short");
                match random.below(10) {
                    0 => json!("x".repeat(most)),
                    1 => json!("x".repeat(most + 1)),
                    2 => json!("é".repeat(most)),
                    3 => json!("x".repeat(70_000)),
                    _ => json!(random.one_of(STRANGE).expect("some")),
                }
            }
        }
    }

    /// A value as the schema wants it, as far as it says so.
    fn right(&self, schema: &Value, random: &mut Random, depth: u32) -> Value {
        let schema = self.resolved(schema, None);
        if let Some(words) = schema["enum"].as_array() {
            return random.one_of(words).cloned().unwrap_or_default();
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return match random.chance(50) {
                true => json!(random.between(0, 12)),
                false => json!(format!("{}%", random.between(0, 100))),
            };
        }
        match schema["type"].as_str() {
            Some("boolean") => json!(random.chance(50)),
            Some("integer" | "number") => {
                let least = schema["minimum"].as_i64().unwrap_or(0);
                let most = schema["maximum"].as_i64().unwrap_or(least + 100);
                // Small ones do something in a test.
                let most = if random.chance(80) {
                    most.min(least + 10)
                } else {
                    most
                };
                json!(random.between(least, most))
            }
            Some("array") => {
                let least = schema["minItems"].as_i64().unwrap_or(0);
                let most = schema["maxItems"].as_i64().unwrap_or(3).min(3).max(least);
                let count = if depth > 6 {
                    least
                } else {
                    random.between(least, most)
                };
                let mut all = Vec::new();
                for _ in 0..count {
                    all.push(self.right(&schema["items"], random, depth + 1));
                }
                json!(all)
            }
            Some("object") => {
                let mut members = Map::new();
                let required = schema["required"].as_array();
                let own = schema["properties"].as_object().into_iter().flatten();
                for (name, member) in own {
                    let must = required.is_some_and(|all| all.iter().any(|r| r == name));
                    if must || (depth < 4 && random.chance(25)) {
                        let member = match name.as_str() {
                            "template" => &self.pod,
                            _ => member,
                        };
                        members.insert(name.clone(), self.right(member, random, depth + 1));
                    }
                }
                if schema["additionalProperties"].is_object() && random.chance(50) {
                    let value = self.right(&schema["additionalProperties"], random, depth + 1);
                    members.insert("key".into(), value);
                }
                Value::Object(members)
            }
            _ => json!(text(schema, random)),
        }
    }
}

/// A string that fits the pattern.
fn text(schema: &Value, random: &mut Random) -> String {
    const PLAIN: &[&str] = &["app", "web", "a", "b", "db", "shop", "1", "100m", "Always"];
    let Some(pattern) = schema["pattern"].as_str() else {
        return (*random.one_of(PLAIN).expect("some")).to_owned();
    };
    let bare = pattern.trim_start_matches('^').trim_end_matches('$');
    let Ok(strategy) = string_regex(bare) else {
        return "app".into();
    };
    let mut seed = [0; 32];
    for byte in &mut seed {
        *byte = u8::try_from(random.below(256)).unwrap_or_default();
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let drawn = strategy.new_tree(&mut runner).expect("a string").current();
    let most = schema["maxLength"].as_u64().unwrap_or(63);
    let most = usize::try_from(most).unwrap_or(63);
    drawn.chars().take(most).collect()
}

fn metadata(object: &mut Value, random: &mut Random) -> String {
    let part = if random.chance(50) {
        "labels"
    } else {
        "annotations"
    };
    let at_template = random.chance(30) && object["kind"] == "Rollout";
    let at: &[&str] = match at_template {
        true => &["spec", "template", "metadata", part],
        false => &["metadata", part],
    };
    let key = *random.one_of(KEYS).expect("some");
    let value = match random.below(10) {
        0 => json!(7),
        1 => json!("x".repeat(250_000)),
        2 => json!("x".repeat(300)),
        3 => Value::Null,
        4 => json!("r1 by somebody"),
        _ => json!(random.one_of(STRANGE).expect("some")),
    };
    let at: Vec<String> = at.iter().map(|part| (*part).to_owned()).collect();
    let told = format!("{}.{key}: {}", at.join("."), shown(&value));
    put(object, &[at, vec![key.to_owned()]].concat(), Some(value));
    told
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(90) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

fn find<'v>(value: &'v Value, at: &[String]) -> Option<&'v Value> {
    at.iter().try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => value.get(part),
    })
}

/// Puts a value where nothing else stands in the way.
fn put(value: &mut Value, at: &[String], new: Option<Value>) {
    let Some((part, rest)) = at.split_first() else {
        *value = new.unwrap_or_default();
        return;
    };
    match value {
        Value::Array(items) => {
            let Some(index) = part.parse::<usize>().ok().filter(|i| *i < items.len()) else {
                return;
            };
            match (rest.is_empty(), new) {
                (true, None) => {
                    items.remove(index);
                }
                (_, new) => put(&mut items[index], rest, new),
            }
        }
        Value::Object(members) => match (rest.is_empty(), new) {
            (true, None) => {
                members.remove(part);
            }
            (_, new) => put(members.entry(part).or_insert(json!({})), rest, new),
        },
        other => {
            *other = json!({});
            put(other, at, new);
        }
    }
}
