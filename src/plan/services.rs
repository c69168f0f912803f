//! The two Services of `spec.traffic`: what they select, and which pods may not go yet.
//!
//! Both always select pods that serve. That of users follows a decision on record, and a revision's
//! pods go only after both Services have left it, and everybody has had time to hear of that.

mod aim;
mod hold;
mod known;
mod manifest;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

pub(super) use self::hold::{fences, hold_back};
pub(crate) use self::known::SETTLES_WITHIN;
pub(super) use self::known::{asked, available, counted, lead, leads_users_to, used};
use self::{
    aim::aim,
    known::{Role, is_own, led_to, names, own, runs},
    manifest::{manifest, selector, spec_of},
};
use super::{
    course::Target,
    decision::{Halt, Wait},
    draft::{Draft, later, whole_second},
    facts::{Observed, Reach, Refused, ServiceFacts, Unread},
    intent::{Kind, Write},
    mover,
    reason::Reason,
    routes::{self, carry},
};
use crate::api::{
    keys,
    traffic::{ServiceStatus, TrafficStatus},
};
use jiff::Timestamp;

/// Until when not everybody has heard what the Services select, if that is so.
pub(super) fn settle_at(draft: &Draft<'_>) -> Option<Timestamp> {
    used(draft)?;
    let known = draft.status.traffic.as_ref()?;
    let both = [&known.stable_service, &known.canary_service];
    let last = both.into_iter().map(|service| service.since.0).max()?;
    let settled = later(last, SETTLES_WITHIN);
    // Recorded in whole seconds; what lies further ahead is of a clock that was set back since.
    let open = settled > draft.now && last <= later(draft.now, 1);
    open.then_some(settled)
}

/// The Services have not been listed yet: nothing is decided, and nothing told, before they are.
pub(super) fn are_awaited(seen: &Observed) -> bool {
    seen.objects.services.unread == Some(Unread::NotYet)
}

/// Services that the spec no longer names are still there: they go before a release begins, so that
/// it knows which are its own.
pub(super) fn are_left(draft: &Draft<'_>) -> bool {
    let Some(known) = &draft.status.traffic else {
        return false;
    };
    let known = [&*known.stable_service.name, &*known.canary_service.name];
    draft.spec.traffic.as_ref().map(|traffic| traffic.own()) != Some(known)
}

/// The Services that a release in motion uses are not those of the spec any more.
pub(super) fn were_changed(draft: &Draft<'_>) -> bool {
    runs(draft) && (are_left(draft) || routes::were_changed(draft))
}

/// What stands against a release through the Services that the spec asks for.
///
/// # Errors
/// What does.
pub(super) fn are_possible(draft: &Draft<'_>) -> Result<(), Halt> {
    let wait = problem(draft).or_else(|| bypass(draft));
    wait.map_or(Ok(()), |wait| Err(wait.into()))
}

/// The same, where a release has its pods and no user reaches them yet.
pub(super) fn bypass(draft: &Draft<'_>) -> Option<Wait> {
    let spec = draft.spec.traffic.as_ref()?;
    if !draft.course.targets.iter().any(Target::is_hidden) {
        return None;
    }
    let mut labels = draft.spec.labels().clone();
    labels.insert(keys::ROLLOUT.into(), draft.name().into());
    let services = draft.seen.objects.services.all.iter();
    let mut others = services.filter(|s| {
        !s.deleting
            && !is_own(draft, s)
            && s.base.name != spec.ports_from.name
            && !s.not_for_users
            && s.reach != Reach::ExternalName
    });
    let other = others.find(|s| s.selects(&labels))?;
    let name = &other.base.name;
    let words = format!(
        "Service {name} selects the pods of every revision, so its users would reach the preview: \
         delete it, or let its users address {}. If no user reaches pods through it: \
         kubectl annotate -n {} service {name} {}=true",
        spec.stable_service,
        draft.seen.objects.rollout.namespace,
        keys::NOT_FOR_USERS,
    );
    Some(Wait::stalled(Reason::ServiceBypassesSwitch, words))
}

fn problem(draft: &Draft<'_>) -> Option<Wait> {
    let spec = draft.spec.traffic.as_ref()?;
    unread(draft).or_else(|| unusable(draft)).or_else(|| {
        let foreign = spec.own().into_iter().find(|name| {
            let found = draft.seen.objects.service(name);
            found.is_some_and(|s| !is_own(draft, s))
        })?;
        let field = if foreign == spec.stable_service {
            "stableService"
        } else {
            "canaryService"
        };
        let words = format!(
            "Service {foreign} is not one that Stepgate made for this Rollout, and is left as \
                 it is: delete it, or give spec.traffic.{field} another name"
        );
        Some(Wait::stalled(Reason::ServiceNotOurs, words))
    })
}

/// Services cannot be seen.
pub(super) fn unread(draft: &Draft<'_>) -> Option<Wait> {
    let Some(Unread::Refused(words)) = &draft.seen.objects.services.unread else {
        return None;
    };
    let namespace = &draft.seen.objects.rollout.namespace;
    let words = format!(
        "spec.traffic needs the right to read and write Services in namespace {namespace}: set the \
         chart's rbac.services, or apply deploy/roles/services.yaml there ({words})"
    );
    Some(Wait::stalled(Reason::ServicesForbidden, words))
}

/// The Service whose ports are copied cannot be used.
fn unusable(draft: &Draft<'_>) -> Option<Wait> {
    let name = &draft.spec.traffic.as_ref()?.ports_from.name;
    let found = draft.seen.objects.service(name).filter(|s| !s.deleting);
    let why = match found {
        None => "does not exist: create it with the ports and the selector of the workload",
        Some(service) if service.reach == Reach::Headless => {
            "is headless, so clients choose among pods themselves and no switch would reach them: \
             name one that has a clusterIP"
        }
        Some(service) if service.reach == Reach::ExternalName => {
            "is of type ExternalName and leads to no pods: name one that selects the Rollout's pods"
        }
        Some(service) if service.selector.is_empty() => {
            "has no selector: name one that selects the Rollout's pods"
        }
        Some(service) if service.ports["ports"].as_array().is_none_or(Vec::is_empty) => {
            "has no ports: give it those of the workload"
        }
        Some(service) if !service.selects(draft.spec.labels()) => {
            "does not select the Rollout's pods: its selector must match \
             spec.template.metadata.labels"
        }
        Some(_) => return None,
    };
    let words = format!("Service {name}, which spec.traffic.portsFrom names, {why}");
    Some(Wait::stalled(Reason::PortsFromUnusable, words))
}

/// Both Services are there.
pub(super) fn exist(draft: &Draft<'_>) -> bool {
    let names = names(draft).into_iter().flatten();
    names
        .into_iter()
        .all(|(_, name)| own(draft, &name).is_some())
}

/// Both Services select what the release asks for now.
pub(super) fn are_in_place(draft: &Draft<'_>) -> bool {
    let mut names = names(draft).into_iter().flatten();
    names.all(|(role, name)| {
        let service = own(draft, &name).filter(|s| !s.uncertain);
        service.is_some_and(|s| s.revision() == aim(draft, role).as_deref())
    })
}

/// What is said while all pods of a step are there, and a Service is on its way.
pub(super) fn on_the_way(draft: &Draft<'_>) -> Option<String> {
    let names = names(draft)?;
    let mut late = names.into_iter().filter_map(|(role, name)| {
        let aim = aim(draft, role)?;
        let from = own(draft, &name).and_then(ServiceFacts::revision);
        let pods = match role {
            Role::Stable => draft.bounds().floor.max(1),
            Role::Canary if carry::shrinks(draft) => draft.bounds().floor.max(1),
            Role::Canary => 1,
        };
        (from != Some(&*aim)).then(|| {
            let selects = from.map_or("none yet", |from| from);
            format!(
                "Service {name} selects revision {selects} and switches to {aim} when {pods} of \
                 its pods serve"
            )
        })
    });
    late.next()
}

/// The revision that all users reach, where a Service decides that.
pub(super) fn active(draft: &Draft<'_>) -> Option<String> {
    draft.spec.traffic.as_ref()?;
    if routes::share_users(draft) {
        return None;
    }
    let [(role, name), _] = names(draft)?;
    let release = || draft.status.release.as_ref().map(|r| r.revision.as_str());
    led_to(draft, role, &name)
        .or_else(release)
        .map(str::to_owned)
}

/// Pods that users reach for sure, of all children or of those that a Service leads to.
pub(super) fn assured(draft: &Draft<'_>) -> i32 {
    match active(draft) {
        Some(revision) => available(draft, &revision),
        None => mover::assured(&draft.seen.objects.children),
    }
}

/// The revision that a Service is to select now: where it is to go, once that serves. That of users
/// goes to no fewer pods than the floor, unless it leaves no more.
fn goes(draft: &Draft<'_>, role: Role, name: &str) -> Option<String> {
    let to = aim(draft, role)?;
    let Some(from) = led_to(draft, role, name).filter(|from| *from != to) else {
        return Some(to);
    };
    let (there, here) = (available(draft, &to), counted(draft, from));
    let enough = match role {
        Role::Stable => {
            there >= draft.bounds().floor.max(1) || carry::may_lead_to_few(draft, there, here)
        }
        Role::Canary => {
            let free = match Some(&*to) == draft.stable() {
                true => carry::may_lead_back(draft),
                false => routes::admit(draft),
            };
            (there > 0 || here == 0) && free
        }
    };
    Some(if enough { to } else { from.to_owned() })
}

/// Puts on record what the Services are seen to select. It forbids nothing but that pods go, so it
/// is written beside whatever else is.
pub(super) fn note(draft: &mut Draft<'_>) {
    let Some([(_, stable), (_, canary)]) = names(draft) else {
        let own = |s: &ServiceFacts| is_own(draft, s) && !s.deleting;
        if !draft.seen.objects.services.all.iter().any(own) {
            draft.status.traffic = None;
        }
        return;
    };
    let known = draft.status.traffic.clone();
    let now = Time(whole_second(draft.now.max(draft.seen.looked)));
    let seen = |name: &str, known: Option<&ServiceStatus>| {
        let service = own(draft, name).filter(|s| !s.uncertain)?;
        let revision = service.revision()?.to_owned();
        let same = known.filter(|k| k.name == name && k.revision == revision);
        Some(same.cloned().unwrap_or_else(|| ServiceStatus {
            name: name.to_owned(),
            revision,
            since: now.clone(),
        }))
    };
    let users = seen(&stable, known.as_ref().map(|k| &k.stable_service));
    let testers = seen(&canary, known.as_ref().map(|k| &k.canary_service));
    let (Some(stable_service), Some(canary_service)) = (users, testers) else {
        return;
    };
    if let Some(before) = known.map(|k| k.stable_service)
        && before.revision != stable_service.revision
    {
        let message = format!(
            "Service {} now selects revision {} instead of {}",
            stable_service.name, stable_service.revision, before.revision
        );
        draft.inform(Reason::TrafficSwitched, message);
    }
    let known = draft.status.traffic.take();
    let (weight, measured) = known.map_or((None, None), |known| (known.weight, known.measured));
    draft.status.traffic = Some(TrafficStatus {
        stable_service,
        canary_service,
        weight,
        measured,
    });
}

/// What is put on record where nothing is, though a release may have told the routes something.
pub(super) fn remembered(draft: &Draft<'_>, stable: &str) -> Option<TrafficStatus> {
    let spec = draft.spec.traffic.as_ref()?;
    let now = Time(whole_second(draft.now.max(draft.seen.looked)));
    let weight = routes::to_be_at_rest(draft, now.clone())?;
    let leads = |name: &str| ServiceStatus {
        name: name.to_owned(),
        revision: own(draft, name)
            .and_then(ServiceFacts::revision)
            .unwrap_or(stable)
            .to_owned(),
        since: now.clone(),
    };
    Some(TrafficStatus {
        stable_service: leads(&spec.stable_service),
        canary_service: leads(&spec.canary_service),
        weight: Some(weight),
        measured: None,
    })
}

/// The next writes to Services.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    // Where it goes on all the same that is no matter for the whole Rollout.
    if !runs(draft)
        && let Some(wait) = problem(draft)
    {
        draft.wait_for(wait);
    }
    if draft.seen.objects.services.unread.is_some() {
        return;
    }
    for (role, name) in names(draft).into_iter().flatten() {
        if draft.was_refused(&Refused::Service(name.clone())) {
            continue;
        }
        match draft.seen.objects.service(&name) {
            None => make(draft, role, &name),
            Some(service) if is_own(draft, service) && !service.deleting => {
                let service = service.clone();
                point(draft, role, &service);
            }
            Some(_) => {}
        }
    }
    forget_others(draft);
}

/// Ports and affinity that are to be copied, if they can be.
fn ports(draft: &Draft<'_>) -> Option<Arc<Value>> {
    if unusable(draft).is_some() {
        return None;
    }
    let from = &draft.spec.traffic.as_ref()?.ports_from.name;
    Some(draft.seen.objects.service(from)?.ports.clone())
}

fn make(draft: &mut Draft<'_>, role: Role, name: &str) {
    let selected = goes(draft, role, name).zip(ports(draft));
    let Some((revision, ports)) = selected else {
        return;
    };
    let spec = spec_of(draft, &revision, &ports);
    let service = manifest(draft, name, spec);
    let note = format!("Service {name} is made, for revision {revision}");
    draft.create(Kind::Service, service, note);
}

fn point(draft: &mut Draft<'_>, role: Role, service: &ServiceFacts) {
    let Some(revision) = goes(draft, role, &service.base.name) else {
        return;
    };
    let ports = ports(draft).unwrap_or_else(|| service.ports.clone());
    let pods = selector(draft, &revision);
    if service.selector == pods && service.ports == ports && !service.uncertain {
        return;
    }
    let name = &service.base.name;
    draft.notes.push(if service.revision() == Some(&revision) {
        format!("Service {name} selects revision {revision}: written anew")
    } else {
        format!("Service {name} goes to revision {revision}")
    });
    draft.writes.push(Write::Select {
        base: service.base.clone(),
        spec: Box::new(spec_of(draft, &revision, &ports)),
        revision,
        settles: service.uncertain,
    });
}

/// Services that the spec no longer names go, once nothing is in motion.
fn forget_others(draft: &mut Draft<'_>) {
    if draft.status.release.is_some() || !draft.writes.is_empty() || routes::are_told(draft) {
        return;
    }
    let asked = draft.spec.traffic.as_ref().map(|traffic| traffic.own());
    let services = draft.seen.objects.services.all.iter();
    let left = services.filter(|s| {
        let named = asked.is_some_and(|names| names.contains(&s.base.name.as_str()));
        is_own(draft, s) && !s.deleting && !named
    });
    let refused = |name: &str| draft.was_refused(&Refused::Service(name.to_owned()));
    let left: Vec<_> = left
        .filter(|s| !refused(&s.base.name))
        .map(|s| s.base.clone())
        .collect();
    for base in left {
        let note = format!("Service {} is not asked for any more", base.name);
        draft.notes.push(note);
        draft.writes.push(Write::Delete {
            kind: Kind::Service,
            base,
        });
    }
}
