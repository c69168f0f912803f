//! What the tests share: a client, the CRDs, a namespace of one's own, waiting.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stepgate::{
    api::{DatabaseSchema, Rollout},
    operator::{client::Clients, metrics::Metrics},
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// The longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

static NEXT: AtomicUsize = AtomicUsize::new(0);
static INSTALLED: OnceCell<()> = OnceCell::const_new();

pub async fn config() -> Config {
    let told = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    assert!(
        told,
        "these tests need a cluster: set KUBECONFIG to its configuration"
    );
    // A second install is refused, which is all right: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::infer().await;
    config.expect("KUBECONFIG must name a usable configuration")
}

/// A namespace of one test.
pub struct Home {
    pub clients: Clients,
    pub client: Client,
    pub namespace: String,
}

impl Home {
    /// A new namespace on a cluster that has the CRDs.
    pub async fn new(test: &str) -> Self {
        let clients = Clients::new(config().await, &Metrics::new()).expect("clients");
        let client = clients.reads.client();
        INSTALLED.get_or_init(|| install(client.clone())).await;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{test}-{}-{number}", std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}));
        let api = Api::<Namespace>::all(client.clone());
        api.create(&PostParams::default(), &object.expect("a Namespace"))
            .await
            .expect("a namespace");
        Self {
            clients,
            client,
            namespace,
        }
    }

    /// Rollouts as raw objects.
    pub fn rollouts(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<Rollout>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// DatabaseSchemas as raw objects.
    pub fn databases(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<DatabaseSchema>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Creates a Rollout from its whole object.
    pub async fn create(&self, rollout: &Value) -> Result<DynamicObject, kube::Error> {
        let object: DynamicObject = serde_json::from_value(rollout.clone()).expect("an object");
        self.rollouts()
            .create(&PostParams::default(), &object)
            .await
    }
}

async fn install(client: Client) {
    let api = Api::<CustomResourceDefinition>::all(client);
    for file in ["crds/rollouts.yaml", "crds/databaseschemas.yaml"] {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let yaml = std::fs::read_to_string(&path).expect(file);
        let definition: Value = serde_saphyr::from_str(&yaml).expect(file);
        let name = definition["metadata"]["name"].as_str().expect("a name");
        let params = PatchParams::apply("stepgate-tests").force();
        let applied = api.patch(name, &params, &Patch::Apply(&definition)).await;
        applied.unwrap_or_else(|error| panic!("the API server refuses {file}: {error}"));
        eventually(&format!("{name} to be served"), async || {
            let conditions = api.get(name).await.ok()?.status?.conditions?;
            conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True")
                .then_some(())
        })
        .await;
    }
}

/// A Rollout that says no more than it must.
pub fn minimal(name: &str) -> Value {
    json!({
        "apiVersion": "stepgate.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    })
}

/// Whether the controller of a Deployment has nothing left to write about it, while nothing becomes of
/// its pods.
pub fn is_settled(deployment: &Deployment) -> bool {
    let (Some(spec), Some(status)) = (&deployment.spec, &deployment.status) else {
        return false;
    };
    let mut conditions = status.conditions.iter().flatten();
    let wanted = spec.replicas.unwrap_or(1);
    let counts = [status.replicas, status.updated_replicas];
    status.observed_generation == deployment.metadata.generation
        && counts.iter().all(|count| count.unwrap_or(0) == wanted)
        && conditions.any(|condition| condition.type_ == "Progressing")
}

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A definition that takes anything for `spec.paused`, until dropped. Needs a runtime of several
/// threads.
pub struct Relaxed {
    api: Api<CustomResourceDefinition>,
    _alone: MutexGuard<'static, ()>,
}

impl Relaxed {
    pub async fn new(home: &Home) -> Self {
        let relaxed = Self {
            api: Api::all(home.client.clone()),
            _alone: ONE_AT_A_TIME.lock().await,
        };
        relaxed
            .set(json!({"x-kubernetes-preserve-unknown-fields": true}))
            .await;
        relaxed
    }

    async fn set(&self, schema: Value) {
        set_paused(&self.api, schema).await;
    }
}

async fn set_paused(api: &Api<CustomResourceDefinition>, schema: Value) {
    let name = "rollouts.stepgate.io";
    let definition = api.get(name).await.expect("the definition");
    let mut definition = serde_json::to_value(definition).expect("JSON");
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/paused";
    *definition.pointer_mut(at).expect("the field") = schema;
    let definition = serde_json::from_value(definition).expect("a definition");
    api.replace(name, &PostParams::default(), &definition)
        .await
        .expect("replaced");
}

impl Drop for Relaxed {
    fn drop(&mut self) {
        let api = self.api.clone();
        let restore = async move {
            set_paused(&api, json!({"type": "boolean", "default": false})).await;
        };
        // Also when the test fails, and before the next one begins.
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(restore));
    }
}
