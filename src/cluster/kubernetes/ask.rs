//! Live reads, for what no cache holds.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{ControllerRevision, Deployment},
        batch::v1::Job,
        core::v1::{ConfigMap, Pod, Secret},
    },
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, LogParams},
};
use serde::de::DeserializeOwned;

use super::{
    facts,
    index::Index,
    ours, progress,
    read::{in_time, list, pods_of, unread},
    redact::redacted,
    refusal, routes,
    stored::{self, Pods},
    users,
};
use crate::{
    api::{
        DatabaseSchema, Rollout, keys,
        name::is_object_name,
        sql::{FILE_BYTES, KeyRef},
        text::bounded,
    },
    cluster::{Answer, Hold, Key, ReadError},
    plan::{
        facts::{ConfigFacts, ConfigRef, JobLog, Overlap, PodOfJob, Question, Text, Texts},
        flags::file::ConfigMapFacts,
        revision::{Wanted, sha256},
    },
};

/// What is kept of a log.
const LOG_LINES: i64 = 10;
const LOG_BYTES: usize = 1024;

/// Answers a question about a Rollout or DatabaseSchema.
///
/// # Errors
/// When the API server gave no answer.
pub async fn answer(
    client: &Client,
    index: &Index,
    key: &Key,
    question: &Question,
) -> Result<Answer, ReadError> {
    let (namespace, name) = (key.namespace(), key.name());
    match question {
        Question::Rollout(name) => rollout(client, namespace, name).await,
        Question::Template(name) => template(client, namespace, name).await,
        Question::Overlaps(spec) => {
            let overlaps = overlaps(client, index, namespace, name, spec).await;
            overlaps.map(Answer::Overlaps)
        }
        Question::Deployment(name) => {
            let api = Api::<Deployment>::namespaced(client.clone(), namespace);
            let found = match is_object_name(name) {
                true => api.get_opt(name).await,
                false => Ok(None),
            };
            let found = found.map_err(|error| unread(&question.to_string(), &error))?;
            let found = found.map(|found| Arc::new(facts::deployment(&found)));
            Ok(Answer::Deployment(found))
        }
        Question::Revisions => revisions(client, namespace, name).await,
        Question::Hold(database) => hold(client, namespace, database).await,
        Question::Users(database) => {
            let users = users::of(client, namespace, database).await;
            users.map(Answer::Users)
        }
        Question::Routes(asked) => {
            let routes = routes::read(client, namespace, asked).await;
            routes.map(Answer::Routes)
        }
        Question::Config(refs) => look_for(client, namespace, refs).await.map(Answer::Config),
        Question::Texts(keys) => texts(client, namespace, keys).await.map(Answer::Texts),
        Question::Job(name) => {
            if !is_object_name(name) {
                return Ok(Answer::Job(None));
            }
            let job = Api::<Job>::namespaced(client.clone(), namespace);
            let job = job.get_opt(name).await;
            let job = job.map_err(|error| unread(&question.to_string(), &error))?;
            Ok(Answer::Job(job.map(|job| facts::job(&job).into())))
        }
        Question::JobLog(job) => {
            let log = in_time(job_log(client, namespace, job)).await;
            // A log only adds to a message: nothing may fail because there is none.
            Ok(Answer::JobLog(
                log.map_or_else(JobLog::Unread, JobLog::Ends),
            ))
        }
        Question::Flags(name) => {
            let map = in_time(flags(client, namespace, name)).await;
            let what = question.to_string();
            let map = map.map_err(|message| ReadError { what, message })?;
            Ok(Answer::Flags(map))
        }
        Question::Progress(job, uid) => Ok(Answer::Progress(
            progress::of_job(client, namespace, job, uid).await,
        )),
        Question::JobPod(job) => {
            let pod = in_time(job_pod(client, namespace, job)).await;
            let unread = |error| PodOfJob::that_waits(format!("its pod cannot be read: {error}"));
            let pod = pod.unwrap_or_else(unread);
            Ok(Answer::JobPod(pod))
        }
    }
}

/// A ConfigMap of flags.
async fn flags(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Box<ConfigMapFacts>>, String> {
    if !is_object_name(name) {
        return Err(format!("{name:?} is no name of a ConfigMap"));
    }
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let map = api.get_opt(name).await;
    let map = map.map_err(|error| refusal::words(&error))?;
    Ok(map.map(|map| facts::config_map(map).into()))
}

/// The Deployments that are not this Rollout's and would share pods with it: those that
/// are no Rollout's, whatever their labels say, and those that Rollouts have left behind. Those of
/// other Rollouts are not read, or many Rollouts in a namespace would all read each other's; the
/// Rollouts themselves are compared (see [`Objects::neighbours`](crate::plan::facts::Objects)).
async fn overlaps(
    client: &Client,
    index: &Index,
    namespace: &str,
    rollout: &str,
    spec: &Wanted,
) -> Result<Vec<Overlap>, ReadError> {
    let pods = Pods::of(rollout, spec);
    let overlaps = |d: Deployment| {
        let child = facts::child(&d);
        let theirs = Pods {
            labels: facts::template_labels(&d),
            selector: facts::selector(&d)?,
        };
        pods.overlap(&theirs).then_some(Overlap {
            empty: child.replicas == 0 && child.status_replicas == 0,
            deployment: child.base.name,
        })
    };
    let api = Api::<Deployment>::namespaced(client.clone(), namespace);
    let foreign = format!("!{}", keys::ROLLOUT);
    let mut names = list(&api, &foreign, "Deployments", overlaps).await?;
    let mut missing = index.missing_rollouts(namespace);
    missing.remove(rollout);
    if !missing.is_empty() || index.has_foreign_children(namespace) {
        let not_ours = |d: Deployment| {
            let left_behind = missing.contains(&ours::label(&d.metadata, keys::ROLLOUT));
            (left_behind || !ours::is_child(&d)).then(|| overlaps(d))?
        };
        names.extend(list(&api, keys::ROLLOUT, "Deployments", not_ours).await?);
    }
    Ok(names)
}

/// The Rollout as it is, read as untyped as the watch reads it: it may not be readable.
async fn rollout(client: &Client, namespace: &str, name: &str) -> Result<Answer, ReadError> {
    let of = ApiResource::erase::<Rollout>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &of);
    let live = api.get_opt(name).await;
    let live = live.map_err(|error| unread(&format!("Rollout {name}"), &error))?;
    let live = live.map(|object| stored::live(&object).into());
    Ok(Answer::Rollout(live))
}

async fn template(client: &Client, namespace: &str, name: &str) -> Result<Answer, ReadError> {
    let api = Api::<ControllerRevision>::namespaced(client.clone(), namespace);
    let live = api.get_opt(name).await;
    let live = live.map_err(|error| unread(&format!("ControllerRevision {name}"), &error))?;
    Ok(Answer::Template(
        live.map(|r| Arc::new(stored::remembered(r))),
    ))
}

/// The DatabaseSchema, and only then the Jobs that its record names: they are no older.
async fn hold(client: &Client, namespace: &str, name: &str) -> Result<Answer, ReadError> {
    let of = ApiResource::erase::<DatabaseSchema>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &of);
    let what = format!("DatabaseSchema {name}");
    let live = api.get_opt(name).await;
    let live = live.map_err(|error| unread(&what, &error))?;
    let database = live.as_ref().map(stored::database).transpose();
    let database = database.map_err(|message| ReadError { what, message })?;
    let api = Api::<Job>::namespaced(client.clone(), namespace);
    let mut jobs = Vec::new();
    let holders = database.iter().flat_map(|d| d.record.holders());
    // What is on record may have been written by hand.
    for holder in holders.filter(|holder| is_object_name(&holder.job)) {
        let job = api.get_opt(&holder.job).await;
        let job = job.map_err(|error| unread(&format!("Job {}", holder.job), &error))?;
        jobs.extend(job.map(|job| facts::job(&job)));
    }
    Ok(Answer::Hold(Hold { database, jobs }.into()))
}

async fn revisions(client: &Client, namespace: &str, rollout: &str) -> Result<Answer, ReadError> {
    let own = format!("{}={rollout}", keys::ROLLOUT);
    let api = Api::<ControllerRevision>::namespaced(client.clone(), namespace);
    let read = |r: ControllerRevision| ours::is_revision(&r).then(|| stored::revision(&r));
    let revisions = list(&api, &own, "ControllerRevisions", read).await?;
    Ok(Answer::Revisions(revisions))
}

/// Which of these do not exist, and which may not be read.
async fn look_for(
    client: &Client,
    namespace: &str,
    refs: &[ConfigRef],
) -> Result<ConfigFacts, ReadError> {
    let mut found = ConfigFacts::default();
    for config in refs {
        let exists = match config.secret {
            true => exists::<Secret>(client, namespace, &config.name).await,
            false => exists::<ConfigMap>(client, namespace, &config.name).await,
        };
        match exists? {
            Some(true) => {}
            Some(false) => found.missing.push(config.clone()),
            None => found.unread.push(config.clone()),
        }
    }
    Ok(found)
}

/// What these keys of ConfigMaps hold. Of a text only its hash is kept.
async fn texts(client: &Client, namespace: &str, keys: &[KeyRef]) -> Result<Texts, ReadError> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let mut texts = Texts::new();
    let mut names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // One ConfigMap at a time is in memory.
    for name in names {
        let map = match is_object_name(name) {
            true => api.get_opt(name).await,
            false => Ok(None),
        };
        let map = match map {
            Ok(map) => Ok(map),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
                "the operator may not read ConfigMap {name}: {}. Set the chart's rbac.getConfigMaps, or \
                 kubectl apply -n {namespace} -f deploy/roles/config-maps.yaml",
                bounded(&status.message)
            )),
            Err(error) => return Err(unread(&format!("ConfigMap {name}"), &error)),
        };
        for key in keys.iter().filter(|key| key.name == name) {
            let text = match &map {
                Ok(map) => text_of(map.as_ref(), namespace, key),
                Err(words) => Text::Unusable(words.clone()),
            };
            texts.insert(key.clone(), text);
        }
    }
    Ok(texts)
}

fn text_of(map: Option<&ConfigMap>, namespace: &str, KeyRef { name, key }: &KeyRef) -> Text {
    let Some(map) = map else {
        return Text::Unusable(format!(
            "ConfigMap {name} is not there: kubectl create configmap -n {namespace} {name} \
             --from-file={key}"
        ));
    };
    let data = map.data.as_ref().and_then(|data| data.get(key));
    let binary = map.binary_data.as_ref().and_then(|data| data.get(key));
    let bytes = match (data, binary) {
        (Some(text), _) => text.as_bytes(),
        (None, Some(binary)) => &binary.0,
        (None, None) => {
            let data = map.data.iter().flat_map(|data| data.keys());
            let names: Vec<&str> = data.map(String::as_str).collect();
            let names = match names.as_slice() {
                [] => "it has none".to_owned(),
                names => format!("it has {}", names.join(", ")),
            };
            return Text::Unusable(bounded(&format!(
                "ConfigMap {name} has no key {key}: {names}"
            )));
        }
    };
    match bytes.len() {
        0 => Text::Unusable(format!("key {key} of ConfigMap {name} is empty")),
        many if many > FILE_BYTES => Text::Unusable(format!(
            "key {key} of ConfigMap {name} has {many} bytes, and a file of SQL may have \
             {FILE_BYTES}: split it"
        )),
        _ => Text::Is(sha256(bytes)),
    }
}

/// Only the metadata is read: no secret comes into this process. `None`: that may not be read.
async fn exists<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<bool>, ReadError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + DeserializeOwned + Debug,
{
    // A name becomes part of a path. Nothing exists under one that could lead elsewhere.
    if !is_object_name(name) {
        return Ok(Some(false));
    }
    let api = Api::<K>::namespaced(client.clone(), namespace);
    match api.get_metadata_opt(name).await {
        Ok(object) => Ok(Some(object.is_some())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(unread(&format!("{} {name}", K::kind(&())), &error)),
    }
}

/// Why no pod of a Job runs.
async fn job_pod(client: &Client, namespace: &str, job: &str) -> Result<PodOfJob, String> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = pods_of(&api, job).await?;
    let killed: Vec<_> = pods.iter().filter_map(facts::killed).collect();
    let newest = |p: &&Pod| p.metadata.creation_timestamp.clone();
    let newest = pods.iter().max_by_key(newest).map(facts::pod);
    let waits = match &newest {
        Some(pod) => pod.why_it_waits().unwrap_or_default(),
        None => format!(
            "it has no pod: a quota or an admission rule may refuse it, see kubectl describe job {job}"
        ),
    };
    Ok(PodOfJob {
        waits,
        silent: newest.and_then(|pod| pod.why_nobody_knows()),
        killed: killed.len(),
        oom: killed.contains(&true),
    })
}

/// The end of the log of the pod that a Job failed with.
async fn job_log(client: &Client, namespace: &str, job: &str) -> Result<String, String> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = pods_of(&api, job).await?;
    let failed = |p: &Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Failed");
    let Some(pod) = pods
        .into_iter()
        .max_by_key(|p| (failed(p), p.metadata.creation_timestamp.clone()))
    else {
        return Err("it has no pod any more".into());
    };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let params = LogParams {
        container: failed_container(&pod),
        tail_lines: Some(LOG_LINES),
        ..LogParams::default()
    };
    let log = api
        .logs(&name, &params)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) if status.code == 403 => format!(
                "the operator has no right to read logs here (rbac.getPodLogs of the chart, or \
             deploy/roles/pod-logs.yaml); kubectl logs -n {namespace} job/{job} shows it"
            ),
            error => refusal::words(&error),
        })?;
    let log = redacted(&without_colours(&log));
    Ok(bounded(end_of(&log)))
}

/// The container that ended badly, else the first.
fn failed_container(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let all = || lists.into_iter().flatten().flatten();
    let bad = all().find(|c| {
        let ended = c.state.as_ref().and_then(|s| s.terminated.as_ref());
        ended.is_some_and(|t| t.exit_code != 0)
    });
    let first = || pod.spec.as_ref()?.containers.first().map(|c| &c.name);
    bad.map(|c| &c.name).or_else(first).cloned()
}

/// What is written for a terminal would be noise in a status.
fn without_colours(log: &str) -> String {
    anstream::adapter::strip_str(log).to_string()
}

/// The last bytes of a text, from the start of a line where there is one.
fn end_of(log: &str) -> &str {
    let log = log.trim_end();
    let from = log.len().saturating_sub(LOG_BYTES);
    if from == 0 {
        return log;
    }
    let end = &log[log.ceil_char_boundary(from)..];
    match end.split_once('\n') {
        Some((_, lines)) if !lines.is_empty() => lines,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_without_colours_and_from_the_start_of_a_line() {
        let log = "\u{1b}[2m09:14\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m column is missing\n";
        assert_eq!(
            end_of(&without_colours(log)),
            "09:14 ERROR column is missing"
        );
        let long = format!("{}\nthe end", "x".repeat(LOG_BYTES));
        assert_eq!(end_of(&long), "the end");
    }
}
