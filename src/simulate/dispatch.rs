//! Each event comes to whom it concerns.

use super::{
    event::{Event, Sync, Turn},
    world::World,
};

impl World {
    /// Lets the next event happen; what the passes have to do after it, or `None` at the end.
    pub fn step(&mut self) -> Option<Vec<Turn>> {
        let event = self.next()?;
        self.handle(event);
        Some(std::mem::take(&mut self.turns))
    }

    fn handle(&mut self, event: Event) {
        let needs_the_api_server = matches!(
            event,
            Event::Sync(_)
                | Event::Kubelet { .. }
                | Event::JobEnds { .. }
                | Event::JobTries { .. }
                | Event::JobPodGone { .. }
                | Event::Deliver(..)
        );
        if self.faults.away && needs_the_api_server {
            self.frozen.push(event);
            return;
        }
        if let (Some(silenced), Event::Kubelet { .. }) = (&mut self.silenced, &event) {
            silenced.push(event);
            return;
        }
        match event {
            Event::Sync(Sync::Deployment(name)) => self.sync_deployment(&name),
            Event::Sync(Sync::Replicas(name)) => self.sync_replicas(&name),
            Event::Sync(Sync::Job(name)) => self.sync_job(&name),
            Event::Sync(Sync::Garbage) => self.collect_garbage(),
            Event::Sync(Sync::Endpoints(rollout)) => self.sync_endpoints(&rollout),
            Event::Sync(Sync::Scheduler) => self.sync_scheduler(),
            Event::Kubelet { pod, step, turn } => self.kubelet(&pod, step, turn),
            Event::JobEnds { job, uid, end } => self.job_ends(&job, &uid, end),
            Event::JobTries { job, uid } => self.job_tries(&job, &uid),
            Event::JobPodGone { job, uid } => self.job_pod_gone(&job, &uid),
            Event::Flagged { rollout, share } => self.flags_reach_pods(&rollout, share),
            Event::Deliver(life, kind) => self.deliver(life, kind),
            Event::Arrive(ticket) => self.arrive(ticket),
            Event::Return(ticket) => self.return_answer(ticket),
            Event::Start(life, key) => self.start_pass(life, key),
            Event::Poll(life) => self.poll(life),
            Event::Answered(life, answered) => self.polled(life, &answered.0, answered.1),
            Event::Boot(process) => self.boot(process),
            Event::Deposed(life) => self.deposed(life),
            Event::Gateway { route, data } => self.gateway_follows(&route, data),
            Event::Act(action) => self.act(*action),
        }
    }
}
