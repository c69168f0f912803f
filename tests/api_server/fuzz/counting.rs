//! A way to the API server that counts who is asked about and written.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fixture::config;

/// What was sent about one Rollout, its children and Events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub reads: u32,
    pub writes: u32,
}

type Counts = Arc<Mutex<BTreeMap<String, Count>>>;

/// The way, open as long as the runtime is.
pub struct Counting {
    counts: Counts,
    /// A configuration that leads through it.
    pub kubeconfig: PathBuf,
}

impl Counting {
    /// Counts for names that begin with this letter and have this length.
    pub async fn new(folder: &std::path::Path, is_ours: fn(&str) -> bool) -> Self {
        let mut direct = config().await;
        direct.default_retry = false;
        let client = Client::try_from(direct).expect("a client");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counts = Counts::default();
        let counted = counts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, counts) = (client.clone(), counted.clone());
                let service = service_fn(move |request| {
                    pass(client.clone(), counts.clone(), is_ours, request)
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, through(address).to_string()).expect("a kubeconfig");
        Self { counts, kubeconfig }
    }

    pub fn counts(&self) -> BTreeMap<String, Count> {
        self.counts.lock().expect("the counts").clone()
    }
}

fn through(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "counted",
        "contexts": [{"name": "counted", "context": {"cluster": "counted", "user": "counted"}}],
        "clusters": [{"name": "counted", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "counted", "user": {}}],
    })
}

async fn pass(
    client: Client,
    counts: Counts,
    is_ours: fn(&str) -> bool,
    request: Request<Incoming>,
) -> Result<hyper::Response<Body>, kube::Error> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(kube::Error::HyperError)?;
    let body = body.to_bytes();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut names: Vec<&str> = parts.uri.path().split('/').collect();
    // A selector of labels in the query.
    names.extend(parts.uri.query().unwrap_or_default().split(['=', '&', '%']));
    let told = [
        "/metadata/name",
        "/regarding/name",
        "/metadata/generateName",
    ];
    names.extend(told.iter().filter_map(|at| sent.pointer(at)?.as_str()));
    // A child is called as its Rollout, and more.
    let about = names.iter().find_map(|name| {
        let own = name.split('-').next()?;
        is_ours(own).then(|| own.to_owned())
    });
    if let Some(about) = about {
        let mut counts = counts.lock().expect("the counts");
        let count = counts.entry(about).or_default();
        match parts.method {
            Method::GET => count.reads += 1,
            _ => count.writes += 1,
        }
    }
    parts.headers.remove(hyper::header::HOST);
    client
        .send(Request::from_parts(parts, Body::from(body)))
        .await
}
