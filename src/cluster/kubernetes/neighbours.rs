//! Which Rollouts may share pods. They are found by labels: to compare each with all others, ten
//! thousand of them would take minutes.

use std::collections::{BTreeSet, HashMap};

use super::{stored::Pods, table::Place};
use crate::api::keys;

/// A label and its value.
type Pair = (String, String);

/// Rollouts of all namespaces.
#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<String, Near>);

/// Rollouts of one namespace, by name.
#[derive(Debug, Default)]
struct Near {
    /// By each label of their pods.
    labelled: HashMap<Pair, BTreeSet<String>>,
    /// By one of the labels that their selectors ask for: whatever they select has it.
    selecting: HashMap<Pair, BTreeSet<String>>,
    /// Those whose selectors ask for no label with one value.
    broad: BTreeSet<String>,
}

impl Neighbours {
    /// Takes in a Rollout.
    pub(super) fn add(&mut self, place: &Place, pods: &Pods) {
        let near = self.0.entry(place.namespace.clone()).or_default();
        for pair in pairs(&pods.labels) {
            near.labelled
                .entry(pair)
                .or_default()
                .insert(place.name.clone());
        }
        // The label that the fewest share: all may be labelled with the same team.
        let rarest = pairs(&pods.selector.match_labels)
            .min_by_key(|pair| near.labelled.get(pair).map_or(0, BTreeSet::len));
        let names = match rarest {
            Some(pair) => near.selecting.entry(pair).or_default(),
            None => &mut near.broad,
        };
        names.insert(place.name.clone());
    }

    /// Forgets a Rollout that was taken in with these.
    pub(super) fn remove(&mut self, place: &Place, pods: &Pods) {
        let Some(near) = self.0.get_mut(&place.namespace) else {
            return;
        };
        for pair in pairs(&pods.labels) {
            take(&mut near.labelled, &pair, &place.name);
        }
        for pair in pairs(&pods.selector.match_labels) {
            take(&mut near.selecting, &pair, &place.name);
        }
        near.broad.remove(&place.name);
        if near.labelled.is_empty() {
            self.0.remove(&place.namespace);
        }
    }

    /// All Rollouts that may overlap with these pods, itself too; and some that do not.
    pub(super) fn candidates(&self, namespace: &str, pods: &Pods) -> BTreeSet<&String> {
        let Some(near) = self.0.get(namespace) else {
            return BTreeSet::new();
        };
        let selecting = pairs(&pods.labels).filter_map(|pair| near.selecting.get(&pair));
        let mut found: BTreeSet<&String> = selecting.flatten().chain(&near.broad).collect();
        let asked = pairs(&pods.selector.match_labels).map(|pair| near.labelled.get(&pair));
        match asked.min_by_key(|names| names.map_or(0, BTreeSet::len)) {
            Some(names) => found.extend(names.into_iter().flatten()),
            // Only its expressions say what it selects: every Rollout is one to compare with.
            None => {
                let all = near
                    .labelled
                    .iter()
                    .filter(|((key, _), _)| key == keys::ROLLOUT);
                found.extend(all.flat_map(|(_, names)| names));
            }
        }
        found
    }
}

fn pairs(labels: &std::collections::BTreeMap<String, String>) -> impl Iterator<Item = Pair> + '_ {
    labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
}

fn take(from: &mut HashMap<Pair, BTreeSet<String>>, pair: &Pair, name: &str) {
    if let Some(names) = from.get_mut(pair) {
        names.remove(name);
        if names.is_empty() {
            from.remove(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn place(name: usize) -> Place {
        Place {
            namespace: "n".into(),
            name: format!("r{name}"),
        }
    }

    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map("[ab]", "[xy]", 0..3)
    }

    /// Labels and selectors as Rollouts have them, overlapping often.
    fn any_pods() -> impl Strategy<Value = Pods> {
        (labels(), labels(), prop::option::of("[ab]")).prop_map(|(labels, equal, exists)| {
            let exists = exists.map(|key| json!({"key": key, "operator": "Exists"}));
            let selector = json!({
                "matchLabels": equal,
                "matchExpressions": exists.into_iter().collect::<Vec<_>>(),
            });
            Pods {
                selector: serde_json::from_value(selector).unwrap(),
                labels,
            }
        })
    }

    proptest! {
        #[test]
        fn every_overlap_is_among_the_candidates(
            all in prop::collection::vec(any_pods(), 1..12),
            gone in prop::collection::vec(any::<bool>(), 12),
        ) {
            let all: Vec<Pods> = all.into_iter().enumerate().map(|(at, mut pods)| {
                pods.labels.insert(keys::ROLLOUT.into(), place(at).name);
                pods
            }).collect();
            let mut near = Neighbours::default();
            all.iter().enumerate().for_each(|(at, pods)| near.add(&place(at), pods));
            for (at, pods) in all.iter().enumerate().filter(|(at, _)| gone[*at]) {
                near.remove(&place(at), pods);
            }
            let there = || all.iter().enumerate().filter(|(at, _)| !gone[*at]);
            for (_, pods) in there() {
                let found = near.candidates("n", pods);
                for (other, theirs) in there() {
                    let name = place(other).name;
                    prop_assert!(!pods.overlap(theirs) || found.contains(&name));
                }
            }
            for (at, pods) in there() {
                near.remove(&place(at), pods);
            }
            prop_assert!(near.0.is_empty(), "{:?}", near);
        }
    }

    #[test]
    fn who_shares_a_common_label_only_is_not_compared() {
        let mut near = Neighbours::default();
        let pods = |at: usize| {
            let labels = json!({"app": place(at).name, "team": "one"});
            Pods {
                selector: serde_json::from_value(json!({"matchLabels": labels})).unwrap(),
                labels: serde_json::from_value(labels).unwrap(),
            }
        };
        (0..1000).for_each(|at| near.add(&place(at), &pods(at)));
        assert!((0..1000).all(|at| near.candidates("n", &pods(at)).len() <= 2));
    }
}
