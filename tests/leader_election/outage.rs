//! Contenders of this process, one of them behind a connection that goes dead, and a Lease that is
//! taken by force.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Config};
use serde_json::json;
use stepgate::operator::client::Clients;
use stepgate::operator::lease::{Elector, ElectorConfig, Leadership, Timing};
use stepgate::operator::metrics::Metrics;
use stepgate::operator::shutdown::StopSource;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{PATIENCE, config, lease_name, leases};

/// A way to the API server that can be made to swallow everything, as a broken network does.
struct Wire {
    address: SocketAddr,
    dead: Arc<watch::Sender<bool>>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dead = Arc::new(watch::Sender::new(false));
        let state = dead.clone();
        tokio::spawn(async move {
            while let Ok((inward, _)) = listener.accept().await {
                tokio::spawn(carry(inward, server.clone(), state.subscribe()));
            }
        });
        Self { address, dead }
    }
}

/// Carries bytes until the wire is dead, then holds both ends open without moving any more; lets go
/// when it is alive again, as a connection that was given up.
async fn carry(mut inward: TcpStream, server: String, mut dead: watch::Receiver<bool>) {
    let carrying = async {
        let mut outward = TcpStream::connect(server).await?;
        tokio::io::copy_bidirectional(&mut inward, &mut outward).await
    };
    tokio::select! {
        _ = carrying => return,
        _ = dead.wait_for(|dead| *dead) => {}
    }
    let _ = dead.wait_for(|dead| !*dead).await;
}

/// An elector of this process. It runs until it is dropped.
struct InProcess {
    leadership: Leadership,
    /// How many times it began to look at the Lease.
    turns: Arc<AtomicUsize>,
    answers_again: Arc<AtomicBool>,
    _stop: StopSource,
}

fn contend(config: Config, lease: &str, identity: &str) -> InProcess {
    let clients = Clients::new(config, &Metrics::new()).unwrap();
    let api = Api::namespaced(clients.writes.client(), "default");
    let (name, identity) = (lease.to_owned(), identity.to_owned());
    let config = ElectorConfig {
        name,
        identity,
        timing: Timing::default(),
    };
    let (elector, leadership) = Elector::new(api, config, Metrics::new());
    let answers_again = Arc::new(AtomicBool::new(false));
    let told = answers_again.clone();
    let elector = elector.telling(move || told.store(true, Ordering::SeqCst));
    let (stop, turns) = (StopSource::new(), Arc::new(AtomicUsize::new(0)));
    let turned = turns.clone();
    tokio::spawn(elector.run(stop.stop(), move || {
        turned.fetch_add(1, Ordering::SeqCst);
    }));
    InProcess {
        leadership,
        turns,
        answers_again,
        _stop: stop,
    }
}

async fn led(contender: &InProcess) -> i64 {
    let mut leadership = contender.leadership.clone();
    timeout(PATIENCE, leadership.led())
        .await
        .expect("somebody to lead")
        .expect("an elector")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_stops_at_its_deadline_and_another_follows_after_it() {
    let direct = config().await;
    let host = direct.cluster_url.host().unwrap().to_owned();
    let port = direct.cluster_url.port_u16().unwrap_or(443);
    let wire = Wire::to(format!("{host}:{port}")).await;
    let mut broken = direct.clone();
    broken.cluster_url = format!("https://{}", wire.address).parse().unwrap();
    broken.tls_server_name = Some(host);

    let lease = lease_name("outage");
    let cut_off = contend(broken, &lease, "cut-off");
    let epoch = led(&cut_off).await;
    let other = contend(direct, &lease, "other");
    super::eventually("the other to have looked twice", || {
        (other.turns.load(Ordering::SeqCst) > 2).then_some(())
    })
    .await;

    wire.dead.send_replace(true);
    let cut = Instant::now();
    let mut leadership = cut_off.leadership.clone();
    timeout(PATIENCE, leadership.lost(epoch))
        .await
        .expect("the lead to be lost");
    let lost = cut.elapsed();
    assert!(
        lost <= Duration::from_millis(10_100),
        "believed for {lost:?}"
    );
    assert!(
        lost >= Duration::from_millis(7_500),
        "gave up after {lost:?}"
    );
    assert_eq!(
        other.leadership.epoch(),
        None,
        "the other came before the deadline was over"
    );
    let next = led(&other).await;
    assert!(next > epoch);
    assert!(
        cut.elapsed() <= Duration::from_secs(17),
        "fail-over took {:?}",
        cut.elapsed()
    );

    assert!(!cut_off.answers_again.load(Ordering::SeqCst));
    wire.dead.send_replace(false);
    let told = || cut_off.answers_again.load(Ordering::SeqCst).then_some(());
    super::eventually("it to be told that there are answers again", told).await;
    assert_eq!(
        cut_off.leadership.confirm().await,
        None,
        "a standby is no leader"
    );
    assert_eq!(other.leadership.confirm().await, Some(next));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_deposed_finds_out_when_it_asks() {
    let lease = lease_name("deposed");
    let leader = contend(config().await, &lease, "leader");
    let epoch = led(&leader).await;
    assert_eq!(
        leader.leadership.confirm().await,
        Some(epoch),
        "while nobody else is there"
    );

    let taken = json!({ "spec": { "holderIdentity": "usurper", "leaseTransitions": 1000 } });
    let leases = leases().await;
    leases
        .patch(&lease, &PatchParams::default(), &Patch::Merge(taken))
        .await
        .unwrap();
    assert_eq!(leader.leadership.confirm().await, None);
    assert_eq!(leader.leadership.epoch(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_labels_the_lease_costs_nobody_the_lead() {
    let lease = lease_name("labelled");
    let leader = contend(config().await, &lease, "leader");
    let epoch = led(&leader).await;
    let labelled = json!({ "metadata": { "labels": { "team": "platform" } } });
    let leases = leases().await;
    leases
        .patch(&lease, &PatchParams::default(), &Patch::Merge(labelled))
        .await
        .unwrap();
    assert_eq!(leader.leadership.confirm().await, Some(epoch));
    let kept = leases
        .get(&lease)
        .await
        .unwrap()
        .metadata
        .labels
        .unwrap_or_default();
    assert_eq!(
        kept.get("team").map(String::as_str),
        Some("platform"),
        "renewing kept the label"
    );
}
