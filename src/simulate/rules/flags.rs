//! Flags: up only for what is stable and found well, and down before the pods go back.

use serde_json::Value;

use crate::{
    api::{
        PhaseKind, RolloutStatus,
        flags::{FlagState, FlagStatus, RampStep},
    },
    plan::{
        intent::{Kind, Write},
        revision::Whole,
    },
    simulate::{
        ledger::Happened,
        object::{Name, Object},
        prometheus::Outage,
        rules::left::done,
        setting::Health,
        world::World,
    },
};

/// *ramp* – a flag is only ever raised while the revision that the spec asks for is stable and no
/// release is in motion; and from one step to the next after its hold, and not while its checks fail,
/// except by a person.
pub(super) fn ramp(world: &World, happened: &Happened) -> Result<(), String> {
    let Some((arrival, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let Some(spec) = arrival.spec_seen() else {
        return Ok(());
    };
    for flag in &after.flags {
        let was = before.status.flags.iter().find(|was| was.key == flag.key);
        // One whose record was lost is as its ConfigMap has it.
        let Some(was) = was.filter(|was| was.percent < flag.percent) else {
            continue;
        };
        let (key, low, high) = (&flag.key, was.percent, flag.percent);
        let stable = after.stable.as_ref().map(|s| s.revision.as_str());
        if before.status.release.is_some() || stable != Some(spec.revision()) {
            return Err(format!(
                "flag {key} goes from {low}% to {high}% while another revision is stable, or a \
                 release is in motion"
            ));
        }
        let by_a_person = done(&before.status, after).any(|c| c.command == "promote");
        if low == 0 || by_a_person {
            continue;
        }
        if spec.paused || before.status.paused_since.is_some() {
            return Err(format!("flag {key} goes to {high}% while it is paused"));
        }
        let (Some(reaches), Some(step)) = (&was.reaches_pods_by, step_of(spec, was)) else {
            return Err(format!("flag {key} goes to {high}% before {low}% is out"));
        };
        let held = arrival.trust.clock.duration_since(reaches.0).as_secs();
        if held < step.hold_seconds && !world.ledger.clocks_jumped {
            return Err(format!(
                "flag {key} goes to {high}% after {held} s at {low}%"
            ));
        }
        let limits = spec.analysis.iter().flat_map(|analysis| &analysis.checks);
        let limits = limits.filter_map(|c| c.error_rate.as_ref()?.max_percent.parse::<f64>().ok());
        let name = &before.meta.name;
        let revision = stable.unwrap_or_default();
        let (total, wrong) = world
            .traffic
            .between(name, revision, reaches.0, arrival.sent);
        let jumped = world.ledger.clocks_jumped || world.outage != Outage::None;
        let mut limits = limits.filter(|_| !jumped);
        if let Some(limit) = limits.find(|l| wrong > total * l / 100.0 * 3.0 + 100.0) {
            return Err(format!(
                "flag {key} goes to {high}% though {wrong:.0} of {total:.0} requests failed since \
                 {low}%, the limit is {limit}%"
            ));
        }
    }
    Ok(())
}

fn step_of<'s>(spec: &'s Whole, flag: &FlagStatus) -> Option<&'s RampStep> {
    let asked = spec.flags.iter().find(|asked| asked.key == flag.key)?;
    let named = |step: &&RampStep| Some(&step.name) == flag.step.as_ref();
    asked.ramp.iter().find(named)
}

/// *flag-first* – with the record that a release goes back, what was turned on under its revision is
/// off; and where flags cannot be written, its pods go all the same.
pub(super) fn flag_first(world: &World, happened: &Happened) -> Result<(), String> {
    if let Happened::Refused { key, .. } = happened {
        return goes_all_the_same(world, key.name());
    }
    let Some((_, before, after)) = happened.recorded() else {
        return Ok(());
    };
    let undone = |status: &RolloutStatus| {
        let release = status.release.as_ref();
        release.is_some_and(|release| release.undo().is_some())
    };
    if undone(&before.status) || !undone(after) {
        return Ok(());
    }
    let revision = after.release.as_ref().map(|r| &r.revision);
    let stable = after.stable.as_ref().map(|s| &s.revision);
    let mut flags = after.flags.iter();
    let on = flags.find(|flag| {
        let left_alone = flag.state == FlagState::ChangedByHand;
        let under = flag.revision.as_ref();
        !is_frozen(world, &before.meta.name, &flag.key)
            && flag.percent > 0
            && !left_alone
            && under == revision
            && under != stable
    });
    match on {
        Some(flag) => Err(format!(
            "{} goes back, and flag {} that was turned on under it is on for {}%",
            revision.map_or("a release", String::as_str),
            flag.key,
            flag.percent
        )),
        None => Ok(()),
    }
}

/// A pass in which the API server refused nothing but flags has moved the pods of an undo, unless
/// something else holds them.
fn goes_all_the_same(world: &World, rollout: &str) -> Result<(), String> {
    let Some(found) = world.live.rollouts.get(rollout) else {
        return Ok(());
    };
    let refuses_flags = world.faults.denied == Some(Kind::ConfigMap);
    let Some(release) = found.status.release.as_ref().filter(|_| refuses_flags) else {
        return Ok(());
    };
    let Some(undo) = release.undo() else {
        return Ok(());
    };
    let since = world.now.duration_since(undo.since.0).as_secs();
    let children: Vec<_> = world.live.children(rollout).collect();
    let bad = children.iter().find(|c| *c.revision == *release.revision);
    let Some(bad) = bad.filter(|c| c.replicas > 0) else {
        return Ok(());
    };
    let stable = found.status.stable.as_ref().map(|s| s.revision.as_str());
    let good = children.iter().find(|c| Some(&*c.revision) == stable);
    let asked = found.spec.as_deref().map_or(0, |spec| spec.replicas);
    let whole = good.is_some_and(|c| c.available >= asked && c.replicas == asked);
    let behaves = world.setting.behaviour(&bad.image).health == Health::Good;
    let plain = found
        .spec
        .as_deref()
        .is_ok_and(|spec| spec.traffic.is_none());
    let held = world.ledger.back.is_some() || world.ledger.clocks_jumped;
    if whole && behaves && plain && !held && since > 60 {
        return Err(format!(
            "{} still has {} pods {since} s after its undo began: only flags are refused",
            bad.meta.name, bad.replicas
        ));
    }
    Ok(())
}

/// *flag-by-hand* – a flag that somebody has turned off in the ConfigMap is written over only where a
/// person's command, or an edit of the flag, has said so on record.
pub(super) fn by_hand(_: &World, happened: &Happened) -> Result<(), String> {
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    let (Write::Flags { .. }, Some(Object::ConfigMap(before)), Some(Object::ConfigMap(after))) =
        (&*arrival.write, &arrival.before, &arrival.after)
    else {
        return Ok(());
    };
    let read = |file: &str| serde_json::from_str::<Value>(file).unwrap_or_default();
    let (before, after) = (read(&before.file), read(&after.file));
    let status = arrival.on_record.status.as_deref();
    let told = |key: &str| {
        let mut flags = status.into_iter().flat_map(|status| &status.flags);
        flags.any(|flag| flag.key == key && flag.overwrites)
    };
    let off = before["flags"].as_object().into_iter().flatten();
    let mut off = off.filter(|(_, flag)| flag["state"] == "DISABLED");
    match off.find(|(key, flag)| after["flags"][key.as_str()] != **flag && !told(key)) {
        Some((key, _)) => Err(format!(
            "flag {key} was turned off by hand, and is written over"
        )),
        None => Ok(()),
    }
}

/// *frozen* – the Job of a contract is let run only while every flag that the contract names is on
/// for everybody, on record; and from then on none of them is recorded or written otherwise.
pub(super) fn frozen(world: &World, happened: &Happened) -> Result<(), String> {
    if let Some((_, before, after)) = happened.recorded() {
        let was_on = |key: &str| {
            let mut flags = before.status.flags.iter();
            flags.any(|flag| flag.key == key && flag.percent == 100)
        };
        let mut flags = after.flags.iter();
        let lowered = flags.find(|flag| {
            let name = &before.meta.name;
            flag.percent < 100 && was_on(&flag.key) && is_frozen(world, name, &flag.key)
        });
        return match lowered {
            Some(flag) => Err(format!(
                "flag {} goes to {}%, though a contract relies on it",
                flag.key, flag.percent
            )),
            None => Ok(()),
        };
    }
    let Some(arrival) = happened.accepted() else {
        return Ok(());
    };
    match (&*arrival.write, &arrival.before, &arrival.after) {
        (Write::Flags { .. }, Some(Object::ConfigMap(before)), Some(Object::ConfigMap(after))) => {
            let rollout = after.rollout.as_ref();
            let has = |file: &str, key: &str| file.contains(&format!("\"{key}\""));
            let mut keys = rollout.into_iter().flat_map(|name| frozen_of(world, name));
            match keys.find(|key| has(&before.file, key) && !has(&after.file, key)) {
                Some(key) => Err(format!(
                    "flag {key} is taken out, and a contract relies on it"
                )),
                None => Ok(()),
            }
        }
        (Write::ReleaseJob { .. }, _, Some(Object::Job(job)))
            if job.phase == Some(PhaseKind::Contract) =>
        {
            let status = arrival.on_record.status.as_deref();
            let on = |key: &str| {
                let mut flags = status.into_iter().flat_map(|status| &status.flags);
                flags.any(|flag| flag.key == key && flag.state == FlagState::On)
            };
            let database = world.live.databases.get(&job.database);
            let holder = database.and_then(|d| d.record.holder.as_ref());
            let version = holder.and_then(|h| database?.record.version(h.version?));
            let contract = version.and_then(|version| version.asks(PhaseKind::Contract));
            let mut keys = contract.into_iter().flat_map(|contract| &contract.flags);
            match keys.find(|key| !on(key)) {
                Some(key) => Err(format!(
                    "{} is released, and flag {key} is not on for everybody",
                    job.meta.name
                )),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Flags of a Rollout that contracts which have begun rely on.
fn frozen_of<'w>(world: &'w World, rollout: &'w Name) -> impl Iterator<Item = &'w str> {
    let databases = world.live.databases.values();
    let versions = databases.flat_map(|database| &database.record.versions);
    let own = versions.filter(move |version| version.rollout == **rollout);
    own.flat_map(|version| version.frozen_flags.iter().map(String::as_str))
}

fn is_frozen(world: &World, rollout: &Name, key: &str) -> bool {
    frozen_of(world, rollout).any(|frozen| frozen == key)
}
