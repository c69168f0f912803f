//! What has been done to the schema, what a release needs of it, and what a migration has to do.
//!
//! Pure: the database is read and changed in [`crate::migrate`].

use std::collections::BTreeSet;
use std::fmt;

use crate::release::Release;

/// A phase of a schema change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Phase {
    /// Adds only: older releases go on working.
    Expand,
    /// Fills what expand added, in batches.
    Backfill,
    /// Removes what no running release uses any more.
    Contract,
}

impl Phase {
    /// The name in the table `schema_version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Contract => "contract",
        }
    }

    /// The phase with this name in the table `schema_version`, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Expand, Self::Backfill, Self::Contract]
            .into_iter()
            .find(|p| p.as_str() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One phase of one schema version.
pub type Step = (i32, Phase);

/// The only version with something to fill: `full_name` came with it.
const BACKFILLED: i32 = 2;
/// The only version that removes something: `name`.
const CONTRACTED: i32 = 4;

/// The steps on record in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done(BTreeSet<Step>);

impl FromIterator<Step> for Done {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// Why a release cannot serve on, or migrate, this schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// An expand is missing.
    #[error(
        "{release} needs schema version {version}: run `shop migrate expand --version v{version}`"
    )]
    NotExpanded {
        /// The release asked for.
        release: Release,
        /// The lowest version that is missing.
        version: i32,
    },
    /// A lower version's column is not filled.
    #[error(
        "{release} reads what schema version {version} added, and it is not filled: \
         run `shop migrate backfill --version v{version}`"
    )]
    NotBackfilled {
        /// The release asked for.
        release: Release,
        /// The version whose backfill is missing.
        version: i32,
    },
    /// What the release uses has been dropped; there is no way back.
    #[error("{release} cannot run any more: schema version {by} has dropped what it uses")]
    Contracted {
        /// The release asked for.
        release: Release,
        /// The version that was contracted.
        by: i32,
    },
    /// A release was left out: pods two versions apart would not see each other's writes.
    #[error("{release} cannot follow schema version {from}: release v{} first", from + 1)]
    OutOfOrder {
        /// The release asked for.
        release: Release,
        /// The highest version expanded so far.
        from: i32,
    },
}

impl Done {
    fn has(&self, version: i32, phase: Phase) -> bool {
        self.0.contains(&(version, phase))
    }

    fn highest(&self, phase: Phase) -> i32 {
        self.0
            .iter()
            .filter(|(_, p)| *p == phase)
            .map(|(v, _)| *v)
            .max()
            .unwrap_or(0)
    }

    /// Whether pods of this release can serve on this schema.
    pub fn fits(&self, release: Release) -> Result<(), Unfit> {
        self.not_contracted(release)?;
        let needed = release.number();
        if let Some(version) = (1..=needed).find(|v| !self.has(*v, Phase::Expand)) {
            return Err(Unfit::NotExpanded { release, version });
        }
        if needed > BACKFILLED && !self.has(BACKFILLED, Phase::Backfill) {
            return Err(Unfit::NotBackfilled {
                release,
                version: BACKFILLED,
            });
        }
        Ok(())
    }

    /// The steps that this phase of this release still has to do, in order.
    ///
    /// An expand brings an empty database all the way up, and repeats the backfills of the
    /// versions below: the release before may have written rows after its own backfill ran.
    pub fn plan(&self, release: Release, phase: Phase) -> Result<Vec<Step>, Unfit> {
        self.not_contracted(release)?;
        let to = release.number();
        match phase {
            Phase::Expand => {
                let from = self.highest(Phase::Expand);
                if from > 0 && to > from + 1 {
                    return Err(Unfit::OutOfOrder { release, from });
                }
                let mut steps = Vec::new();
                for version in 1..=to {
                    if !self.has(version, Phase::Expand) {
                        steps.push((version, Phase::Expand));
                    }
                    if version < to {
                        steps.extend(self.backfill(version));
                    }
                }
                Ok(steps)
            }
            Phase::Backfill => {
                self.expanded(release)?;
                Ok((1..=to).filter_map(|v| self.backfill(v)).collect())
            }
            Phase::Contract => {
                self.fits(release)?;
                let due = to >= CONTRACTED && !self.has(CONTRACTED, Phase::Contract);
                Ok(due
                    .then_some((CONTRACTED, Phase::Contract))
                    .into_iter()
                    .collect())
            }
        }
    }

    /// The backfill of a version, unless there is none or its source is gone.
    fn backfill(&self, version: i32) -> Option<Step> {
        let due = version == BACKFILLED && !self.has(CONTRACTED, Phase::Contract);
        due.then_some((version, Phase::Backfill))
    }

    fn expanded(&self, release: Release) -> Result<(), Unfit> {
        let version = release.number();
        let known = self.has(version, Phase::Expand);
        known
            .then_some(())
            .ok_or(Unfit::NotExpanded { release, version })
    }

    fn not_contracted(&self, release: Release) -> Result<(), Unfit> {
        let by = self.highest(Phase::Contract);
        if release.number() < by {
            Err(Unfit::Contracted { release, by })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Phase::{Backfill, Contract, Expand};
    use super::*;
    use Release::{V1, V2, V3, V4};

    fn done(steps: &[Step]) -> Done {
        steps.iter().copied().collect()
    }

    #[test]
    fn an_empty_database_is_brought_all_the_way_up() {
        assert_eq!(
            Done::default().plan(V4, Expand).unwrap(),
            [
                (1, Expand),
                (2, Expand),
                (2, Backfill),
                (3, Expand),
                (4, Expand)
            ]
        );
    }

    #[test]
    fn neighbours_share_a_schema_and_a_gap_is_refused() {
        let v2 = done(&[(1, Expand), (2, Expand)]);
        assert_eq!(v2.fits(V1), Ok(()));
        assert_eq!(v2.fits(V2), Ok(()));
        assert_eq!(
            v2.fits(V3),
            Err(Unfit::NotExpanded {
                release: V3,
                version: 3
            })
        );
        let v1 = done(&[(1, Expand)]);
        assert_eq!(
            v1.plan(V3, Expand),
            Err(Unfit::OutOfOrder {
                release: V3,
                from: 1
            })
        );
    }

    #[test]
    fn v3_waits_for_the_backfill() {
        let steps = [(1, Expand), (2, Expand), (3, Expand)];
        assert_eq!(
            done(&steps).fits(V3),
            Err(Unfit::NotBackfilled {
                release: V3,
                version: 2
            })
        );
        let filled = done(&[&steps[..], &[(2, Backfill)]].concat());
        assert_eq!(filled.fits(V3), Ok(()));
        assert_eq!(filled.fits(V2), Ok(()));
    }

    #[test]
    fn a_backfill_can_be_repeated_until_its_source_is_gone() {
        let all = [
            (1, Expand),
            (2, Expand),
            (2, Backfill),
            (3, Expand),
            (4, Expand),
        ];
        assert_eq!(done(&all).plan(V2, Backfill).unwrap(), [(2, Backfill)]);
        let contracted = done(&[&all[..], &[(4, Contract)]].concat());
        assert_eq!(contracted.plan(V4, Backfill).unwrap(), []);
        assert_eq!(contracted.plan(V4, Expand).unwrap(), []);
        assert_eq!(contracted.plan(V4, Contract).unwrap(), []);
    }

    #[test]
    fn after_the_contract_only_v4_is_left() {
        let contracted = done(&[
            (1, Expand),
            (2, Expand),
            (2, Backfill),
            (3, Expand),
            (4, Expand),
            (4, Contract),
        ]);
        for release in [V1, V2, V3] {
            let refusal = Unfit::Contracted { release, by: 4 };
            assert_eq!(contracted.fits(release), Err(refusal.clone()));
            assert_eq!(contracted.plan(release, Expand), Err(refusal));
        }
        assert_eq!(contracted.fits(V4), Ok(()));
    }
}
