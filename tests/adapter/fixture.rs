//! What the tests share: a client, the CRDs, a namespace of one's own, waiting.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::Namespace,
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
use tokio::sync::OnceCell;

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
