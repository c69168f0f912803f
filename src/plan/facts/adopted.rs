//! A Deployment of somebody else that a Rollout adopts.

use std::collections::BTreeMap;

use super::objects::ChildFacts;
use crate::api::Selector;

/// What the caches hold of the Deployment that a Rollout adopts.
#[derive(Clone, Debug)]
pub enum Adoptee {
    /// The Deployments of the namespace have not been listed yet.
    Unread,
    /// There is none of its name.
    Gone,
    /// It is so.
    There(Box<ChildFacts>),
}

/// A Deployment of somebody else, read live.
#[derive(Clone, Debug)]
pub struct DeploymentFacts {
    /// What is known of every child.
    pub child: ChildFacts,
    /// Its selector; `None`: it cannot be read.
    pub selector: Option<Selector>,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// Kind and name of what it belongs to.
    pub owner: Option<String>,
    /// Its label `stepgate.io/rollout`: who has one is not watched as somebody else's.
    pub labelled: Option<String>,
    /// `spec.paused`.
    pub paused: bool,
    /// Pods of an older template of its own are still there.
    pub rolling: bool,
}
