//! What a contract or a revert waits for: all that could still need what it removes, and who must
//! agree.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::{
        Approval, DatabaseRecord, PhaseKind,
        database::{AskedPhase, Dirty, VersionRecord},
        sql::KeyRef,
    },
    plan::{
        decision::Halt,
        draft::{Draft, later},
        facts::{KnownUsers, Question, RolloutFacts, SharerFacts, UserFacts},
        flags,
        lack::Lack,
        words,
    },
};

/// Which side of a version would be hurt by what is to run: those below a contract's, those from a
/// revert's on.
#[derive(Clone, Copy)]
pub(super) struct Side {
    version: i64,
    kind: PhaseKind,
}

impl Side {
    /// Those whom the contract of a version would hurt.
    pub const fn below(version: i64) -> Self {
        Self {
            version,
            kind: PhaseKind::Contract,
        }
    }

    /// Those whom its revert would hurt.
    pub const fn from(version: i64) -> Self {
        Self {
            version,
            kind: PhaseKind::Revert,
        }
    }

    fn is_revert(self) -> bool {
        self.kind == PhaseKind::Revert
    }

    /// Whether what needs this is among them. What nobody says may be anything.
    fn has(self, needs: Option<i64>) -> bool {
        needs.is_none_or(|needs| (needs >= self.version) == self.is_revert())
    }

    fn has_user(self, user: &UserFacts) -> bool {
        self.has(if self.is_revert() {
            user.highest
        } else {
            user.version
        })
    }

    /// Which Rollouts are among them, by the caches: in words that do not change with every pod.
    pub fn rollouts(self, draft: &Draft<'_>) -> Vec<String> {
        let all = everybody(draft);
        let words = all.iter().flat_map(|sharer| self.of(draft, sharer));
        words.collect()
    }

    fn of(self, draft: &Draft<'_>, sharer: &SharerFacts) -> Vec<String> {
        let name = &sharer.rollout;
        let mut words = Vec::new();
        // The spec still asks for the revision that has failed: that is what is taken back.
        let itself = self.is_revert() && name == draft.name();
        match sharer.wanted {
            _ if itself => {}
            None => words.push(format!("Rollout {name} cannot be read")),
            Some(None) => words.push(format!("Rollout {name} gives no schema.version")),
            Some(Some(wanted)) if self.has(Some(wanted)) => {
                words.push(format!("Rollout {name} asks for version {wanted}"));
            }
            Some(Some(_)) => {}
        }
        if sharer.moves.iter().any(|of| self.has(*of)) {
            let place = if self.is_revert() {
                "at it or above"
            } else {
                "below"
            };
            words.push(format!(
                "a release of Rollout {name} is in motion from or to a version {place}"
            ));
        }
        let hurt = |(_, needs): &(&String, &Option<i64>)| self.has(**needs);
        words.extend(
            (sharer.running.iter().filter(hurt))
                .map(|(revision, _)| format!("revision {revision} of Rollout {name} serves")),
        );
        // Somebody may raise it at any time, and nobody says what it needs.
        let moved = sharer.adopted.iter();
        words.extend(moved.map(|moved| {
            format!("Deployment {moved}, which Rollout {name} moved in, is still there")
        }));
        if self.is_revert() {
            let former = sharer.former.iter().filter(hurt);
            let former = former.filter(|(revision, _)| !sharer.running.contains_key(*revision));
            words.extend(former.map(|(revision, _)| {
                format!("revision {revision} of Rollout {name} was stable, and can be returned to")
            }));
        }
        words
    }

    /// Whether somebody is among them and runs: by what is read live now; where somebody was when it
    /// was read last, by that for a while.
    ///
    /// # Errors
    /// That it must be read first.
    pub(crate) fn is_waited_for(self, draft: &Draft<'_>) -> Result<bool, Halt> {
        if draft.seen.answers.users.is_none()
            && let Some(known) = known(draft).filter(|known| is_fresh(draft, known))
            && !self.among(&known.users, draft, true).is_empty()
        {
            return Ok(true);
        }
        let users = self.users(draft)?;
        Ok(users.iter().any(|user| user.serves))
    }

    fn among<'u>(
        self,
        users: &'u [UserFacts],
        draft: &Draft<'_>,
        serves: bool,
    ) -> Vec<&'u UserFacts> {
        // What a revert's own Rollout asks for is what it takes back; its record is at hand.
        let itself = |user: &UserFacts| self.is_revert() && user.is_rollout(draft.name());
        let users = users.iter().filter(|user| user.serves == serves);
        users.filter(|u| self.has_user(u) && !itself(u)).collect()
    }

    /// Who is among them by what is read live: other workloads too.
    ///
    /// # Errors
    /// That it must be read first.
    pub fn users<'d>(self, draft: &'d Draft<'_>) -> Result<Vec<&'d UserFacts>, Halt> {
        let name = draft.spec.database().unwrap_or_default();
        let Some(users) = &draft.seen.answers.users else {
            return Halt::ask(Question::Users(name.to_owned()));
        };
        let [idle, serving] = [false, true].map(|serves| self.among(users, draft, serves));
        Ok(serving.into_iter().chain(idle).collect())
    }

    /// The same for people, as it was read last: those that run, or Deployments at 0.
    pub fn named(self, draft: &Draft<'_>, serves: bool) -> Vec<Lack> {
        let now = draft.seen.answers.users.as_ref();
        // What is at 0 matters only where everything was read just now.
        let before = || Some(&known(draft).filter(|_| serves)?.users);
        let users: &[UserFacts] = match now.or_else(before) {
            Some(users) => users,
            None => &[],
        };
        let users = self.among(users, draft, serves);
        let needs = |user: &UserFacts| match self.is_revert() {
            true => user.highest,
            false => user.version,
        };
        users
            .into_iter()
            .map(|user| match needs(user) {
                Some(of) if serves => Lack::of(format!("{} needs version {of}", user.what)),
                None if serves => Lack::of(format!("{}, whose version is not known", user.what)),
                _ => Lack::of(user.what.clone()),
            })
            .collect()
    }
}

/// Who used the database when that was read last, in an earlier pass.
fn known<'d>(draft: &Draft<'d>) -> Option<&'d KnownUsers> {
    let known = draft.seen.users.as_deref();
    known.filter(|known| Some(known.database.as_str()) == draft.spec.database())
}

/// What was read a while ago is enough to wait by: nothing that the caches hold has changed since, and
/// it is not long ago. A gate that waits for a workload for days asks every few minutes.
fn is_fresh(draft: &Draft<'_>, known: &KnownUsers) -> bool {
    let until = later(known.at, known.seconds());
    known.at <= draft.now && draft.now < until && known.rollouts == draft.seen.objects.on_database()
}

/// All Rollouts on the database, this one first.
pub(super) fn everybody(draft: &Draft<'_>) -> Vec<SharerFacts> {
    let rollout = RolloutFacts {
        status: Arc::new(draft.status.clone()),
        ..draft.seen.objects.rollout.clone()
    };
    draft.seen.objects.with_sharers(&rollout)
}

/// When the time after the last pod below the version is over.
pub(super) fn opens_at(version: &VersionRecord) -> Option<Timestamp> {
    let asked = version.asks(PhaseKind::Contract)?;
    let since = version.alone_since.as_ref()?;
    Some(later(since.0, asked.after_seconds))
}

/// Everything that the contract of a version still waits for, for people. Empty: it may run.
pub(super) fn missing(draft: &Draft<'_>, version: &VersionRecord) -> Vec<Lack> {
    let Some(database) = &draft.seen.objects.database else {
        return Vec::new();
    };
    let (number, record) = (version.version, &database.record);
    let side = Side::below(number);
    let mut missing: Vec<Lack> = side.rollouts(draft).into_iter().map(Lack::from).collect();
    if missing.is_empty() && version.alone_since.is_none() {
        missing.extend(side.named(draft, true));
        if missing.is_empty() {
            missing.push(Lack::of("the list of workloads that use the database"));
        }
    }
    let moving = everybody(draft).into_iter().filter(|s| !s.moves.is_empty());
    missing.extend(
        moving
            .filter(|_| missing.is_empty())
            .map(|s| Lack::of(format!("a release of Rollout {} is in motion", s.rollout)))
            .collect::<Vec<_>>(),
    );
    let earlier = record.versions.iter().filter(|v| v.version < number);
    missing.extend(
        earlier
            .filter(|v| v.lacks_contract())
            .map(|v| Lack::of(format!("the contract of version {} comes first", v.version))),
    );
    if let Some(at) = opens_at(version).filter(|at| *at > draft.now) {
        missing.push(Lack::of("the end of afterSeconds").saying(format!(", at {at:.0}")));
    }
    missing.extend(flags::missing(draft, version));
    missing.extend(approval(
        draft,
        version,
        PhaseKind::Contract,
        &database.base.name,
    ));
    missing.extend(in_the_way(draft, record, version, PhaseKind::Contract));
    let held = record.held_for(PhaseKind::Contract);
    if held.is_some_and(|h| h.phase == PhaseKind::Contract && h.version == Some(number)) {
        let empty = side.named(draft, false).into_iter();
        missing.extend(empty.map(|of| Lack::of(format!("{} is to be deleted", of.what))));
    }
    missing
}

/// What another phase has left, or still does.
pub(super) fn in_the_way(
    draft: &Draft<'_>,
    record: &DatabaseRecord,
    version: &VersionRecord,
    kind: PhaseKind,
) -> Vec<Lack> {
    let others = |dirty: &&Dirty| dirty.phase != kind || dirty.version != Some(version.version);
    let dirty = record.dirty.iter().filter(others);
    let database = draft.spec.database().unwrap_or_default();
    let dirty = dirty.map(|dirty| {
        let words = format!("Job {} left the database half-way", dirty.job);
        Lack::of(words)
            .saying(". Once that is fixed, confirm it")
            .by(words::clean_of(draft, database, &dirty.job))
    });
    let foreign = record
        .holders()
        .filter(|h| h.version != Some(version.version) || h.phase != kind);
    dirty
        .chain(foreign.map(|h| Lack::of(format!("Job {} runs on the database", h.job))))
        .collect()
}

/// The approval that is missing, with the way to give it. Where an expand has come later, what is
/// to be removed was written without knowing of it.
pub(super) fn approval(
    draft: &Draft<'_>,
    version: &VersionRecord,
    kind: PhaseKind,
    database: &str,
) -> Option<Lack> {
    let asked = version.asks(kind)?;
    let number = version.version;
    if let Some(file) = asked.files.iter().find(|file| file.sha256.is_empty()) {
        let KeyRef { name, key } = &file.config_map;
        return Some(Lack::of(format!(
            "the text of key {key} of ConfigMap {name}, which cannot be read"
        )));
    }
    let record = &draft.seen.objects.database.as_ref()?.record;
    let mut later = record.phases.iter();
    let overtaken = later.any(|p| {
        p.phase == PhaseKind::Expand && p.succeeded && p.version.is_some_and(|v| v > number)
    });
    // What was given before that was given without knowing of it too.
    let later_end = |at: Timestamp| {
        let mut later = record.phases.iter();
        later.any(|p| {
            p.phase == PhaseKind::Expand
                && p.succeeded
                && p.version.is_some_and(|v| v > number)
                && p.ended.0 > at
        })
    };
    let given = version
        .approved
        .as_ref()
        .filter(|given| !later_end(given.at.0));
    if (asked.approval == Approval::Automatic && !overtaken)
        || given.is_some_and(|given| given.digest == asked.digest)
    {
        return None;
    }
    let why = if overtaken {
        " (the expand of a later version has run since)"
    } else {
        ""
    };
    let lack = Lack::of(format!("an approval{why}")).noting(unpinned(asked));
    Some(lack.by(approve_command(draft, version, kind, database)))
}

/// Images of what is approved that may be others when it runs: the digest covers them as written.
pub(super) fn unpinned(asked: &AskedPhase) -> Option<String> {
    Some(match asked.unpinned.as_slice() {
        [] => return None,
        [one] => format!("image {one} is unpinned: its tag may lead to another image by then"),
        more => format!(
            "images {} are unpinned: their tags may lead to other images by then",
            more.join(", ")
        ),
    })
}

/// The command by which a phase of a version is approved.
pub(super) fn approve_command(
    draft: &Draft<'_>,
    version: &VersionRecord,
    kind: PhaseKind,
    database: &str,
) -> String {
    let digest = version.asks(kind).map_or("", |asked| &asked.digest);
    format!(
        "kubectl annotate -n {} databaseschema {database} --overwrite \
         stepgate.io/approve=\"{}/{}/{digest} <id> <user>\"",
        draft.seen.objects.rollout.namespace,
        version.version,
        kind.word(),
    )
}
