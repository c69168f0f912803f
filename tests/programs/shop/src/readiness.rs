//! Whether this pod should get traffic: the schema fits, and it is not on its way out.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::database;
use crate::fault::Fault;
use crate::release::Release;

/// What the readiness probe is told. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    schema: Arc<watch::Sender<Result<(), String>>>,
    draining: Arc<watch::Sender<bool>>,
}

impl Readiness {
    /// Not ready, not draining.
    pub fn new() -> Self {
        let unknown = Err("the database has not answered yet".to_owned());
        Self {
            schema: Arc::new(watch::Sender::new(unknown)),
            draining: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Ready, or why not.
    pub fn check(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err("on its way out".to_owned());
        }
        self.schema.borrow().clone()
    }

    /// From now on: not ready, for good.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Whether the pod is on its way out.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns when the schema fits for the first time.
    pub async fn reached(&self) {
        let mut schema = self.schema.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = schema.wait_for(Result::is_ok).await;
    }

    /// Compares the schema with what the release needs, for ever.
    ///
    /// Once ready, a database that does not answer changes nothing: all pods share it, and a
    /// Service without endpoints tells users less than an error does.
    pub async fn watch(self, pool: Pool, release: Release, fault: Fault) {
        loop {
            let seen = match look(&pool, release).await {
                Ok(_) if fault == Fault::NeverReady => Some(Err("never ready, as told".to_owned())),
                Ok(fits) => Some(fits),
                Err(error) if self.schema.borrow().is_ok() => {
                    tracing::warn!("the schema cannot be read, staying ready: {error}");
                    None
                }
                Err(error) => Some(Err(error.to_string())),
            };
            if let Some(seen) = seen {
                self.set(seen);
            }
            let pause = if self.schema.borrow().is_ok() {
                2000
            } else {
                250
            };
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn set(&self, seen: Result<(), String>) {
        self.schema.send_if_modified(|current| {
            let changed = *current != seen;
            if changed {
                match &seen {
                    Ok(()) => tracing::info!("ready"),
                    Err(reason) => tracing::warn!("not ready: {reason}"),
                }
                *current = seen;
            }
            changed
        });
    }
}

/// Whether the release fits the schema, in words for the probe.
async fn look(pool: &Pool, release: Release) -> Result<Result<(), String>, database::Error> {
    let client = pool.get().await?;
    let done = database::done(&**client).await?;
    Ok(done.fits(release).map_err(|unfit| unfit.to_string()))
}
