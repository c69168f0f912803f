//! Defaults and limits in words: `kubectl explain` shows a field's description and its words, and
//! neither its default nor its bounds.

use serde_json::Value;

/// Puts the default and the limits of every field below `schema` into its description.
pub(super) fn explain(schema: &mut Value) {
    let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        if let Some(items) = schema.get_mut("items") {
            explain(items);
        }
        return;
    };
    for member in members.values_mut() {
        let told = member["description"].as_str().unwrap_or_default();
        let told = told.trim_end();
        let more: Vec<String> = default(member, told)
            .into_iter()
            .chain(limits(member))
            .collect();
        if !told.is_empty() && !more.is_empty() {
            member["description"] = format!("{told}\n{}", more.join(" ")).into();
        }
        explain(member);
    }
}

fn default(member: &Value, told: &str) -> Option<String> {
    let default = member.get("default")?;
    let said = ["Default:", "Left out:"]
        .iter()
        .any(|word| told.contains(word));
    match default {
        _ if said => None,
        Value::String(word) if word.is_empty() => None,
        Value::String(word) => Some(format!("Default: {word}.")),
        Value::Number(_) | Value::Bool(_) => Some(format!("Default: {default}.")),
        _ => None,
    }
}

fn limits(member: &Value) -> Option<String> {
    let bound = |name: &str| member.get(name).and_then(Value::as_i64);
    let range = |least: &str, most: &str, unit: &str| {
        // That there may be none goes without saying.
        let least = bound(least).filter(|n| unit.is_empty() || *n > 1);
        Some(match (least, bound(most)) {
            (Some(least), Some(most)) => format!("From {least} to {most}{unit}."),
            (Some(least), None) => format!("At least {least}{unit}."),
            (None, Some(most)) => format!("At most {most}{unit}."),
            (None, None) => return None,
        })
    };
    match member["type"].as_str() {
        Some("integer" | "number") => range("minimum", "maximum", ""),
        Some("array") => range("minItems", "maxItems", " entries"),
        Some("string") if member.get("enum").is_none() => {
            range("minLength", "maxLength", " letters")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use serde_json::{Value, json};

    use super::explain;
    use crate::api::crd::definitions;

    /// What a number may count.
    const UNITS: [&str; 10] = [
        "second",
        "millisecond",
        "pods",
        "percent",
        "number of",
        "revisions",
        "rows",
        "how often",
        "schema version",
        "replicas",
    ];

    /// Walks the fields; says of each where it is, itself, and whether it must be given.
    fn walk(schema: &Value, at: &str, look: &mut impl FnMut(&str, &Value, bool)) {
        let required = schema["required"].as_array();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            let must = required.is_some_and(|all| all.iter().any(|r| r == name));
            look(&at, member, must);
            walk(member, &at, look);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{at}[]"), look);
            }
        }
    }

    #[test]
    fn every_number_is_explained_with_its_unit_its_default_and_its_limits() {
        let (mut numbers, mut wrong) = (0, Vec::new());
        let mut look = |at: &str, field: &Value, must: bool| {
            let told = field["description"].as_str().unwrap_or_default();
            let told = &told.split_whitespace().collect::<Vec<_>>().join(" ");
            let in_words = field["type"] == "string"
                && (at.ends_with("Percent") || told.contains("decimal string"));
            let counts = matches!(field["type"].as_str(), Some("integer" | "number"))
                || field["x-kubernetes-int-or-string"] == true;
            if !counts && !in_words {
                return;
            }
            numbers += 1;
            let lower = told.to_lowercase();
            if !UNITS.iter().any(|unit| lower.contains(unit)) {
                wrong.push(format!("{at} names no unit: {told}"));
            }
            let absent = ["Default:", "Left out", "without it"];
            if !must && !absent.iter().any(|words| told.contains(words)) {
                wrong.push(format!(
                    "{at} does not say what it is when left out: {told}"
                ));
            }
            let limits = [
                "From ",
                "At least ",
                "At most ",
                "between ",
                "a number",
                "at most",
            ];
            if !limits.iter().any(|words| told.contains(words)) {
                wrong.push(format!("{at} names no limit: {told}"));
            }
        };
        for (_, definition) in definitions().unwrap() {
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            // What only the operator writes nobody sets.
            walk(&schema["properties"]["spec"], "spec", &mut look);
        }
        assert!(numbers > 30, "{numbers} numbers");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_field_that_a_person_writes_has_a_description() {
        let mut wrong = Vec::new();
        for (_, definition) in definitions().unwrap() {
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            walk(
                &schema["properties"]["spec"],
                "spec",
                &mut |at, field, _| {
                    let of_template = at.contains(".template.");
                    if field["description"].as_str().is_none_or(str::is_empty) && !of_template {
                        wrong.push(at.to_owned());
                    }
                },
            );
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Pages about how Stepgate is made, which a user need not read.
    const NOT_FOR_USERS: [&str; 7] = [
        "architecture",
        "bugs-of-other-tools",
        "design",
        "figures",
        "mutants",
        "planted-faults",
        "soak",
    ];

    /// What stands in code on the pages for users, word by word.
    fn words_in_code() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("docs")).unwrap();
        let pages = pages.map(|page| page.unwrap().path()).filter(|page| {
            let name = page.file_stem().unwrap_or_default();
            let others = NOT_FOR_USERS.iter().any(|other| name == *other);
            page.extension().is_some_and(|ext| ext == "md") && !others
        });
        let mut words = BTreeSet::new();
        for page in pages.chain([root.join("README.md")]) {
            let text = std::fs::read_to_string(page).unwrap();
            for (n, block) in text.split("```").enumerate() {
                let spans: Vec<&str> = match n % 2 {
                    1 => vec![block],
                    _ => block.split('`').skip(1).step_by(2).collect(),
                };
                let code = spans
                    .iter()
                    .flat_map(|span| span.split(|letter: char| !letter.is_ascii_alphanumeric()));
                words.extend(code.map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_field_that_a_person_writes_is_on_a_page() {
        let words = words_in_code();
        let (mut fields, mut missing) = (0, Vec::new());
        let mut look = |at: &str, _: &Value, _: bool| {
            let name = at.trim_end_matches("[]").rsplit('.').next().unwrap();
            fields += 1;
            if !words.contains(name) {
                missing.push(at.to_owned());
            }
        };
        for (_, definition) in definitions().unwrap() {
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            walk(&schema["properties"]["spec"], "spec", &mut look);
        }
        look("allowedRollouts", &Value::Null, false);
        assert!(fields > 200, "{fields} fields");
        assert!(missing.is_empty(), "no page has {}", missing.join(", "));
    }

    #[test]
    fn what_a_description_says_already_is_not_said_again() {
        let mut schema = json!({"properties": {
            "a": {"type": "integer", "description": "Seconds. Default: 7, a week.", "default": 7},
            "b": {"type": "integer", "description": "Seconds.", "default": 7, "maximum": 9},
            "c": {"type": "array", "description": "Names.", "maxItems": 8, "items": {"type": "object",
                "properties": {"d": {"type": "string", "description": "It.", "maxLength": 40}}}},
        }});
        explain(&mut schema);
        let told = |at: &str| schema.pointer(at).and_then(Value::as_str).unwrap();
        assert_eq!(
            told("/properties/a/description"),
            "Seconds. Default: 7, a week."
        );
        assert_eq!(
            told("/properties/b/description"),
            "Seconds.\nDefault: 7. At most 9."
        );
        assert_eq!(
            told("/properties/c/description"),
            "Names.\nAt most 8 entries."
        );
        let inner = "/properties/c/items/properties/d/description";
        assert_eq!(told(inner), "It.\nAt most 40 letters.");
    }
}
