//! What comes after the release of a schema version, in random schedules: phases, approvals, and
//! who else uses the database. Drawn apart, so that what the others do stays the same.

use serde_json::json;

use super::{
    action::{Action, Circumstance},
    object::{Name, SQL_IMAGE},
    random::Random,
    scenarios::sql::text,
    setting::BUSY,
    setting::Telling,
    setting::{Behaviour, Migration, MigrationEnd, Setting},
    sql_ledger::Half,
};
use crate::api::{PhaseKind, RolloutSpec, SchemaSpec};

/// Sets them apart.
const VERSIONS: u64 = 0x5e1f_88d3_0000_0000;
/// Sets apart preflights and reverts.
const PHASES: u64 = 0x71d3_0c5a_0000_0000;
/// Sets apart what is SQL of it.
const SQL: u64 = 0x2c90_41b7_0000_0000;

/// Sets apart what contracts do to the code that is left.
const AROUND: u64 = 0x4d17_6ea2_0000_0000;

/// Sets apart what people say of what phases have left half-way.
const CLEAN: u64 = 0x63a8_1f0d_0000_0000;

/// What files of SQL hold, one time or another.
const TEXTS: [&str; 3] = ["DROP TABLE one", "DROP TABLE two", "DROP TABLE three"];

/// Files of SQL that phases name.
const FILES: [&str; 3] = ["expand.sql", "backfill.sql", "contract.sql"];

/// Every file is there.
pub(super) fn texts() -> impl Iterator<Item = Action> {
    FILES.into_iter().map(|key| text(key, Some(TEXTS[0])))
}

/// Its commands become files of SQL.
fn as_sql(schema: &mut SchemaSpec) {
    let from = json!({"connection": {"secretKeyRef": {"name": "ddl", "key": "uri"}}});
    schema.postgres = serde_json::from_value(from).ok();
    let phases = [
        schema.expand.as_mut().map(|expand| &mut expand.run),
        schema.backfill.as_mut().map(|backfill| &mut backfill.run),
        schema.contract.as_mut().map(|contract| &mut contract.run),
    ];
    for (phase, key) in phases.into_iter().zip(FILES) {
        if let Some(phase) = phase {
            let file = json!({"configMapKeyRef": {"name": "sql", "key": key}});
            phase.command.clear();
            phase.sql = serde_json::from_value(json!({"files": [file]})).ok();
        }
    }
}

/// One in two schedules has phases after the release.
#[derive(Debug)]
pub struct Versions {
    seed: u64,
    random: Random,
    drawn: bool,
    /// Its phases are SQL.
    sql: Option<Random>,
    /// It has preflights and reverts.
    phases: Option<Random>,
}

impl Versions {
    /// Those of a seed's schedule.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ VERSIONS);
        let drawn = random.chance(50);
        let mut sql = Random::new(seed ^ SQL);
        let sql = (drawn && sql.chance(40)).then_some(sql);
        let mut phases = Random::new(seed ^ PHASES);
        let phases = phases.chance(50).then_some(phases);
        Self {
            seed,
            random,
            drawn,
            sql,
            phases,
        }
    }

    /// How these phases go.
    pub(crate) fn behave(&mut self, setting: &mut Setting) {
        self.phases_behave(setting);
        if let Some(random) = &mut self.sql {
            let ends = [
                MigrationEnd::Succeeds,
                MigrationEnd::Succeeds,
                MigrationEnd::Refused,
                MigrationEnd::Unproven,
                MigrationEnd::Fails,
            ];
            let mut some = || Migration {
                seconds: random.between(1, 60),
                end: random
                    .one_of(&ends)
                    .copied()
                    .unwrap_or(MigrationEnd::Succeeds),
            };
            let last = Migration {
                seconds: 10,
                end: MigrationEnd::Succeeds,
            };
            let behaviour = Behaviour {
                migrations: PhaseKind::ALL.map(|kind| (kind, vec![some(), last])).into(),
                ..Behaviour::default()
            };
            setting.behaviours.insert(SQL_IMAGE.into(), behaviour);
            let telling = [
                Telling::Truth,
                Telling::Truth,
                Telling::Nothing,
                Telling::Nonsense,
            ];
            setting.telling = random.one_of(&telling).copied().unwrap_or_default();
        }
        let mut around = Random::new(self.seed ^ AROUND);
        for behaviour in setting.behaviours.values_mut() {
            if self.drawn && around.chance(20) {
                let percent = around.one_of(&[3.0, 20.0]).copied();
                behaviour.contract_hurts_percent = percent.unwrap_or(20.0);
            }
        }
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

    /// How preflights and reverts go.
    fn phases_behave(&mut self, setting: &mut Setting) {
        let Some(random) = &mut self.phases else {
            return;
        };
        for behaviour in setting.behaviours.values_mut() {
            for phase in [PhaseKind::Preflight, PhaseKind::Revert] {
                let ends = [
                    MigrationEnd::Succeeds,
                    MigrationEnd::Succeeds,
                    MigrationEnd::Fails,
                    MigrationEnd::NothingApplied,
                    MigrationEnd::Hangs,
                ];
                let end = random.one_of(&ends).copied();
                let first = Migration {
                    seconds: random.between(1, 100),
                    end: end.unwrap_or(MigrationEnd::Succeeds),
                };
                let then = Migration {
                    seconds: random.between(1, 30),
                    end: MigrationEnd::Succeeds,
                };
                behaviour.migrations.insert(phase, vec![first, then]);
            }
        }
    }

    /// A Rollout that is applied asks for them, mostly.
    fn ask_for_phases(&mut self, spec: &mut RolloutSpec) {
        let Some(random) = &mut self.phases else {
            return;
        };
        let Some(schema) = spec.schema.as_mut().filter(|s| s.expand.is_some()) else {
            return;
        };
        if random.chance(70) {
            let mut preflight = json!({"deadlineSeconds": random.between(20, 200)});
            if random.chance(80) {
                preflight["command"] = json!(["shop", "check"]);
            }
            if random.chance(30) {
                preflight["maxBackupAgeSeconds"] = json!(random.between(60, 900));
            }
            schema.preflight = serde_json::from_value(preflight).ok();
        }
        if schema.version.is_some() && random.chance(80) {
            let revert = json!({
                "command": ["shop", "revert"],
                "deadlineSeconds": 120,
                "when": random.one_of(&["AfterFailure", "AfterFailure", "Never"]),
                "approval": random.one_of(&["Manual", "Automatic", "Automatic"]),
            });
            schema.revert = serde_json::from_value(revert).ok();
        }
    }

    /// What people do about these.
    fn script_of_phases(&mut self) -> Vec<(i64, Action)> {
        let Some(random) = &mut self.phases else {
            return Vec::new();
        };
        let count = random.between(1, 5);
        let mut script = Vec::new();
        for _ in 0..count {
            let at = random.between(100, BUSY - 100);
            let action = match random.below(4) {
                0 => Action::Approve {
                    database: "shop-db".into(),
                    right: true,
                },
                1 => Action::Command {
                    rollout: "shop".into(),
                    verb: "undo",
                },
                _ => {
                    let ago = random.between(-200, 1200);
                    let seconds_ago = random.chance(90).then_some(ago);
                    Action::Around(Circumstance::Backup { seconds_ago })
                }
            };
            script.push((at, action));
        }
        script
    }

    /// A Rollout that is applied asks for what is drawn.
    pub fn ask(&mut self, spec: &mut RolloutSpec) {
        self.ask_for_phases(spec);
        self.ask_for_versions(spec);
    }

    /// For what runs after the release, mostly.
    fn ask_for_versions(&mut self, spec: &mut RolloutSpec) {
        let random = &mut self.random;
        let Some(schema) = spec.schema.as_mut().filter(|_| self.drawn) else {
            return;
        };
        let backfill = json!({
            "command": ["shop", "backfill"],
            "deadlineSeconds": 120,
            "keptBy": random.one_of(&["Code", "Trigger"]),
            "verify": {"command": ["shop", "verify"]},
            "exclusive": self.seed.is_multiple_of(4),
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
        if self.sql.is_some() && schema.version.is_some() {
            as_sql(schema);
        }
    }

    /// What people do about them.
    pub fn script(&mut self) -> Vec<(i64, Action)> {
        let mut script = self.script_of_phases();
        script.extend(self.script_of_versions());
        script.extend(self.cleaned());
        script
    }

    /// People put right what phases have left half-way, or say so.
    fn cleaned(&self) -> Vec<(i64, Action)> {
        let mut random = Random::new(self.seed ^ CLEAN);
        if !random.chance(30) {
            return Vec::new();
        }
        let times = 0..random.between(1, 3);
        times
            .map(|_| {
                (
                    random.between(200, BUSY - 50),
                    Action::Clean("shop-db".into()),
                )
            })
            .collect()
    }

    fn script_of_versions(&mut self) -> Vec<(i64, Action)> {
        if !self.drawn {
            return Vec::new();
        }
        let count = self.random.between(1, 6);
        let mut script: Vec<_> = (0..count)
            .map(|_| (self.random.between(100, BUSY - 100), self.action()))
            .collect();
        if let Some(random) = &mut self.sql {
            script.extend(texts().map(|action| (0, action)));
            let count = random.between(1, 5);
            script.extend((0..count).map(|_| {
                let key = random.one_of(&FILES).copied().unwrap_or("expand.sql");
                let to = random.one_of(&TEXTS).copied();
                let to = to.filter(|_| random.chance(80));
                (random.between(100, BUSY - 100), text(key, to))
            }));
            script.extend(restored(random));
        }
        script
    }

    fn action(&mut self) -> Action {
        let random = &mut self.random;
        let shop_db = || "shop-db".into();
        match random.below(10) {
            0..=4 => Action::Approve {
                database: shop_db(),
                right: random.chance(80),
            },
            5 if random.chance(50) => Action::LowerFloor(shop_db()),
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

/// Seldom one of a database and its record is restored without the other, and mostly a person says
/// then how far the database is.
fn restored(random: &mut Random) -> Vec<(i64, Action)> {
    if !random.chance(20) {
        return Vec::new();
    }
    let database: Name = "shop-db".into();
    let made = random.between(60, BUSY - 300);
    let back = random.between(made, BUSY - 200);
    let half = match random.chance(50) {
        true => Half::Record,
        false => Half::Database,
    };
    let mut script = vec![
        (made, Action::BackUp(database.clone())),
        (
            back,
            Action::RestoreHalf {
                database: database.clone(),
                half,
            },
        ),
    ];
    for _ in 0..random.between(0, 3) {
        let at = random.between(back, BUSY - 50);
        script.push((at, Action::Baseline(database.clone())));
    }
    script
}
