//! What administrators permit: which Rollouts may use a database, and for how long a phase may run.
//! And that versions only go up.
//!
//! Asked before a release begins, before the database is taken and before a Job is made. What runs
//! already runs to its end.

use serde_json::Value;

use super::{Of, Turn, sql, upward::goes_down};
use crate::{
    api::{DatabaseRecord, PhaseKind, SchemaSpec, database::Holder},
    plan::{
        decision::{Halt, Obstacle, Wait},
        draft::Draft,
        reason::Reason,
    },
};

/// Every phase of the spec may run.
///
/// # Errors
/// Why it may not.
pub(in crate::plan) fn is_given(draft: &Draft<'_>) -> Result<(), Halt> {
    let Some(schema) = &draft.spec.schema else {
        return Ok(());
    };
    let mut kinds = PhaseKind::ALL.into_iter();
    let lacks = not_allowed(draft)
        .or_else(|| kinds.find_map(|kind| too_long(draft, schema, kind)))
        .or_else(|| goes_down(draft));
    match lacks {
        Some(lack) => Err(Wait::stalled(lack.reason, lack.message).into()),
        None => Ok(()),
    }
}

/// The DatabaseSchema names the Rollouts that may use it, and this one is not among them.
fn not_allowed(draft: &Draft<'_>) -> Option<Obstacle> {
    let database = draft.seen.objects.database.as_ref()?;
    let allowed = database.allowed.as_ref()?;
    if allowed.iter().any(|name| name == draft.name()) {
        return None;
    }
    let name = &database.base.name;
    let others = match allowed.as_ref() {
        [] => "none".to_owned(),
        others => others.join(", "),
    };
    let message = format!(
        "DatabaseSchema {name} does not allow Rollout {}: its allowedRollouts has {others}, so \
         none of its phases runs there. The database's administrator can add it: kubectl edit -n {} \
         databaseschema {name}",
        draft.name(),
        draft.seen.objects.rollout.namespace,
    );
    Some(Obstacle {
        reason: Reason::DatabaseNotAllowed,
        message,
        stalled: true,
    })
}

/// A phase asks for more time than the operator's administrator permits.
fn too_long(draft: &Draft<'_>, schema: &SchemaSpec, kind: PhaseKind) -> Option<Obstacle> {
    let most = draft.seen.limits.phase_seconds?;
    let asked = schema.phase(kind)?.deadline_seconds;
    let word = kind.word();
    (asked > most).then(|| Obstacle {
        reason: Reason::PhaseTooLong,
        message: format!(
            "spec.schema.{word}.deadlineSeconds is {asked}, and the operator permits {most} \
             (--max-phase-seconds): write {most} or less, and make the change in smaller parts if it \
             takes longer"
        ),
        stalled: true,
    })
}

impl Turn<'_> {
    /// What administrators have against its running, as far as the spec says how it runs; and that it
    /// leads to a version that is lower than what is there.
    pub(super) fn forbidden(&self, draft: &Draft<'_>) -> Option<Obstacle> {
        let of_the_spec = match self.of {
            Of::Release(_) => true,
            Of::Version(_) => self.is_of_the_spec(draft),
        };
        let schema = draft.spec.schema.as_ref().filter(|_| of_the_spec);
        let of_release = matches!(self.of, Of::Release(_));
        not_allowed(draft)
            .or_else(|| too_long(draft, schema?, self.phase()))
            .or_else(|| of_release.then(|| goes_down(draft))?)
    }
}

impl Turn<'_> {
    /// The Job of another phase beside which it may not run, though that has a place of its own: one
    /// of the two is a backfill that runs alone.
    pub(super) fn kept_out_by<'r>(&self, record: &'r DatabaseRecord) -> Option<&'r Holder> {
        if self.phase() != PhaseKind::Backfill {
            return record.runs_alone();
        }
        let Of::Version(version) = self.of else {
            return None;
        };
        let asked = version.asks(PhaseKind::Backfill);
        record
            .holder
            .as_ref()
            .filter(|_| asked.is_some_and(|asked| asked.exclusive))
    }
}

/// `activeDeadlineSeconds` of a phase's Job that has so many seconds: never more than is permitted,
/// also where the spec that asked for more is not the present one. A phase of SQL gets as much beyond
/// it as always.
pub(in crate::plan) fn deadline(
    draft: &Draft<'_>,
    schema: &SchemaSpec,
    kind: PhaseKind,
    seconds: i64,
) -> i64 {
    let whole = sql::deadline(schema, kind, seconds);
    let beyond = if schema.runs_sql(kind) {
        sql::GRACE_SECONDS
    } else {
        0
    };
    let most = draft.seen.limits.phase_seconds;
    most.map_or(whole, |most| whole.min(most + beyond))
}

/// Cuts the time that a phase's pod may take to end to what is permitted: its Job holds the database
/// for as long.
pub(in crate::plan) fn cut_grace(draft: &Draft<'_>, pod: &mut Value) {
    const DEFAULT: i64 = 30;
    let Some(most) = draft.seen.limits.grace_seconds else {
        return;
    };
    let asked = pod["terminationGracePeriodSeconds"].as_i64();
    if asked.unwrap_or(DEFAULT) > most {
        pod["terminationGracePeriodSeconds"] = most.into();
    }
}
