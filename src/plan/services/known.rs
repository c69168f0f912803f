//! What the two Services are, and whom they lead to, as far as that is known.

use crate::{
    api::traffic::ServiceStatus,
    plan::{draft::Draft, facts::ServiceFacts},
};

/// Seconds after a Service has left a revision before that revision's pods may go: endpoints and
/// every node's kube-proxy follow within them.
pub(crate) const SETTLES_WITHIN: i64 = 5;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// That of users.
    Stable,
    /// That of the revision in motion.
    Canary,
}

/// Names of the two Services. While pods of a release run, they are those that it began with.
pub(super) fn names(draft: &Draft<'_>) -> Option<[(Role, String); 2]> {
    let roles = |[stable, canary]: [&str; 2]| {
        Some([
            (Role::Stable, stable.to_owned()),
            (Role::Canary, canary.to_owned()),
        ])
    };
    match &draft.status.traffic {
        Some(known) if runs(draft) => {
            roles([&known.stable_service.name, &known.canary_service.name])
        }
        _ => roles(draft.spec.traffic.as_ref()?.own()),
    }
}

/// Names of the two Services that a release uses: that of users first.
pub(in crate::plan) fn used<'d>(draft: &'d Draft<'_>) -> Option<[&'d str; 2]> {
    draft.spec.traffic.as_ref()?;
    let known = draft.status.traffic.as_ref()?;
    Some([&known.stable_service.name, &known.canary_service.name])
}

/// Pods of a release run, or are going.
pub(super) fn runs(draft: &Draft<'_>) -> bool {
    let release = draft.status.release.as_ref();
    release.is_some_and(|r| r.step().is_some() || r.undo().is_some())
}

/// A Service that Stepgate made for this Rollout.
pub(super) fn own<'d>(draft: &'d Draft<'_>, name: &str) -> Option<&'d ServiceFacts> {
    let service = draft.seen.objects.service(name)?;
    is_own(draft, service).then_some(service)
}

pub(super) fn is_own(draft: &Draft<'_>, service: &ServiceFacts) -> bool {
    service.rollout.as_deref() == Some(draft.name())
}

/// The Service of users selects this revision.
pub(in crate::plan) fn leads_users_to(draft: &Draft<'_>, revision: &str) -> bool {
    let stable = names(draft).map(|[(_, stable), _]| stable);
    let service = stable.and_then(|name| own(draft, &name));
    service.is_some_and(|s| !s.uncertain && s.revision() == Some(revision))
}

/// What is on record of a Service.
pub(super) fn known<'d>(draft: &'d Draft<'_>, role: Role, name: &str) -> Option<&'d ServiceStatus> {
    let known = draft.status.traffic.as_ref()?;
    let known = match role {
        Role::Stable => &known.stable_service,
        Role::Canary => &known.canary_service,
    };
    (known.name == name).then_some(known)
}

/// The revision that a Service leads to. Where it does not say, because somebody has edited or
/// deleted it, that is the one that it led to last, or else the stable one.
pub(super) fn led_to<'d>(draft: &'d Draft<'_>, role: Role, name: &str) -> Option<&'d str> {
    own(draft, name)
        .and_then(ServiceFacts::revision)
        .or_else(|| known(draft, role, name).map(|k| k.revision.as_str()))
        .or_else(|| draft.stable())
}

/// The revisions that the two Services lead to.
pub(in crate::plan) fn lead<'d>(draft: &'d Draft<'_>) -> Option<[&'d str; 2]> {
    let [(users, stable), (other, canary)] = names(draft)?;
    let users = led_to(draft, users, &stable)?;
    Some([users, led_to(draft, other, &canary)?])
}

/// Pods of a revision that are available for sure and also asked for: requests may go there.
pub(in crate::plan) fn available(draft: &Draft<'_>, revision: &str) -> i32 {
    counted(draft, revision).min(draft.seen.objects.available(revision))
}

/// The same as its Deployment counts them, which may have been heard before its pods were: they may
/// serve, and requests do not leave them for fewer.
pub(in crate::plan) fn counted(draft: &Draft<'_>, revision: &str) -> i32 {
    let child = draft.seen.objects.child(revision);
    child.map_or(0, |c| c.available.min(c.possible.0))
}

/// Pods of a revision that are asked for.
pub(in crate::plan) fn asked(draft: &Draft<'_>, revision: &str) -> i32 {
    let child = draft.seen.objects.child(revision);
    child.map_or(0, |c| c.replicas)
}
