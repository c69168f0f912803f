//! Which pods may not go yet: those that a Service leads to, or has led to a moment ago.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    aim::aim,
    known::{Role, SETTLES_WITHIN, known, led_to, names, own},
};
use crate::plan::{
    draft::{Draft, later},
    facts::Refused,
    intent::{Kind, Write},
    routes::carry,
};

/// Why pods of a revision may not go.
enum Held {
    /// A Service selects them.
    Selected,
    /// Until then not everybody has heard that no Service does.
    Until(Timestamp),
    /// An earlier write to a Service may still arrive.
    Open,
}

/// Keeps pods that a Service may still lead to. `Err`: the Services must be fenced first.
pub(in crate::plan) fn hold_back(
    draft: &mut Draft<'_>,
    targets: &mut BTreeMap<String, i32>,
) -> Result<(), Vec<Write>> {
    let total = draft.spec.replicas;
    let mut looks = None;
    let children = draft.seen.objects.children.iter();
    for child in children.filter(|c| !c.deleting) {
        let asked = targets.get(&child.revision).copied().unwrap_or(0);
        let keeps = child.replicas.min(total);
        if keeps <= asked {
            continue;
        }
        if let Some(needed) = carry::needed(draft, &child.revision) {
            let left = keeps.min(needed.max(asked));
            if left < keeps
                && let Some(at) = unknown_until(draft, &child.revision)
            {
                looks = Some(looks.map_or(at, |l: Timestamp| l.min(at)));
                targets.insert(child.revision.clone(), keeps);
                continue;
            }
            let fences = fences(draft);
            if left < keeps && !fences.is_empty() {
                return Err(fences);
            }
            targets.insert(child.revision.clone(), left);
            continue;
        }
        match held(draft, &child.revision, asked) {
            None => continue,
            Some(Held::Selected) => {}
            Some(Held::Until(at)) => looks = Some(looks.map_or(at, |l: Timestamp| l.min(at))),
            Some(Held::Open) => {
                let fences = fences(draft);
                if !fences.is_empty() {
                    return Err(fences);
                }
            }
        }
        targets.insert(child.revision.clone(), keeps);
    }
    if let Some(at) = looks {
        draft.wake(at);
    }
    Ok(())
}

/// Until when it is not known which requests a revision gets: a Service is not as it is seen, or has
/// left the revision a moment ago.
fn unknown_until(draft: &Draft<'_>, revision: &str) -> Option<Timestamp> {
    let soon = draft.in_seconds(1);
    let services = names(draft).into_iter().flatten();
    let until = services.filter_map(|(role, name)| {
        let Some(service) = own(draft, &name).filter(|s| !s.uncertain) else {
            return Some(soon);
        };
        if service.revision() == Some(revision) {
            return None;
        }
        let entry = known(draft, role, &name).filter(|k| Some(&*k.revision) == service.revision());
        let since = entry.map_or(draft.seen.looked, |known| known.since.0);
        Some(later(since, SETTLES_WITHIN))
    });
    until.filter(|at| *at > draft.now).max()
}

/// Why pods of this revision may not go until so many are left, if a Service may lead to them. Where
/// testers alone reach it, and go on to, one is enough.
fn held(draft: &Draft<'_>, revision: &str, left: i32) -> Option<Held> {
    let names = names(draft)?;
    if draft.seen.objects.services.unread.is_some() {
        // What is on record may be old news, but nobody else moves them.
        let known = draft.status.traffic.as_ref()?;
        let both = [&known.stable_service, &known.canary_service];
        return both
            .iter()
            .any(|s| s.revision == revision)
            .then_some(Held::Selected);
    }
    let mut until: Option<Held> = None;
    for (role, name) in names {
        let service = own(draft, &name);
        if service.is_none() && draft.seen.objects.service(&name).is_some() {
            // Somebody else's.
            continue;
        }
        if led_to(draft, role, &name) == Some(revision) {
            let stays = aim(draft, role).as_deref() == Some(revision);
            if role == Role::Canary && stays && left > 0 {
                continue;
            }
            return Some(Held::Selected);
        }
        // One that is missing is made where it led before.
        let Some(service) = service else {
            continue;
        };
        if service.uncertain || service.epoch != Some(draft.seen.epoch) {
            return Some(Held::Open);
        }
        let entry = known(draft, role, &name);
        let entry = entry.filter(|e| Some(&*e.revision) == service.revision());
        let since = entry.map_or(draft.seen.looked, |e| {
            e.since.0.max(draft.seen.trusted_since)
        });
        let settled = later(since, SETTLES_WITHIN);
        if settled > draft.now {
            until = Some(Held::Until(settled));
        }
    }
    until
}

/// Both Services carry this leadership's epoch before what rests on them is written. What is still
/// to be written for that.
pub(in crate::plan) fn fences(draft: &Draft<'_>) -> Vec<Write> {
    let epoch = draft.seen.epoch;
    let names = names(draft).into_iter().flatten();
    let services = names.filter_map(|(_, name)| own(draft, &name));
    services
        .filter(|s| !s.deleting && s.epoch != Some(epoch))
        .filter(|s| !draft.was_refused(&Refused::Service(s.base.name.clone())))
        .map(|service| Write::Fence {
            kind: Kind::Service,
            base: service.base.clone(),
            epoch,
        })
        .collect()
}
