//! When what is on record of a flag is in its ConfigMap, and when it has reached the pods.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    file::Found,
    known::{REACHES_PODS_WITHIN, asked, found, is_written, with},
};
use crate::api::flags::FlagState;
use crate::plan::{
    decision::Decision,
    draft::{Draft, later, whole_second},
};

/// By when every pod has what was just written.
pub(super) fn reaches_pods(draft: &Draft<'_>) -> Timestamp {
    later(
        whole_second(draft.now.max(draft.seen.looked)),
        REACHES_PODS_WITHIN,
    )
}

/// The next decision about when flags reach the pods: so long after they are written. What a
/// ConfigMap has lost begins anew with the next write.
pub(super) fn reach(draft: &Draft<'_>) -> Option<Decision> {
    draft.status.flags.iter().find_map(|known| {
        let ended = matches!(known.state, FlagState::On | FlagState::TakenBack);
        if !(ended || known.state == FlagState::Ramping) || asked(draft, &known.key).is_none() {
            return None;
        }
        // What cannot be read says nothing.
        let is_there = match found(draft, &known.config_map, &known.key)? {
            Found::AsWritten(note) => note.percent == known.percent,
            _ => false,
        };
        let (key, map) = (&known.key, &known.config_map);
        let mut next = known.clone();
        let note = match &known.reaches_pods_by {
            None if ended && is_written(draft, known) => {
                next.reaches_pods_by = Some(Time(reaches_pods(draft)));
                match known.state {
                    FlagState::On => format!("flag {key} is in ConfigMap {map}, on for everybody"),
                    _ => format!("flag {key} is in ConfigMap {map}, off for everybody"),
                }
            }
            Some(_) if !is_there => {
                next.reaches_pods_by = None;
                format!("flag {key} is to be written to ConfigMap {map}")
            }
            _ => return None,
        };
        Some(with(draft, next).note(note))
    })
}
