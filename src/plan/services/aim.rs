//! Whom each of the two Services is to select.

use super::known::{Role, counted};
use crate::{
    api::release::Stage,
    plan::{course::Active, draft::Draft, routes},
};

/// The revision that a Service is to select as soon as that serves.
pub(super) fn aim(draft: &Draft<'_>, role: Role) -> Option<String> {
    let release = draft.status.release.as_ref();
    let (Some(stable), Some(release)) = (draft.stable(), release) else {
        let revision = draft.stable().or(release.map(|r| r.revision.as_str()));
        return revision.map(str::to_owned);
    };
    let Stage::Step(at) = &release.stage else {
        return Some(stable.to_owned());
    };
    let reached = draft.course.near(&at.step).map(|target| target.active);
    let canary = match role {
        Role::Stable => reached == Some(Active::Canary),
        Role::Canary => counted(draft, &release.revision) > 0 && !routes::exceed(draft),
    };
    Some(if canary {
        release.revision.clone()
    } else {
        stable.to_owned()
    })
}
