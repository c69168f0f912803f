//! Each event comes to whom it concerns.

use super::{
    event::{Occurrence, Sync, Turn},
    world::World,
};

impl World {
    /// Lets the next event happen; what the passes have to do after it, or `None` at the end.
    pub fn step(&mut self) -> Option<Vec<Turn>> {
        let event = self.next()?;
        self.handle(event);
        Some(std::mem::take(&mut self.turns))
    }

    fn handle(&mut self, event: Occurrence) {
        let needs_the_api_server = matches!(
            event,
            Occurrence::Sync(_)
                | Occurrence::Kubelet { .. }
                | Occurrence::JobEnds { .. }
                | Occurrence::JobTries { .. }
                | Occurrence::JobPodGone { .. }
                | Occurrence::Deliver(..)
        );
        if self.faults.away && needs_the_api_server {
            self.frozen.push(event);
            return;
        }
        if let (Some(silenced), Occurrence::Kubelet { .. }) = (&mut self.silenced, &event) {
            silenced.push(event);
            return;
        }
        match event {
            Occurrence::Sync(Sync::Deployment(name)) => self.sync_deployment(&name),
            Occurrence::Sync(Sync::Replicas(name)) => self.sync_replicas(&name),
            Occurrence::Sync(Sync::Job(name)) => self.sync_job(&name),
            Occurrence::Sync(Sync::Garbage) => self.collect_garbage(),
            Occurrence::Sync(Sync::Endpoints(rollout)) => self.sync_endpoints(&rollout),
            Occurrence::Sync(Sync::Scheduler) => self.sync_scheduler(),
            Occurrence::Kubelet { pod, step, turn } => self.kubelet(&pod, step, turn),
            Occurrence::JobEnds { job, uid, end } => self.job_ends(&job, &uid, end),
            Occurrence::JobTries { job, uid } => self.job_tries(&job, &uid),
            Occurrence::JobPodGone { job, uid } => self.job_pod_gone(&job, &uid),
            Occurrence::Flagged { rollout, share } => self.flags_reach_pods(&rollout, share),
            Occurrence::Deliver(life, kind) => self.deliver(life, kind),
            Occurrence::Arrive(ticket) => self.arrive(ticket),
            Occurrence::Return(ticket) => self.return_answer(ticket),
            Occurrence::Start(life, key) => self.start_pass(life, key),
            Occurrence::Poll(life) => self.poll(life),
            Occurrence::Answered(life, answered) => self.polled(life, &answered.0, answered.1),
            Occurrence::Boot(process) => self.boot(process),
            Occurrence::Deposed(life) => self.deposed(life),
            Occurrence::Gateway { route, data } => self.gateway_follows(&route, data),
            Occurrence::Act(action) => self.act(*action),
        }
    }
}
