//! Requests, as the API server logs them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use testbed::{Error, Result};

/// The operator's ServiceAccount.
const OPERATOR: &str = "system:serviceaccount:stepgate-system:stepgate";

/// One answered request; of a watch, its beginning.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The resource, with a subresource after a slash.
    pub resource: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of the object, of a created one too.
    pub name: String,
    /// The answer's status.
    pub code: u16,
    /// When the API server got it.
    pub received: Timestamp,
}

impl Request {
    /// Whether it writes. A Lease says only who is there.
    pub fn is_write(&self) -> bool {
        let reads = ["get", "list", "watch"];
        self.resource != "leases" && !reads.contains(&self.verb.as_str())
    }

    /// Whether the operator made it.
    pub fn is_operators(&self) -> bool {
        self.user == OPERATOR
    }

    /// What it is, for counting.
    pub fn kind(&self) -> String {
        let failed = match self.code {
            200..=299 => String::new(),
            code => format!(" (answered {code})"),
        };
        format!("{} {}{failed}", self.verb, self.resource)
    }
}

/// The log, from a point on.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    position: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<Object>,
    response_status: Option<Status>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: Option<String>,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Audit {
    /// The log of the cluster we are in, from now on.
    pub fn from_now() -> Result<Self> {
        let path = std::env::var_os("AUDIT_LOG").map(PathBuf::from);
        let path = path.ok_or_else(|| {
            Error::refused("AUDIT_LOG is not set: run this inside tests/programs/cluster's network")
        })?;
        let position = std::fs::metadata(&path).map(|m| m.len());
        let position = position.map_err(|error| cannot(&path, &error))?;
        Ok(Self { path, position })
    }

    /// What was logged since the last call.
    pub fn next(&mut self) -> Result<Vec<Request>> {
        let mut text = Vec::new();
        let mut read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.position))?;
            file.read_to_end(&mut text)
        };
        read().map_err(|error| cannot(&self.path, &error))?;
        let end = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        text.truncate(end);
        self.position += end as u64;
        let lines = text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
        let requests = lines.map(parse).collect::<std::result::Result<Vec<_>, _>>();
        let requests = requests.map_err(|error| cannot(&self.path, &error))?;
        Ok(requests.into_iter().flatten().collect())
    }

    /// Everybody's requests until the operator has written nothing for `quiet`.
    ///
    /// # Errors
    /// When it goes on for longer than `limit`.
    pub async fn until_quiet(&mut self, quiet: Duration, limit: Duration) -> Result<Vec<Request>> {
        self.until_quiet_of(OPERATOR, quiet, limit).await
    }

    /// The same of whatever user.
    ///
    /// # Errors
    /// As [`Audit::until_quiet`].
    pub async fn until_quiet_of(
        &mut self,
        user: &str,
        quiet: Duration,
        limit: Duration,
    ) -> Result<Vec<Request>> {
        let began = Instant::now();
        let mut last = began;
        let mut all = Vec::new();
        while last.elapsed() < quiet {
            let new = self.next()?;
            if new.iter().any(|r| r.user == user && r.is_write()) {
                last = Instant::now();
            }
            all.extend(new);
            if began.elapsed() > limit {
                let what = format!("{user} to have written all");
                return Err(Error::NotInTime { what, limit });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(all)
    }
}

fn cannot(path: &std::path::Path, error: &dyn std::fmt::Display) -> Error {
    Error::refused(format!("the audit log {}: {error}", path.display()))
}

/// `None`: a stage of a request that is logged at another stage too.
fn parse(line: &[u8]) -> std::result::Result<Option<Request>, serde_json::Error> {
    let Line {
        stage,
        verb,
        user,
        object_ref,
        response_status,
        request_received_timestamp,
    } = serde_json::from_slice(line)?;
    // A watch is answered when it ends, which may be after the measurement.
    let counted = if verb == "watch" {
        "ResponseStarted"
    } else {
        "ResponseComplete"
    };
    let object = object_ref.unwrap_or_default();
    Ok((stage == counted).then(|| Request {
        user: user.username,
        verb,
        resource: match object.subresource {
            Some(sub) => format!("{}/{sub}", object.resource),
            None => object.resource,
        },
        namespace: object.namespace,
        name: object.name,
        code: response_status.map_or(0, |s| s.code),
        received: request_received_timestamp,
    }))
}

/// Whether a request is the operator's, and neither of its Lease nor the beginning of a watch.
pub fn is_counted(request: &Request) -> bool {
    request.is_operators() && request.resource != "leases" && request.verb != "watch"
}

/// How many of each kind, the most frequent first, as `12 update rollouts/status, …`.
pub fn counts<'a>(requests: impl IntoIterator<Item = &'a Request>) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests {
        *kinds.entry(request.kind()).or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    match kinds.len() {
        0 => "none".into(),
        _ => words.collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A request `at` so many milliseconds; the operator's when there is no user.
    pub fn request(user: &str, kind: &str, namespace: &str, name: &str, at: i64) -> Request {
        let (verb, resource) = kind.split_once(' ').unwrap();
        let user = if user.is_empty() { OPERATOR } else { user };
        let at = Timestamp::from_millisecond(at).unwrap();
        Request {
            user: user.into(),
            verb: verb.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            code: 200,
            received: at,
        }
    }

    const COMPLETE: &str = r#"{"kind":"Event","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/x","verb":"update","user":{"username":"u","uid":"1","groups":[]},"sourceIPs":["10.88.0.1"],"userAgent":"x","objectRef":{"resource":"rollouts","namespace":"n","name":"hello","apiGroup":"stepgate.io","apiVersion":"v1alpha1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-21T01:41:38.841996Z","stageTimestamp":"2026-11-21T01:41:38.845996Z","annotations":{}}"#;

    #[test]
    fn a_request_is_counted_once() {
        let parse = |line: &str| parse(line.as_bytes()).unwrap();
        let request = parse(COMPLETE).unwrap();
        assert_eq!(request.kind(), "update rollouts/status");
        assert!(request.is_write());
        assert!(parse(&COMPLETE.replace("ResponseComplete", "ResponseStarted")).is_none());
        let watch = COMPLETE.replace("\"update\"", "\"watch\"");
        assert!(parse(&watch).is_none());
        let watch = parse(&watch.replace("ResponseComplete", "ResponseStarted")).unwrap();
        assert!(!watch.is_write());
        let conflict = parse(&COMPLETE.replace("200}", "409}")).unwrap();
        let all = [request.clone(), request, conflict];
        assert_eq!(
            counts(&all),
            "2 update rollouts/status, 1 update rollouts/status (answered 409)"
        );
    }
}
