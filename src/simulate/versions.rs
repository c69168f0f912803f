//! What comes after the release of a schema version, in random schedules: phases, approvals, and
//! who else uses the database. Drawn apart, so that what the others do stays the same.

use serde_json::json;

use super::{
    action::{Action, Circumstance},
    random::Random,
    schedule::BUSY,
    setting::{Migration, MigrationEnd, Setting},
};
use crate::api::{PhaseKind, RolloutSpec};

/// Sets them apart.
const VERSIONS: u64 = 0x5e1f_88d3_0000_0000;

/// One in two schedules has phases after the release.
#[derive(Debug)]
pub struct Versions {
    random: Random,
    drawn: bool,
}

impl Versions {
    /// Those of a seed's schedule.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ VERSIONS);
        let drawn = random.chance(50);
        Self { random, drawn }
    }

    /// How these phases go.
    pub fn behave(&mut self, setting: &mut Setting) {
        for behaviour in setting.behaviours.values_mut() {
            for phase in [PhaseKind::Backfill, PhaseKind::Contract] {
                let ends = [
                    MigrationEnd::Succeeds,
                    MigrationEnd::Succeeds,
                    MigrationEnd::Succeeds,
                    MigrationEnd::Fails,
                    MigrationEnd::NothingApplied,
                    MigrationEnd::Hangs,
                ];
                let end = self.random.one_of(&ends).copied();
                let first = Migration {
                    seconds: self.random.between(1, 100),
                    end: end.unwrap_or(MigrationEnd::Succeeds),
                };
                let then = Migration {
                    seconds: 10,
                    end: MigrationEnd::Succeeds,
                };
                behaviour.migrations.insert(phase, vec![first, then]);
            }
        }
    }

    /// A Rollout that is applied asks for them, mostly.
    pub fn ask(&mut self, spec: &mut RolloutSpec) {
        let random = &mut self.random;
        let Some(schema) = spec.schema.as_mut().filter(|_| self.drawn) else {
            return;
        };
        let backfill = json!({
            "command": ["shop", "backfill"],
            "deadlineSeconds": 120,
            "keptBy": random.one_of(&["Code", "Trigger"]),
        });
        let contract = json!({
            "command": ["shop", "contract"],
            "deadlineSeconds": 120,
            "afterSeconds": random.between(0, 60),
            "approval": random.one_of(&["Manual", "Automatic"]),
        });
        if random.chance(75) {
            schema.backfill = serde_json::from_value(backfill).ok();
        }
        if random.chance(75) {
            schema.contract = serde_json::from_value(contract).ok();
        }
    }

    /// What people do about them.
    pub fn script(&mut self) -> Vec<(i64, Action)> {
        if !self.drawn {
            return Vec::new();
        }
        let count = self.random.between(1, 6);
        (0..count)
            .map(|_| (self.random.between(100, BUSY - 100), self.action()))
            .collect()
    }

    fn action(&mut self) -> Action {
        let random = &mut self.random;
        let shop_db = || "shop-db".into();
        match random.below(10) {
            0..=4 => Action::Approve {
                database: shop_db(),
                right: random.chance(80),
            },
            5 => Action::Drop(shop_db()),
            6 => Action::Around(Circumstance::Consumer { version: None }),
            7 | 8 => {
                let version = random.chance(80).then(|| random.between(1, 4));
                Action::Around(Circumstance::Consumer {
                    version: Some(version),
                })
            }
            _ => Action::Command {
                rollout: "shop".into(),
                verb: "retry",
            },
        }
    }
}
