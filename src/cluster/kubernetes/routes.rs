//! Routes, read live: they belong to others, may be of kinds that the cluster does not know, and are
//! of interest only while a release makes use of them.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};

use super::{facts, read::unread, refusal};
use crate::{
    api::{name::is_object_name, traffic::RouteRef},
    cluster::ReadError,
    plan::{
        intent::Kind,
        routes::{RouteFacts, RoutesAsked, facts::Unusable},
    },
};

/// How long one route is waited for: what serves them may be down, and no pass stands for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// What these routes do with the requests.
///
/// # Errors
/// When the API server gave no answer.
pub async fn read(
    client: &Client,
    namespace: &str,
    asked: &RoutesAsked,
) -> Result<Vec<RouteFacts>, ReadError> {
    let mut routes = Vec::with_capacity(asked.routes.len());
    for route in &asked.routes {
        routes.push(one(client, namespace, asked, route).await?);
    }
    Ok(routes)
}

async fn one(
    client: &Client,
    namespace: &str,
    asked: &RoutesAsked,
    route: &RouteRef,
) -> Result<RouteFacts, ReadError> {
    let unusable = |why| {
        Ok(RouteFacts {
            asked: route.clone(),
            found: Err(why),
        })
    };
    // A name becomes part of a path, and what is on record may have been written by hand.
    if !is_object_name(&route.name) {
        return unusable(Unusable::Missing);
    }
    let api = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        namespace,
        &resource(route.kind.into()),
    );
    let answer = tokio::time::timeout(PATIENCE, api.get(&route.name)).await;
    let Ok(answer) = answer else {
        return Err(ReadError {
            what: route.to_string(),
            message: format!("no answer within {} s", PATIENCE.as_secs()),
        });
    };
    match answer {
        Ok(object) => {
            let base = facts::base(&object.metadata);
            let mut whole = object.data;
            whole["metadata"] = serde_json::json!({"generation": object.metadata.generation});
            Ok(asked.read(route, base, &whole))
        }
        // Of a kind that is not known the API server cannot say which object it is.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let named = status
                .details
                .as_ref()
                .is_some_and(|d| d.name == route.name);
            unusable(match named {
                true => Unusable::Missing,
                false => Unusable::UnknownKind,
            })
        }
        Err(error @ kube::Error::Api(_)) if is_forbidden(&error) => {
            unusable(Unusable::Forbidden(refusal::words(&error)))
        }
        Err(error) => Err(unread(&route.to_string(), &error)),
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Where objects of a kind of route stand in the API.
pub(super) fn resource(kind: Kind) -> ApiResource {
    let (group, version) = kind.api_version().split_once('/').unwrap_or_default();
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.name()))
}
