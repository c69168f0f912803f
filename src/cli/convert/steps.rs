//! Steps: a list of commands becomes a list of targets.

use serde_json::{Value, json};

use super::{hints, source::Source};

/// What is held where the other tool waits for a person: a day.
const A_PERSON: i64 = 86_400;
/// The hold of a last step that the other tool does not have.
const BAKE: i64 = 600;

/// A target that is being put together.
struct Target {
    /// Pods, as a number or percentage.
    replicas: Value,
    name: String,
    hold: i64,
}

/// The steps of a canary; none where the defaults do.
pub(super) fn steps(source: &mut Source, measured: bool) -> Option<Vec<Value>> {
    let given = source.take("strategy.canary.steps")?;
    let given = given.as_array().cloned().unwrap_or_default();
    if given.is_empty() {
        return None;
    }
    let mut targets: Vec<Target> = Vec::new();
    let mut kept = Vec::new();
    for (index, step) in given.iter().enumerate() {
        let path = format!("strategy.canary.steps[{index}]");
        if step.get("replicas").is_some() && step.get("name").is_some() {
            kept.push(step.clone());
            continue;
        }
        let fields = step.as_object().into_iter().flatten();
        for (name, value) in fields {
            take(
                source,
                &format!("{path}.{name}"),
                name,
                value,
                &mut targets,
                measured,
            );
        }
    }
    if !kept.is_empty() && targets.is_empty() {
        return Some(kept);
    }
    let whole = targets.last().is_some_and(|last| last.replicas == "100%");
    if !whole {
        source.note(
            "strategy.canary.steps",
            format!(
                "a last step of 100% was added, held for {BAKE} s: it is undone from there too"
            ),
        );
        push(&mut targets, json!("100%"));
        if let Some(last) = targets.last_mut() {
            last.hold = BAKE;
        }
    }
    let steps = targets.into_iter().map(|target| {
        json!({"name": target.name, "replicas": target.replicas, "holdSeconds": target.hold})
    });
    Some(steps.collect())
}

fn take(
    source: &mut Source,
    path: &str,
    name: &str,
    value: &Value,
    targets: &mut Vec<Target>,
    measured: bool,
) {
    match name {
        "setWeight" => match value.as_i64() {
            Some(weight) => aim(
                source,
                path,
                json!(format!("{}%", weight.clamp(0, 100))),
                targets,
            ),
            None => source.warn(path, "not taken over: no whole percentage"),
        },
        "setCanaryScale" => {
            let pods = value["replicas"].as_i64().map(|pods| json!(pods));
            let share = value["weight"]
                .as_i64()
                .map(|share| json!(format!("{share}%")));
            match pods.or(share) {
                Some(replicas) => aim(source, path, replicas, targets),
                None => source.note(
                    path,
                    "not needed: the share of requests is the share of pods",
                ),
            }
        }
        "pause" => pause(source, path, value, targets),
        "analysis" if measured => source.note(
            path,
            "the checks are measured from the first pod on, at every step, and not here alone",
        ),
        _ => {
            let hint = hints::of(&format!("spec.{path}"));
            let hint = hint.unwrap_or("Stepgate has nothing for it");
            source.warn(path, format!("not taken over: {hint}"));
        }
    }
}

/// A further target, unless it is none.
fn aim(source: &mut Source, path: &str, replicas: Value, targets: &mut Vec<Target>) {
    if replicas == "0%" || replicas == 0 {
        source.note(
            path,
            "left out: a step has a pod of the new revision at least",
        );
        return;
    }
    let Some(last) = targets.last() else {
        push(targets, replicas);
        return;
    };
    if last.replicas == replicas {
        return;
    }
    let (before, after) = (number(&last.replicas), number(&replicas));
    if last.replicas.is_string() == replicas.is_string() && after < before {
        source.warn(
            path,
            format!("left out: {replicas} is less than the step before it, and steps rise"),
        );
        return;
    }
    push(targets, replicas);
}

fn push(targets: &mut Vec<Target>, replicas: Value) {
    let name = match replicas.as_str() {
        Some("100%") => "full".to_owned(),
        Some(share) => format!("share-{}", share.trim_end_matches('%')),
        None => format!("pods-{replicas}"),
    };
    targets.push(Target {
        replicas,
        name,
        hold: 0,
    });
}

fn number(replicas: &Value) -> i64 {
    let text = replicas.as_str().map(|share| share.trim_end_matches('%'));
    text.and_then(|digits| digits.parse().ok())
        .or_else(|| replicas.as_i64())
        .unwrap_or_default()
}

fn pause(source: &mut Source, path: &str, value: &Value, targets: &mut [Target]) {
    let Some(target) = targets.last_mut() else {
        source.warn(
            path,
            "left out: no pod of the new revision runs before the first step; spec.paused waits \
             with the release",
        );
        return;
    };
    let duration = &value["duration"];
    match seconds(duration) {
        Some(seconds) => target.hold += seconds,
        None if duration.is_null() => {
            target.hold += A_PERSON;
            let name = target.name.clone();
            source.warn(
                path,
                format!(
                    "no step waits for a person for ever: step {name} is held for a day, and goes \
                     on by itself after that. Leave it with the command promote; hold it longer \
                     with the command pause"
                ),
            );
        }
        None => source.warn(path, format!("not taken over: {duration} is no duration")),
    }
}

/// `90`, `"90"`, `"90s"`, `"5m"`, `"1h"`, and sums of them: `"1h30m"`.
pub(super) fn seconds(duration: &Value) -> Option<i64> {
    let Some(text) = duration.as_str() else {
        return duration.as_i64();
    };
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (mut sum, mut digits) = (0_i64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        let count: i64 = digits.parse().ok()?;
        sum = sum.checked_add(count.checked_mul(unit)?)?;
        digits.clear();
    }
    (digits.is_empty() && !text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (written, read) in [
            (json!(90), Some(90)),
            (json!("90"), Some(90)),
            (json!("90s"), Some(90)),
            (json!("1h30m"), Some(5400)),
            (json!("5m"), Some(300)),
            (json!("5"), Some(5)),
            (json!("5 m"), None),
            (json!("m"), None),
            (json!(""), None),
            (json!("5m3"), None),
            (json!("99999999999999999h"), None),
            (Value::Null, None),
        ] {
            assert_eq!(seconds(&written), read, "{written}");
        }
    }
}
