//! Puts the process together and runs it to its end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use thiserror::Error;
use tracing::info;

use super::{
    client::{Clients, ConnectError, WRITE_TIMEOUT},
    clock::Clock,
    config::{Scope, Settings},
    events::Events,
    health::{ListenError, Liveness, Readiness, Served, Server},
    inbox::Inbox,
    lease::{Elector, ElectorConfig, Leadership},
    metrics::Metrics,
    reconcile::{Overruled, Passes, Sampling},
    run::RunLoop,
    shutdown::{Fatal, Phase, Signals, Supervisor, TaskError},
};
use crate::{
    cluster::kubernetes::{
        Kubernetes,
        index::{Index, rollout_key},
        watch::Watches,
    },
    evidence::{Measure, Readings},
    prometheus::{self, Sampler, SourcesFile},
};

/// How long each phase of the end may take: a write under way and a little.
const GRACE: Duration = Duration::from_secs(8);
/// How long a loop may be silent before the process counts as stuck.
const SILENCE: Duration = Duration::from_secs(60);

/// Why the operator could not start, or ended.
#[derive(Debug, Error)]
pub enum StartError {
    /// The API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The ports of probes and metrics.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The signal handlers.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The file with the metric sources.
    #[error("--metric-sources {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        cause: std::io::Error,
    },
    /// What is in it.
    #[error("--metric-sources {path}: {cause}")]
    Sources {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: prometheus::ConfigError,
    },
    /// A task.
    #[error(transparent)]
    Ended(#[from] Fatal),
}

impl Sampling for Sampler {
    fn measure(&self, namespace: &str, rollout: &str, measure: Option<Measure>) {
        let revision = measure.as_ref().map(|m| m.revision.as_str());
        self.keep_only(namespace, rollout, revision);
        if let Some(measure) = measure {
            Self::measure(self, measure);
        }
    }

    fn readings(&self, namespace: &str, rollout: &str, revision: &str) -> Option<Readings> {
        Self::readings(self, namespace, rollout, revision)
    }

    fn problem(&self, source: &str, namespace: &str) -> Option<String> {
        self.admits(source, namespace).err().map(|f| f.message)
    }
}

/// Runs the operator until a signal, or until a vital part of it ends.
///
/// # Errors
/// When it cannot start, or did not end as it was told to.
pub async fn run(settings: Settings) -> Result<(), StartError> {
    let signals = Signals::install().map_err(StartError::Signals)?;
    let metrics = if settings.rollout_metrics {
        Metrics::naming_rollouts()
    } else {
        Metrics::new()
    };
    let (liveness, readiness) = (Liveness::default(), Readiness::default());
    let caches = readiness.wait_for("caches");
    let probes = Served::Probes(liveness.clone(), readiness);
    let probes = Server::bind(settings.probes_listen, probes).await?;
    let scraped = Served::Metrics(metrics.clone());
    let scraped = Server::bind(settings.listen, scraped).await?;
    let (clients, config) = Clients::infer(&metrics).await?;
    let inbox = Inbox::default();
    let sampler = sampler(&settings, &inbox, &metrics)?;
    let mut supervisor = Supervisor::new(GRACE);

    let stop = supervisor.stop(Phase::Serve);
    supervisor.spawn(Phase::Serve, "probes", endless(probes.run(stop)));
    let stop = supervisor.stop(Phase::Serve);
    supervisor.spawn(Phase::Serve, "metrics", endless(scraped.run(stop)));

    let clock = Arc::new(Clock::new());
    let index = {
        let inbox = inbox.clone();
        Arc::new(Index::new(Box::new(move |key| inbox.push(key))))
    };
    let namespaces = match &settings.scope {
        Scope::Cluster => Vec::new(),
        Scope::Namespaces(names) => names.iter().cloned().collect(),
    };
    let watches = {
        // What was not seen is nobody's delay.
        let clock = clock.clone();
        Watches::new(index.clone(), clients.reads.client(), namespaces)
            .telling(move || clock.trust_from_now())
    };
    let contact = watches.contact();

    let leadership = elect(
        &settings,
        &clients,
        &config.default_namespace,
        &metrics,
        &liveness,
        &mut supervisor,
        move || contact.is_back(),
    );

    let instance = settings.election.as_ref();
    let (events, publisher) = Events::new(
        clients.writes.client(),
        instance.map_or("stepgate", |e| &e.identity).to_owned(),
        metrics.clone(),
    );
    // With the Lease, so that the events of the last passes are still published.
    let stop = supervisor.stop(Phase::Lease);
    supervisor.spawn(Phase::Lease, "events", endless(publisher.run(stop)));

    let mut stop = supervisor.stop(Phase::Work);
    let polling = sampler.clone();
    supervisor.spawn(Phase::Work, "sampler", async move {
        tokio::select! {
            () = polling.run() => {}
            () = stop.wait() => {}
        }
        Ok::<_, TaskError>(())
    });

    let mut synced = watches.synced();
    let mut stop = supervisor.stop(Phase::Work);
    supervisor.spawn(Phase::Work, "watches", async move {
        tokio::select! {
            ended = watches.run() => ended.map_err(TaskError::from),
            () = stop.wait() => Ok(()),
        }
    });

    let passes = Passes {
        cluster: Kubernetes::new(
            index.clone(),
            clients.reads.client(),
            clients.writes.client(),
            WRITE_TIMEOUT,
        ),
        index,
        sampler,
        sql_image: settings.sql_image.as_str().into(),
        limits: settings.limits,
        events,
        leadership: leadership.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        overruled: Overruled::default(),
    };
    let workers = settings.workers.get();
    let run_loop = RunLoop::new(Arc::new(passes), inbox, clock, metrics, workers);
    let heart = liveness.heart("run-loop", SILENCE);
    let mut stop = supervisor.stop(Phase::Work);
    supervisor.spawn(Phase::Work, "run-loop", async move {
        loop {
            tokio::select! {
                () = stop.wait() => return Ok::<_, TaskError>(()),
                // While the API server cannot be reached the loop is not stuck.
                () = tokio::time::sleep(SILENCE / 4) => heart.beat(),
                complete = synced.wait() => match complete {
                    true => break,
                    false => return Ok(()),
                },
            }
        }
        caches.done();
        info!("caches are complete");
        run_loop.run(leadership, stop, || heart.beat()).await;
        Ok(())
    });
    Ok(supervisor.run(signals.first()).await?)
}

fn sampler(settings: &Settings, inbox: &Inbox, metrics: &Metrics) -> Result<Sampler, StartError> {
    let file = match &settings.metric_sources {
        None => SourcesFile::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|cause| StartError::Unreadable {
                path: path.clone(),
                cause,
            })?;
            SourcesFile::parse(&text).map_err(|cause| StartError::Sources {
                path: path.clone(),
                cause,
            })?
        }
    };
    let (inbox, metrics) = (inbox.clone(), metrics.clone());
    let polled = move |result| metrics.polled(result);
    let path = settings.metric_sources.clone().unwrap_or_default();
    // Whatever was read is looked at: after a start or a jump of the clock, that there was an
    // answer at all is what a decision waits for.
    Sampler::new(file, polled, move |key, _| {
        inbox.push(rollout_key(&key.namespace, &key.rollout));
    })
    .map_err(|cause| StartError::Sources { path, cause })
}

fn elect(
    settings: &Settings,
    clients: &Clients,
    own_namespace: &str,
    metrics: &Metrics,
    liveness: &Liveness,
    supervisor: &mut Supervisor,
    answers_again: impl Fn() + Send + Sync + 'static,
) -> Leadership {
    let Some(election) = &settings.election else {
        return Leadership::without_election(metrics);
    };
    let namespace = election.namespace.as_deref().unwrap_or(own_namespace);
    let api = Api::<Lease>::namespaced(clients.writes.client(), namespace);
    let config = ElectorConfig {
        name: election.name.clone(),
        identity: election.identity.clone(),
        timing: election.timing,
    };
    let (elector, leadership) = Elector::new(api, config, metrics.clone());
    let elector = elector.telling(answers_again);
    let heart = liveness.heart("lease", SILENCE);
    let stop = supervisor.stop(Phase::Lease);
    let run = elector.run(stop, move || heart.beat());
    supervisor.spawn(Phase::Lease, "lease", endless(run));
    leadership
}

async fn endless(task: impl Future<Output = ()>) -> Result<(), TaskError> {
    task.await;
    Ok(())
}
