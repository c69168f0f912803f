//! The whole life of a schema version: somebody else is on the database and lags behind, hotfixes
//! come while a backfill runs, undos after it, and a person approves what waits.

use crate::simulate::{
    action::Action,
    random::Random,
    scenario::{apply_to, command, release, workload},
    setting::BUSY,
};

/// Mostly nothing of it.
pub(super) fn script(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(25) {
        return Vec::new();
    }
    let mut script = Vec::new();
    if random.chance(60) {
        lags(random, &mut script);
    }
    let second = random.between(150, 500);
    script.push((second, release("v2", Some(2))));
    for _ in 0..random.between(0, 2) {
        // Another image of the version that is asked for.
        let image = *random.one_of(&["v1", "v2", "v3", "v4"]).unwrap_or(&"v3");
        let at = random.between(second, BUSY - 100);
        script.push((at, release(image, None)));
    }
    if random.chance(40) {
        script.push((random.between(second, BUSY - 100), command("undo")));
    }
    if random.chance(50) {
        let at = random.between(second, BUSY - 100);
        script.push((at, release("v3", Some(3))));
    }
    if random.chance(10) {
        script.push((random.between(second, BUSY - 100), Action::Restore));
    }
    for _ in 0..random.between(1, 5) {
        let approve = Action::Approve {
            database: "shop-db".into(),
            right: true,
        };
        script.push((random.between(second, BUSY - 50), approve));
    }
    script
}

/// Another Rollout on the database follows late, goes back, or is deleted.
fn lags(random: &mut Random, script: &mut Vec<(i64, Action)>) {
    let replicas = i32::try_from(random.between(1, 3)).unwrap_or(1);
    let spec = workload("worker", "v1", replicas, Some(random.between(1, 2)));
    let begin = random.between(1, 400);
    script.push((begin, apply_to("worker", spec)));
    for _ in 0..random.between(0, 3) {
        let image = *random.one_of(&["v1", "v2", "v3", "v4"]).unwrap_or(&"v2");
        let action = Action::Release {
            rollout: "worker".into(),
            image: image.into(),
            version: Some(random.between(1, 3)),
        };
        script.push((random.between(begin, BUSY - 100), action));
    }
    if random.chance(40) {
        let at = random.between(begin, BUSY - 100);
        let delete = match random.chance(70) {
            true => Action::Delete("worker".into()),
            false => Action::DeleteInForeground("worker".into()),
        };
        script.push((at, delete));
    }
}
