//! Order: who is named in `spec.after` goes first.

use crate::{
    api::{After, release::Stage},
    simulate::{
        ledger::Happened,
        object::{Name, RolloutObject},
        world::World,
    },
};

/// *order* – no Job of a schema phase and no pod of a release comes before every Rollout of
/// `spec.after` is where it is to be, by what the sender had before him.
pub(super) fn order(_: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let (Some(seen), Some(spec)) = (&arrival.seen, arrival.spec_seen()) else {
        return Ok(());
    };
    let Some(release) = &after.release else {
        return Ok(());
    };
    let goes = |stage: &Stage| matches!(stage, Stage::Job(_) | Stage::Step(_));
    let went = before.status.release.as_ref().is_some_and(|r| {
        // From one Job to the next, or to the first step, it goes again.
        r.revision == release.revision
            && (matches!(r.stage, Stage::Step(_) | Stage::Undo(_)) || r.stage == release.stage)
    });
    if !goes(&release.stage) || went {
        return Ok(());
    }
    for one in &spec.after {
        let name: Name = one.rollout.as_str().into();
        let known = seen.earlier.get(&name);
        if !known.is_some_and(|earlier| has_gone(earlier, one)) {
            return Err(format!(
                "a release goes on to {}, but Rollout {name} was not where it is to be",
                release.stage.word()
            ));
        }
    }
    Ok(())
}

fn has_gone(earlier: &RolloutObject, asked: &After) -> bool {
    let status = &earlier.status;
    let holds = |kind: &str| {
        let mut all = status.conditions.iter();
        all.any(|c| c.type_ == kind && c.status == "True")
    };
    if let Some(version) = asked.schema_version {
        let stable = status.stable.as_ref().and_then(|s| s.schema_version);
        return stable >= Some(version) && holds("Available");
    }
    status.observed_generation == Some(earlier.meta.generation) && holds("Ready")
}
