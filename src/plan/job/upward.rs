//! Versions only go up: whatever was expanded later may rest on all that was expanded before, and
//! nobody wrote the lower version for what is there by now.

use crate::{
    api::{DatabaseRecord, PhaseKind, database::PhaseRecord},
    plan::{decision::Obstacle, draft::Draft, facts::Objects, reason::Reason},
};

/// The spec asks for the expand of a version that is lower than what is on record, and that has never
/// been on this database. Code of versions that have can return.
pub(super) fn goes_down(draft: &Draft<'_>) -> Option<Obstacle> {
    let schema = draft.spec.schema.as_ref()?;
    let version = schema.version.filter(|_| schema.expand.is_some())?;
    let database = draft.seen.objects.database.as_ref()?;
    if was_here(&draft.seen.objects, &database.record, version) {
        return None;
    }
    let (highest, whose) = highest(&database.record)?;
    (highest > version).then(|| Obstacle {
        reason: Reason::VersionGoesDown,
        message: format!(
            "spec.schema.version is {version}, which has never been expanded on {}, but the higher \
             version {highest} has ({whose}): versions only go up. Give this change a schema.version \
             above {highest}",
            database.base.name
        ),
        stalled: true,
    })
}

/// The version was expanded once, or a revision of it was stable.
fn was_here(objects: &Objects, record: &DatabaseRecord, version: i64) -> bool {
    let of = |p: &&PhaseRecord| p.phase == PhaseKind::Expand && p.version == Some(version);
    let expanded = record.phases.iter().filter(of).any(|p| p.succeeded);
    let known = record.version(version);
    let all = objects.on_database();
    let mut stable = all.iter().flat_map(|rollout| rollout.was_stable.values());
    expanded
        || known.is_some_and(|known| known.stable_since.is_some())
        || stable.any(|of| *of == Some(version))
}

/// The highest version that is on record of a database, and whose it is.
fn highest(record: &DatabaseRecord) -> Option<(i64, String)> {
    let expanded = record.phases.iter().filter(|p| {
        let counts = p.succeeded || !p.nothing_applied;
        p.phase == PhaseKind::Expand && counts && p.undone_by.is_none()
    });
    let expanded = expanded.filter_map(|p| Some((p.version?, &p.rollout)));
    let kept = record.versions.iter().filter(|v| v.stable_since.is_some());
    let kept = kept.map(|v| (v.version, &v.rollout));
    let own = expanded.chain(kept);
    let own = own.map(|(version, rollout)| (version, format!("Rollout {rollout}")));
    let stable = record.stable_version.into_iter();
    let stable = stable.map(|v| (v, "a revision that was stable".to_owned()));
    stable.chain(own).max_by_key(|(version, _)| *version)
}
