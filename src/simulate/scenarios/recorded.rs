//! A DatabaseSchema, or its database, is restored from a backup, and the other is not.

use super::sql::{RELEASED, version_2, with_sql};
use crate::simulate::{
    action::Action,
    object::Name,
    scenario::{Scenario, apply, command, release, shop},
    sql_ledger::Half,
};

fn shop_db() -> Name {
    "shop-db".into()
}

fn restore(half: Half) -> Action {
    Action::RestoreHalf {
        database: shop_db(),
        half,
    }
}

/// Version 3, whose phases are SQL too.
fn version_3() -> Action {
    apply(with_sql(shop("v3", 4, Some(3)), "Automatic"))
}

/// When version 2 has its contract behind it.
const CONTRACTED: i64 = RELEASED + 400;

pub(super) fn recorded() -> Vec<Scenario> {
    vec![
        // Made before version 2: what its contract removed is not on record any more.
        version_2("a-record-older-than-its-database", "Automatic")
            .then(30, Action::BackUp(shop_db()))
            .then(CONTRACTED, restore(Half::Record))
            .then(CONTRACTED + 30, version_3())
            .then(CONTRACTED + 120, Action::Baseline(shop_db()))
            .then(CONTRACTED + 150, command("retry"))
            .lasts(2200),
        // Of the time of version 1: version 2 is to be expanded again.
        version_2("a-database-older-than-its-record", "Automatic")
            .then(30, Action::BackUp(shop_db()))
            .then(CONTRACTED, restore(Half::Database))
            .then(CONTRACTED + 30, version_3())
            .then(CONTRACTED + 120, Action::Baseline(shop_db()))
            .then(CONTRACTED + 150, release("v4", Some(2)))
            .lasts(2200),
        // A retry alone finds the same.
        version_2("a-record-that-disagrees-is-not-retried-away", "Automatic")
            .then(30, Action::BackUp(shop_db()))
            .then(CONTRACTED, restore(Half::Record))
            .then(CONTRACTED + 30, version_3())
            .then(CONTRACTED + 120, command("retry"))
            .lasts(1500),
        // An empty record is a baseline.
        version_2("a-record-that-is-gone-begins-anew", "Automatic")
            .then(CONTRACTED, Action::DeleteDatabase(shop_db()))
            .then(CONTRACTED + 30, version_3())
            .lasts(2200),
    ]
}
