//! Watches while the API server is away, and when it is back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use stepgate::{
    cluster::kubernetes::{
        index::Index,
        watch::{Contact, Watches},
    },
    operator::{client::Clients, metrics::Metrics},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::fixture::{Home, config, eventually, minimal};

/// How the way to the API server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Connections are cut off, and new ones too, as when its process has ended.
    Closed,
    /// What was open then carries nothing any more, and nobody is told.
    Dead,
}

pub struct Line {
    pub address: SocketAddr,
    pub way: Arc<watch::Sender<Way>>,
}

impl Line {
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let way = Arc::new(watch::Sender::new(Way::Open));
        let ways = way.clone();
        tokio::spawn(async move {
            while let Ok((inward, _)) = listener.accept().await {
                if *ways.borrow() == Way::Open {
                    tokio::spawn(carry(inward, server.clone(), ways.subscribe()));
                }
            }
        });
        Self { address, way }
    }
}

async fn carry(mut inward: TcpStream, server: String, mut way: watch::Receiver<Way>) {
    let carrying = async {
        let mut outward = TcpStream::connect(server).await?;
        tokio::io::copy_bidirectional(&mut inward, &mut outward).await
    };
    let is_dead = tokio::select! {
        _ = carrying => false,
        changed = way.wait_for(|way| *way != Way::Open) => {
            changed.is_ok_and(|way| *way == Way::Dead)
        }
    };
    if is_dead {
        // Open still, as far as either end can tell.
        std::future::pending::<()>().await;
    }
    drop(inward);
}

/// An index behind a line.
struct Behind {
    line: Line,
    index: Arc<Index>,
    contact: Contact,
    blind: Arc<AtomicUsize>,
    watching: JoinHandle<()>,
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Behind {
    async fn a_line(home: &Home) -> Self {
        let direct = config().await;
        let host = direct.cluster_url.host().expect("a host").to_owned();
        let port = direct.cluster_url.port_u16().unwrap_or(443);
        let line = Line::to(format!("{host}:{port}")).await;
        let mut through = direct;
        through.cluster_url = format!("https://{}", line.address).parse().expect("a URL");
        through.tls_server_name = Some(host);
        let clients = Clients::new(through, &Metrics::new()).expect("clients");
        let index = Arc::new(Index::new(Box::new(|_| {})));
        let blind = Arc::new(AtomicUsize::new(0));
        let count = blind.clone();
        let namespaces = vec![home.namespace.clone()];
        let watches =
            Watches::new(index.clone(), clients.reads.client(), namespaces).telling(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
        let (contact, mut synced) = (watches.contact(), watches.synced());
        let watching = tokio::spawn(async move { watches.run().await.expect("no panic") });
        assert!(synced.wait().await);
        Self {
            line,
            index,
            contact,
            blind,
            watching,
        }
    }

    /// Waits until a Rollout is seen, and says how long that took.
    async fn sees(&self, home: &Home, name: &str) -> Duration {
        let began = Instant::now();
        let seen = async || self.index.rollout(&home.namespace, name);
        eventually("the Rollout to be seen", seen).await;
        began.elapsed()
    }
}

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_back_within_five_seconds_however_long_the_api_server_was_away() {
    let home = Home::new("blackout").await;
    let behind = Behind::a_line(&home).await;
    assert_eq!(behind.blind.load(Ordering::SeqCst), 0);
    behind.line.way.send_replace(Way::Closed);
    home.create(&minimal("shop")).await.expect("a Rollout");
    // Whoever waits twice as long each time would come back half a minute late by now.
    tokio::time::sleep(Duration::from_secs(27)).await;
    let blind = behind.blind.load(Ordering::SeqCst);
    assert!(blind > 20, "told {blind} times that nothing is seen");
    behind.line.way.send_replace(Way::Open);
    let took = behind.sees(&home, "shop").await;
    assert!(took < SOON, "{took:?}");
    // Seeing again, nobody is told that nothing is seen.
    let blind = behind.blind.load(Ordering::SeqCst);
    home.create(&minimal("other")).await.expect("a Rollout");
    behind.sees(&home, "other").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(behind.blind.load(Ordering::SeqCst), blind);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_on_a_dead_connection_is_had_anew_when_the_api_server_answers_others() {
    let home = Home::new("dead").await;
    let behind = Behind::a_line(&home).await;
    behind.line.way.send_replace(Way::Dead);
    home.create(&minimal("shop")).await.expect("a Rollout");
    behind.line.way.send_replace(Way::Open);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = behind.index.rollout(&home.namespace, "shop");
    assert!(seen.is_none(), "the connection carries something");
    behind.contact.is_back();
    let took = behind.sees(&home, "shop").await;
    assert!(took < SOON, "{took:?}");
}
