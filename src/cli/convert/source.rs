//! A spec from which fields are taken one by one, so that what nobody took is known in the end.

use serde_json::{Map, Value};

use super::{super::simulate::finding::Finding, hints};

/// What is left of a manifest's spec.
pub(super) struct Source {
    rest: Value,
    /// What was said about it so far.
    pub(super) found: Vec<Finding>,
}

impl Source {
    pub(super) const fn new(spec: Value) -> Self {
        Self {
            rest: spec,
            found: Vec::new(),
        }
    }

    /// Takes a field out, by its path below `spec`.
    pub(super) fn take(&mut self, path: &str) -> Option<Value> {
        let mut at = &mut self.rest;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let map = at.as_object_mut()?;
            if names.peek().is_none() {
                return map.remove(name).filter(|value| !value.is_null());
            }
            at = map.get_mut(name)?;
        }
        None
    }

    /// A field as it is, by its path below `spec`.
    pub(super) fn peek(&self, path: &str) -> &Value {
        let pointer = format!("/{}", path.replace('.', "/"));
        self.rest.pointer(&pointer).unwrap_or(&Value::Null)
    }

    /// Takes an integer out.
    pub(super) fn integer(&mut self, path: &str) -> Option<i64> {
        self.take(path)?.as_i64()
    }

    pub(super) fn note(&mut self, field: &str, message: impl Into<String>) {
        self.found
            .push(Finding::note(format!("spec.{field}"), message));
    }

    pub(super) fn warn(&mut self, field: &str, message: impl Into<String>) {
        self.found
            .push(Finding::warning(format!("spec.{field}"), message));
    }

    /// What was said, and every field that nobody took.
    pub(super) fn rest(mut self) -> Vec<Finding> {
        left(&self.rest, "spec", &mut self.found);
        self.found
    }
}

/// Names a field that is left, or the fields below it.
fn left(value: &Value, path: &str, found: &mut Vec<Finding>) {
    if value.as_object().is_some_and(Map::is_empty) {
        return;
    }
    if let Some(hint) = hints::of(path) {
        found.push(Finding::warning(path, format!("not taken over: {hint}")));
        return;
    }
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (name, inner) in map {
                left(inner, &format!("{path}.{name}"), found);
            }
        }
        _ => found.push(Finding::warning(
            path,
            "not taken over: Stepgate has nothing for it",
        )),
    }
}
