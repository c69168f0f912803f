//! The rules that no crash, order or lie of the world may break, each a function of its own,
//! checked after every event.
//!
//! They are judged against what the plan could have seen and against the operator's own accepted
//! writes: a pod that dies by itself is nobody's breach.

mod adopted;
mod around;
mod carried;
mod evidence;
mod flags;
mod heard;
mod left;
mod memory;
mod order;
mod people;
mod permission;
mod phases;
mod pods;
mod recorded;
mod replicas;
mod schema;
mod soak;
mod steady;
mod tables;
mod tests;
mod traffic;
mod undo;
mod writes;

use super::{
    ledger::{Arrival, Happened},
    object::Object,
    world::World,
};
use crate::plan::intent::Write;

/// A rule: why what happened breaks it, if it does.
pub type Rule = fn(&World, &Happened) -> Result<(), String>;

/// All rules by name.
pub(crate) const RULES: &[(&str, Rule)] = &[
    ("floor", replicas::floor),
    ("served", replicas::served),
    ("ceiling", replicas::ceiling),
    ("settled", replicas::settled),
    ("switch", traffic::switch),
    ("traffic-first", traffic::traffic_first),
    ("unserved", traffic::unserved),
    ("weight", traffic::weight),
    ("carried", carried::carried),
    ("batches", replicas::batches),
    ("steady", steady::steady),
    ("waits", steady::waits),
    ("whole", pods::whole),
    ("silent", pods::silent),
    ("record-first", writes::record_first),
    ("schema-first", tables::schema_first),
    ("needed", tables::needed),
    ("rows", tables::rows),
    ("approved", tables::approved),
    ("once", schema::once),
    ("order", order::order),
    ("ramp", flags::ramp),
    ("flag-first", flags::flag_first),
    ("flag-by-hand", flags::by_hand),
    ("frozen", flags::frozen),
    ("allowed", permission::allowed),
    ("upward", permission::upward),
    ("dirty", schema::dirty),
    ("alone", permission::alone),
    ("contract-last", schema::contract_last),
    ("backfill-first", schema::backfill_first),
    ("soak", soak::soak),
    ("around", around::around),
    ("lowered", around::lowered),
    ("recorded", recorded::recorded),
    ("preflight", phases::preflight),
    ("revert", phases::revert),
    ("tested-once", tests::once),
    ("tested", tests::tested),
    ("evidence", evidence::evidence),
    ("clock", evidence::clock),
    ("no-retry", writes::no_retry),
    ("memory", memory::memory),
    ("undo", undo::undo),
    ("told", people::told),
    ("heard", heard::heard),
    ("refused", people::refused),
    ("adopted", adopted::adopted),
    ("hands-off", writes::hands_off),
    ("fenced", writes::fenced),
    ("poison", writes::poison),
];

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule} is broken: {message}")]
pub struct Broken {
    /// Which.
    pub rule: &'static str,
    /// What happened.
    pub message: String,
}

impl World {
    /// Judges what happened in the last event, then takes it into the ledger.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(crate) fn judge(&mut self) -> Result<(), Broken> {
        let happened = std::mem::take(&mut self.happened);
        for one in &happened {
            let rewound = !self.ledger.rewound.is_empty();
            for (rule, holds) in RULES {
                if rewound && recorded::SPARED.contains(rule) {
                    continue;
                }
                holds(self, one).map_err(|message| Broken { rule, message })?;
            }
            if let Some(arrival) = one.accepted() {
                self.enter(arrival);
            }
        }
        Ok(())
    }

    /// What a later rule needs to know of an accepted write.
    fn enter(&mut self, arrival: &Arrival) {
        match (&*arrival.write, &arrival.before, &arrival.after) {
            (Write::Scale { .. } | Write::Resize { .. }, _, Some(Object::Deployment(child))) => {
                let epoch = self.ledger.epochs.entry(child.rollout.clone()).or_default();
                *epoch = (*epoch).max(arrival.epoch);
                replicas::enter(self, arrival, child);
            }
            (Write::Select { .. }, _, Some(Object::Service(service))) => {
                if let Some(rollout) = service.rollout.clone() {
                    let epoch = self.ledger.epochs.entry(rollout).or_default();
                    *epoch = (*epoch).max(arrival.epoch);
                }
                traffic::enter(self, arrival);
            }
            (Write::ReleaseJob { .. }, _, Some(Object::Job(job))) => {
                let epoch = self.ledger.epochs.entry(job.rollout.clone()).or_default();
                *epoch = (*epoch).max(arrival.epoch);
                match job.test {
                    Some(_) => tests::enter(self, job),
                    None => schema::enter(self, job),
                }
            }
            (Write::RecordDatabase { record, .. }, Some(Object::Database(before)), _) => {
                let now = self.now;
                tables::enter(&mut self.ledger, before, record, now);
            }
            (
                Write::RecordStatus { .. },
                Some(Object::Rollout(before)),
                Some(Object::Rollout(after)),
            ) => {
                let written = (arrival.life, after.meta.name.clone());
                self.ledger.status_written.insert(written, arrival.sent);
                writes::enter(&mut self.ledger, before, after);
                people::enter(&mut self.ledger, before, after);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod page {
    // What a test gives up on ends the test.
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::RULES;

    /// Every rule has its line in the design, and every line there its rule. *progress* is a play of
    /// its own.
    #[test]
    fn the_design_names_every_rule() {
        let page = include_str!("../../../docs/design.md");
        let (_, section) = page.split_once("\n## 5. ").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let lines = section.lines().filter_map(|line| line.strip_prefix("**"));
        let named: Vec<_> = lines
            .filter_map(|line| Some(line.split_once("** – ")?.0))
            .collect();
        let rules = RULES.iter().map(|(name, _)| *name).chain(["progress"]);
        assert_eq!(
            named.iter().copied().collect::<BTreeSet<_>>(),
            rules.collect()
        );
        assert_eq!(named.len(), RULES.len() + 1, "one line each");
    }
}
