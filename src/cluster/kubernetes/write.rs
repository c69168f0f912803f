//! Each write as the one request that does it.
//!
//! Updates carry uid and resourceVersion in their body, so that the API server refuses them when
//! the object is no longer the one that was read.

use hyper::{Method, Request, header::CONTENT_TYPE};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    batch::v1::Job,
    core::v1::{ConfigMap, Service},
};
use kube::{Resource, api::DynamicObject};
use serde_json::{Map, Value, json};

use super::{facts::manager, routes::resource};
use crate::{
    api::{DatabaseSchema, Rollout, keys},
    plan::{
        facts::Base,
        intent::{Kind, Write},
    },
};

const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

/// What the API server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The Rollout.
    Rollout,
    /// An object of this kind.
    Object(Kind),
    /// A Deployment of somebody else.
    Adopted,
    /// Nothing that is of interest.
    Nothing,
}

/// A request, and what is needed to read its answer.
#[derive(Debug)]
pub struct Prepared {
    /// Whether it creates.
    pub creates: bool,
    /// What the answer holds.
    pub answered: Answered,
    /// Method, path and body.
    pub request: Request<Vec<u8>>,
}

/// The request for a write.
///
/// # Errors
/// When the write has no request form: a name that fits in no path.
pub fn prepare(namespace: &str, write: &Write) -> Result<Prepared, hyper::http::Error> {
    let target = Target { namespace };
    match write {
        Write::RecordStatus { base, status } => {
            // A PUT, so that what is left out is removed. The API server takes nothing but the
            // status from it.
            let body = json!({
                "apiVersion": keys::API_VERSION,
                "kind": Rollout::kind(&()),
                "metadata": {
                    "namespace": namespace,
                    "name": base.name,
                    "uid": base.uid,
                    "resourceVersion": base.resource_version,
                },
                "status": status,
            });
            let collection = Rollout::url_path(&(), Some(namespace));
            let path = format!("{collection}/{}/status?{MANAGER}", base.name);
            Ok(Prepared {
                creates: false,
                answered: Answered::Rollout,
                request: request(Method::PUT, &path, JSON, &body)?,
            })
        }
        Write::Create { kind, manifest } => target.create(*kind, manifest),
        Write::MarkRevision {
            base,
            outcome,
            reason,
            number,
        } => {
            let reason = outcome.map(|_| reason);
            let annotations = json!({keys::OUTCOME: outcome, keys::OUTCOME_REASON: reason});
            let mut change = json!({"metadata": {"annotations": annotations}});
            if let Some(number) = number {
                change["revision"] = json!(number);
            }
            target.merge(Kind::Revision, base, change)
        }
        Write::Adopt { kind, base, owner } => {
            let change = json!({"metadata": {"ownerReferences": owner}});
            target.merge(*kind, base, change)
        }
        Write::Scale {
            base,
            from,
            to,
            template,
        } => {
            let mut change = json!({"spec": {"replicas": to}});
            if let Some(template) = template {
                change["metadata"]["annotations"][keys::TEMPLATE] = json!(&**template);
            }
            if from == to {
                // It settles what an unanswered write may have left. The API server gives an
                // update that changes nothing no new resourceVersion, and then a late one would
                // still be accepted.
                change["metadata"]["annotations"][keys::SETTLED] = json!(base.resource_version);
            }
            target.merge(Kind::Deployment, base, change)
        }
        Write::Resize {
            base,
            epoch,
            to,
            settles,
            ..
        } => {
            let manager = manager(*epoch, settles.then_some(&base.resource_version));
            let body = json!({
                "apiVersion": Kind::Deployment.api_version(),
                "kind": Kind::Deployment.name(),
                "metadata": {
                    "name": base.name,
                    "uid": base.uid,
                    "resourceVersion": base.resource_version,
                },
                "spec": {"replicas": to},
            });
            let collection = target.collection(Kind::Deployment);
            // By force: whoever else owns the replicas is found out by this, and not by a conflict.
            let path = format!(
                "{collection}/{}?fieldManager={manager}&force=true",
                base.name
            );
            Ok(Prepared {
                creates: false,
                answered: Answered::Adopted,
                request: request(Method::PATCH, &path, APPLY, &body)?,
            })
        }
        Write::Finalize { base, finalizers } => {
            let change = json!({"metadata": {
                "finalizers": finalizers,
                "uid": base.uid,
                "resourceVersion": base.resource_version,
            }});
            let collection = Rollout::url_path(&(), Some(namespace));
            let path = format!("{collection}/{}?{MANAGER}", base.name);
            Ok(Prepared {
                creates: false,
                answered: Answered::Rollout,
                request: request(Method::PATCH, &path, MERGE, &change)?,
            })
        }
        Write::Fence { kind, base, epoch } => {
            let labels = json!({keys::EPOCH: epoch.to_string()});
            target.merge(*kind, base, json!({"metadata": {"labels": labels}}))
        }
        Write::RecordDatabase {
            base,
            record,
            finalizers,
        } => {
            // `record` is replaced as a whole: a merge would keep what is left out.
            let add = json!([
                {"op": "add", "path": "/record", "value": record},
                {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
            ]);
            target.json_patch(Kind::Database, base, add)
        }
        Write::ReleaseJob { base } => {
            target.merge(Kind::Job, base, json!({"spec": {"suspend": false}}))
        }
        Write::Select {
            base,
            spec,
            settles,
            ..
        } => {
            // What is replaced is replaced as a whole: a merge would keep what is left out.
            let fields = [
                "selector",
                "ports",
                "sessionAffinity",
                "sessionAffinityConfig",
            ];
            let mut add: Vec<Value> = fields
                .iter()
                .map(|field| json!({"op": "add", "path": format!("/spec/{field}"), "value": spec[field]}))
                .collect();
            if *settles {
                // As for a scaling that settles another. A label, because these are there already,
                // and annotations of others are not to be replaced.
                let path = format!("/metadata/labels/{}", keys::SETTLED.replace('/', "~1"));
                add.push(json!({"op": "add", "path": path, "value": base.resource_version}));
            }
            target.json_patch(Kind::Service, base, Value::Array(add))
        }
        Write::Weigh {
            kind,
            base,
            weights,
            ..
        } => {
            // A weight that is left out in the route is added.
            let add = weights
                .iter()
                .map(|(pointer, weight)| json!({"op": "add", "path": pointer, "value": weight}));
            target.json_patch(*kind, base, add.collect())
        }
        Write::Flags { base, change } => target.merge(Kind::ConfigMap, base, (**change).clone()),
        Write::Delete { kind, base } => target.delete(*kind, base),
    }
}

const MANAGER: &str = "fieldManager=stepgate";

struct Target<'a> {
    namespace: &'a str,
}

impl Target<'_> {
    fn create(&self, kind: Kind, manifest: &Value) -> Result<Prepared, hyper::http::Error> {
        // Strict: a field that the API server does not know, or a word misspelt in a pod
        // template, is an error with the field's name and not silently dropped.
        let path = format!("{}?{MANAGER}&fieldValidation=Strict", self.collection(kind));
        Ok(Prepared {
            creates: true,
            answered: Answered::Object(kind),
            request: request(Method::POST, &path, JSON, manifest)?,
        })
    }

    fn merge(
        &self,
        kind: Kind,
        base: &Base,
        mut change: Value,
    ) -> Result<Prepared, hyper::http::Error> {
        let metadata = &mut change["metadata"];
        if metadata.is_null() {
            *metadata = Value::Object(Map::new());
        }
        metadata["uid"] = json!(base.uid);
        metadata["resourceVersion"] = json!(base.resource_version);
        self.patch(kind, base, MERGE, &change)
    }

    fn json_patch(
        &self,
        kind: Kind,
        base: &Base,
        change: Value,
    ) -> Result<Prepared, hyper::http::Error> {
        // Written, not tested: a test that fails is answered like a malformed request.
        let mut patch = vec![
            json!({"op": "replace", "path": "/metadata/uid", "value": base.uid}),
            json!({"op": "replace", "path": "/metadata/resourceVersion", "value": base.resource_version}),
        ];
        if let Value::Array(change) = change {
            patch.extend(change);
        }
        self.patch(kind, base, JSON_PATCH, &Value::Array(patch))
    }

    fn patch(
        &self,
        kind: Kind,
        base: &Base,
        content: &str,
        body: &Value,
    ) -> Result<Prepared, hyper::http::Error> {
        let path = format!("{}/{}?{MANAGER}", self.collection(kind), base.name);
        Ok(Prepared {
            creates: false,
            answered: Answered::Object(kind),
            request: request(Method::PATCH, &path, content, body)?,
        })
    }

    fn delete(&self, kind: Kind, base: &Base) -> Result<Prepared, hyper::http::Error> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": base.uid, "resourceVersion": base.resource_version},
            "propagationPolicy": "Background",
        });
        let path = format!("{}/{}", self.collection(kind), base.name);
        Ok(Prepared {
            creates: false,
            answered: Answered::Nothing,
            request: request(Method::DELETE, &path, JSON, &options)?,
        })
    }

    fn collection(&self, kind: Kind) -> String {
        let namespace = Some(self.namespace);
        match kind {
            Kind::Revision => ControllerRevision::url_path(&(), namespace),
            Kind::Deployment => Deployment::url_path(&(), namespace),
            Kind::Job => Job::url_path(&(), namespace),
            Kind::Database => DatabaseSchema::url_path(&(), namespace),
            Kind::Service => Service::url_path(&(), namespace),
            Kind::HttpRoute | Kind::GrpcRoute | Kind::VirtualService => {
                DynamicObject::url_path(&resource(kind), namespace)
            }
            Kind::ConfigMap => ConfigMap::url_path(&(), namespace),
        }
    }
}

fn request(
    method: Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Request<Vec<u8>>, hyper::http::Error> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, content)
        .body(as_the_server_writes(&body.to_string()).into_bytes())
}

/// JSON text with the escapes that the API server itself writes. It keeps a ControllerRevision's
/// `data` as the bytes it was sent, rewrites them when it patches anything else of the object,
/// and refuses the patch if they differ: a `>` in a command would forbid every later mark.
fn as_the_server_writes(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            // These stand in strings only, so the text can be taken letter by letter.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaling_that_settles_another_always_changes_something() {
        let body = |from, to| {
            let base = Base {
                name: "shop-r1".into(),
                uid: "u1".into(),
                resource_version: "7".into(),
            };
            let template = (from < to).then(|| "hash".into());
            let write = Write::Scale {
                base,
                from,
                to,
                template,
            };
            let prepared = prepare("default", &write).unwrap();
            serde_json::from_slice::<Value>(prepared.request.body()).unwrap()
        };
        assert_eq!(
            body(0, 1)["metadata"]["annotations"][keys::TEMPLATE],
            "hash"
        );
        assert_eq!(body(5, 5)["metadata"]["annotations"][keys::SETTLED], "7");
        assert_eq!(body(5, 2)["metadata"].get("annotations"), None);
        assert_eq!(body(5, 2)["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn kinds_are_called_as_in_the_api() {
        fn is<R: Resource<DynamicType = ()>>(kind: Kind) {
            assert_eq!(kind.name(), R::kind(&()));
            assert_eq!(kind.api_version(), R::api_version(&()));
        }
        is::<ControllerRevision>(Kind::Revision);
        is::<Deployment>(Kind::Deployment);
        is::<Job>(Kind::Job);
        is::<DatabaseSchema>(Kind::Database);
        is::<Service>(Kind::Service);
        is::<ConfigMap>(Kind::ConfigMap);
        assert_eq!(keys::API_VERSION, Rollout::api_version(&()));
    }
}
