//! The Lease object: read into [`LeaseFacts`], written as merge patches of the fields that are ours.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::election::{LeaseFacts, Timing};

/// A Lease that cannot be read. It must be repaired or deleted by a person.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// Not an answer of an API server.
    #[error("the Lease has no metadata.{0}")]
    Incomplete(&'static str),
    /// Somebody wrote it by hand.
    #[error("the Lease has spec.leaseTransitions {0}, which is not a count; delete the Lease")]
    Transitions(i32),
}

/// Reads a Lease. A duration that is missing or not positive is taken as `timing`'s.
///
/// # Errors
///
/// When the object lacks what every stored object has, or counts below zero.
pub(crate) fn facts(lease: &Lease, timing: &Timing) -> Result<LeaseFacts, RecordError> {
    let uid = lease
        .metadata
        .uid
        .clone()
        .ok_or(RecordError::Incomplete("uid"))?;
    let resource_version = lease
        .metadata
        .resource_version
        .clone()
        .ok_or(RecordError::Incomplete("resourceVersion"))?;
    let spec = lease.spec.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    let duration = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(timing.duration(), Duration::from_secs);
    let made = lease
        .metadata
        .creation_timestamp
        .as_ref()
        .ok_or(RecordError::Incomplete("creationTimestamp"))?;
    Ok(LeaseFacts {
        made: made.0.as_second(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        epoch: u32::try_from(transitions).map_err(|_| RecordError::Transitions(transitions))?,
        duration,
        renewed: spec.renew_time.map(|time| time.0.as_microsecond()),
        resource_version,
        uid,
    })
}

/// The spec of a new term.
pub(crate) fn acquired(identity: &str, timing: &Timing, epoch: u32, wall: Timestamp) -> Value {
    json!({
        "holderIdentity": identity,
        "leaseDurationSeconds": timing.duration().as_secs(),
        "acquireTime": micro_time(wall),
        "renewTime": micro_time(wall),
        "leaseTransitions": epoch,
    })
}

/// What a renewal changes.
pub(crate) fn renewed(wall: Timestamp) -> Value {
    json!({ "renewTime": micro_time(wall) })
}

/// What giving the Lease back changes. The epoch stays, for the next holder to raise.
pub(crate) fn released(wall: Timestamp) -> Value {
    json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro_time(wall) })
}

/// A merge patch of the spec that the server refuses unless the object is still the one observed.
pub(crate) fn guarded(observed: &LeaseFacts, spec: Value) -> Value {
    json!({
        "metadata": { "uid": observed.uid, "resourceVersion": observed.resource_version },
        "spec": spec,
    })
}

/// A new Lease for [`kube::Api::create`].
///
/// # Errors
///
/// Never for values made by this module; serde's error is passed on.
pub(crate) fn created(name: &str, spec: Value) -> Result<Lease, serde_json::Error> {
    serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name },
        "spec": spec,
    }))
}

/// Kubernetes' MicroTime: exactly six digits after the point.
fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(spec: Value) -> Lease {
        serde_json::from_value(json!({
            "metadata": {
                "name": "stepgate", "uid": "u1", "resourceVersion": "7",
                "creationTimestamp": "2026-11-20T09:00:00Z",
            },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let timing = Timing::default();
        let wall: Timestamp = "2026-11-20T10:00:00.1234567Z".parse().unwrap();
        let read = facts(&stored(acquired("a", &timing, 8, wall)), &timing).unwrap();
        assert_eq!(read.holder.as_deref(), Some("a"));
        assert_eq!(read.epoch, 8);
        assert_eq!(read.rank(), 1_795_165_200_000_008);
        assert_eq!(read.duration, Duration::from_secs(15));
        assert_eq!(read.renewed, Some(wall.as_microsecond()));
        assert_eq!(
            (read.uid.as_str(), read.resource_version.as_str()),
            ("u1", "7")
        );
    }

    #[test]
    fn a_lease_given_back_has_no_holder() {
        let lease = stored(released(Timestamp::UNIX_EPOCH));
        let read = facts(&lease, &Timing::default()).unwrap();
        assert_eq!((read.holder, read.duration), (None, Duration::from_secs(1)));
    }

    #[test]
    fn an_empty_lease_can_be_read() {
        let read = facts(&stored(json!({})), &Timing::default()).unwrap();
        assert_eq!((read.holder, read.epoch), (None, 0));
        assert_eq!(read.duration, Timing::default().duration());
    }

    #[test]
    fn a_nonsensical_count_is_refused() {
        let lease = stored(json!({ "leaseTransitions": -3 }));
        assert_eq!(
            facts(&lease, &Timing::default()),
            Err(RecordError::Transitions(-3))
        );
    }

    #[test]
    fn every_update_names_the_object_and_its_version() {
        let observed = facts(&stored(json!({})), &Timing::default()).unwrap();
        let patch = guarded(&observed, renewed(Timestamp::UNIX_EPOCH));
        assert_eq!(
            patch["metadata"],
            json!({ "uid": "u1", "resourceVersion": "7" })
        );
        assert_eq!(patch["spec"]["renewTime"], "1970-01-01T00:00:00.000000Z");
    }
}
