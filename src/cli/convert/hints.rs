//! Fields of Deployments and of Argo Rollouts that a Rollout does not have, and what to do instead.

/// Path of the field, `[]` standing for any item of a list; and the way out.
const HINTS: [(&str, &str); 39] = [
    // Of both.
    (
        "spec.minReadySeconds",
        "a step's holdSeconds is the time for which its pods must stay available",
    ),
    // Of a Deployment.
    (
        "spec.strategy.type",
        "pods are always replaced step by step, within strategy.maxSurge and maxUnavailable",
    ),
    (
        "spec.strategy.rollingUpdate",
        "write strategy.maxSurge and strategy.maxUnavailable",
    ),
    (
        "spec.progressDeadlineSeconds",
        "write strategy.progressDeadlineSeconds",
    ),
    // Of Argo Rollouts.
    ("spec.rollbackWindow", "write strategy.rollbackWindow"),
    (
        "spec.progressDeadlineAbort",
        "a release that misses its deadline is always undone",
    ),
    (
        "spec.restartAt",
        "a new annotation on spec.template restarts the pods, as a release",
    ),
    (
        "spec.workloadRef",
        "write the pod template of that Deployment into spec.template",
    ),
    (
        "spec.strategy.blueGreen",
        "write strategy.type: BlueGreen with its sizes in strategy.blueGreen, and the two Services \
         in spec.traffic",
    ),
    ("spec.strategy.canary.maxSurge", "write strategy.maxSurge"),
    (
        "spec.strategy.canary.maxUnavailable",
        "write strategy.maxUnavailable",
    ),
    (
        "spec.strategy.canary.dynamicStableScale",
        "stable always shrinks as the canary grows",
    ),
    (
        "spec.strategy.canary.canaryService",
        "with weights name it in spec.traffic.canaryService; without, one Service reaches the pods \
         of both revisions",
    ),
    (
        "spec.strategy.canary.stableService",
        "with weights name it in spec.traffic.stableService; without, leave it as the only Service \
         and delete rollouts-pod-template-hash from its selector",
    ),
    (
        "spec.strategy.canary.trafficRouting",
        "write spec.traffic.routes and a weight at each step; without them the share of requests is \
         the share of pods",
    ),
    (
        "spec.strategy.canary.analysis",
        "write spec.analysis.checks: they are measured from the first pod on, at every step",
    ),
    (
        "spec.strategy.canary.canaryMetadata",
        "pods carry the label stepgate.io/revision",
    ),
    (
        "spec.strategy.canary.stableMetadata",
        "pods carry the label stepgate.io/revision",
    ),
    (
        "spec.strategy.canary.antiAffinity",
        "write affinity into spec.template, with the label stepgate.io/revision where revisions \
         are to be told apart",
    ),
    (
        "spec.strategy.canary.scaleDownDelaySeconds",
        "old pods go as soon as the new ones are available",
    ),
    (
        "spec.strategy.canary.scaleDownDelayRevisionLimit",
        "old pods go as soon as the new ones are available",
    ),
    (
        "spec.strategy.canary.abortScaleDownDelaySeconds",
        "after an undo the new pods go as fast as the bounds permit",
    ),
    (
        "spec.strategy.canary.minPodsPerReplicaSet",
        "a step below 100% always has a pod of each revision",
    ),
    (
        "spec.strategy.canary.pingPong",
        "leave it out: the two Services of spec.traffic always select ready pods",
    ),
    (
        "spec.strategy.canary.replicaProgressThreshold",
        "a step is reached when all of its pods are available",
    ),
    (
        "spec.analysis.successfulRunHistoryLimit",
        "measurements make no objects",
    ),
    (
        "spec.analysis.unsuccessfulRunHistoryLimit",
        "measurements make no objects",
    ),
    (
        "spec.strategy.canary.steps[].setWeight",
        "write a step with a name and replicas: \"<weight>%\"",
    ),
    (
        "spec.strategy.canary.steps[].pause",
        "write holdSeconds into the step before it; a person leaves a hold with the command promote",
    ),
    (
        "spec.strategy.canary.steps[].setCanaryScale",
        "write a step with a name and replicas: its pods are its share of the requests",
    ),
    (
        "spec.strategy.canary.steps[].analysis",
        "write spec.analysis.checks: they are measured from the first pod on, at every step",
    ),
    (
        "spec.strategy.canary.steps[].experiment",
        "there are no experiments: a first step with replicas: 1 runs one pod of the new revision",
    ),
    (
        "spec.strategy.canary.steps[].setHeaderRoute",
        "no router is told anything: the share of requests is the share of pods",
    ),
    (
        "spec.strategy.canary.steps[].setMirrorRoute",
        "no router is told anything: the share of requests is the share of pods",
    ),
    (
        "spec.strategy.canary.steps[].plugin",
        "there are no plugins",
    ),
    ("spec.analysis.templates", "write spec.analysis.checks"),
    (
        "spec.strategy.canary.steps[].weight",
        "write replicas: \"<weight>%\"",
    ),
    ("spec.strategy.canary.steps[].duration", "write holdSeconds"),
    (
        "spec.strategy.recreate",
        "old and new pods run side by side during a release",
    ),
];

/// What to do instead of the field at this path, if it is one of another tool's.
pub fn of(path: &str) -> Option<&'static str> {
    let any = any_item(path);
    let found = HINTS.iter().find(|(known, _)| *known == any);
    found.map(|(_, hint)| *hint)
}

/// The path with every index left out: `steps[3]` is `steps[]`.
fn any_item(path: &str) -> String {
    let mut index = false;
    let kept = path.chars().filter(|c| {
        index = match c {
            '[' => true,
            ']' => false,
            _ => index,
        };
        !index || *c == '['
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_there_once() {
        for (number, (path, _)) in HINTS.iter().enumerate() {
            assert!(
                HINTS[..number].iter().all(|(other, _)| other != path),
                "{path}"
            );
        }
    }

    #[test]
    fn items_of_a_list_have_one_hint() {
        assert_eq!(any_item("spec.a[12].b[0]"), "spec.a[].b[]");
        assert!(of("spec.strategy.canary.steps[7].setWeight").is_some());
        assert!(of("spec.replicas").is_none());
    }
}
