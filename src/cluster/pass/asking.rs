//! What a plan asks, asked at once, and its answers.

use futures::future::join_all;
use jiff::Timestamp;

use super::Memory;
use crate::{
    cluster::{Answer, Cluster, Key, ReadError},
    plan::{
        facts::{Answers, Observed, Question},
        flags::file::Look,
        intent::Plan,
    },
};

pub(super) async fn ask<C: Cluster>(
    cluster: &C,
    key: &Key,
    seen: &Observed,
    plan: &Plan,
    answers: &mut Answers,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<(), ReadError> {
    // What one plan asks does not wait for one another.
    let said = join_all(plan.questions.iter().map(|one| cluster.ask(key, one))).await;
    let edited = said.iter().any(|said| match said {
        Ok(Answer::Rollout(Some(live))) => live.facts.generation != seen.objects.rollout.generation,
        _ => false,
    });
    for (question, said) in plan.questions.iter().zip(said) {
        let answer = match (said, question) {
            // Nothing waits for a flag.
            (Err(error), Question::Flags(name)) => {
                let unread = Look::Unread(error.message);
                answers.flags.insert(name.clone(), unread);
                continue;
            }
            (Err(error), Question::Progress(..)) => Answer::Progress(Some(Err(error.message))),
            (answer, _) => answer?,
        };
        take(answer, question, seen, answers, memory, now)?;
    }
    // What else was asked was asked for a spec that is not the one any more.
    if edited {
        answers.overlaps = None;
        answers.routes = None;
        answers.users = None;
        answers.deployment = None;
        answers.config = None;
        answers.texts.clear();
    }
    Ok(())
}

fn deleted(what: String) -> ReadError {
    ReadError {
        what,
        message: "it was deleted, which the watch has not shown yet".into(),
    }
}

fn take(
    answer: Answer,
    question: &Question,
    seen: &Observed,
    answers: &mut Answers,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<(), ReadError> {
    let rollout = &seen.objects.rollout;
    match answer {
        Answer::Rollout(live) => {
            let live = live.filter(|live| live.facts.base.uid == rollout.base.uid);
            let Some(live) = live else {
                return Err(deleted(format!("Rollout {}", rollout.base.name)));
            };
            let generation = live.facts.generation;
            answers.whole = live.whole.map(|whole| (generation, whole));
            memory.know_rollout(live.facts, now);
        }
        Answer::Template(template) => {
            let Question::Template(name) = question else {
                return Ok(());
            };
            let Some(template) = template else {
                return Err(deleted(question.to_string()));
            };
            answers.template = Some((name.clone(), template));
        }
        Answer::Overlaps(others) => answers.overlaps = Some(others),
        Answer::Deployment(deployment) => answers.deployment = Some(deployment),
        Answer::Revisions(list) => {
            answers.revisions_live = true;
            memory.know_revisions(&rollout.base.uid, list, now);
        }
        Answer::Hold(mut hold) => {
            let uid = hold
                .database
                .as_ref()
                .map(|database| database.base.uid.clone());
            if let Some(known) = seen
                .objects
                .database
                .as_ref()
                .filter(|d| Some(&d.base.uid) != uid.as_ref())
            {
                memory.forget(&known.base.uid);
                return Err(deleted(format!("DatabaseSchema {}", known.base.name)));
            }
            answers.hold_live = uid;
            // The Jobs of other Rollouts are not remembered here.
            hold.jobs.retain(|job| job.rollout == rollout.base.name);
            memory.know_hold(*hold, now);
        }
        Answer::Users(users) => {
            let users = users.into();
            if let Question::Users(database) = question {
                memory.know_users(database, &users, &seen.objects, now);
            }
            answers.users = Some(users);
        }
        Answer::Routes(routes) => answers.routes = Some(routes.into()),
        Answer::Config(found) => answers.config = Some(found),
        Answer::Texts(texts) => answers.texts.extend(texts),
        Answer::Job(job) => {
            if let Question::Job(name) = question {
                answers.job_live = Some(name.clone());
            }
            if let Some(job) = job.filter(|job| job.rollout == rollout.base.name) {
                memory.know_job(*job, now);
            }
        }
        Answer::JobLog(log) => answers.job_log = Some(log),
        Answer::JobPod(words) => answers.job_pod = Some(words),
        Answer::Progress(said) => {
            if let Question::Progress(job, _) = question {
                memory.hears(job, said, now);
            }
        }
        Answer::Flags(map) => {
            if let Question::Flags(name) = question {
                answers.flags.insert(name.clone(), Look::Read(map));
                memory.flags_looked = Some(now);
            }
        }
    }
    debug_assert!(match question {
        Question::Rollout(_) => memory.confirmed(&rollout.base.uid),
        Question::Template(_) => answers.template.is_some(),
        Question::Overlaps(_) => answers.overlaps.is_some(),
        Question::Deployment(_) => answers.deployment.is_some(),
        Question::Revisions => answers.revisions_live,
        Question::Hold(_) => answers.hold_live.is_some(),
        Question::Users(_) => answers.users.is_some(),
        Question::Config(_) => answers.config.is_some(),
        Question::Routes(_) => answers.routes.is_some(),
        Question::Texts(keys) => keys.iter().all(|key| answers.texts.contains_key(key)),
        Question::Job(_) => answers.job_live.is_some(),
        Question::JobLog(_) => answers.job_log.is_some(),
        Question::JobPod(_) => answers.job_pod.is_some(),
        Question::Progress(job, _) => memory.heard.as_ref().is_some_and(|h| h.job == *job),
        Question::Flags(name) => answers.flags.contains_key(name),
    });
    Ok(())
}
