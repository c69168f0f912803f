//! What the runner's pod of a backfill says of itself, over HTTP.
//!
//! The pod is somebody else's, and so is what it answers: little is read, for a short time, and from
//! few pods at a time, so that no answer keeps a pass over another Rollout waiting.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::{net::TcpStream, time::timeout};

use super::read::{in_time, pods_of};
use crate::plan::{
    facts::Report,
    job::progress::{ANSWER_BYTES, PORT},
};

/// How long one waits for a pod.
const PATIENCE: Duration = Duration::from_secs(2);
/// Namespaces whose pods may keep one waiting at a time, one pod of each. Who answers does so within
/// milliseconds.
const ROOM: usize = 2;
static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Room for a question to a pod of this namespace, until it is dropped.
struct Room(String);

impl Room {
    fn take(namespace: &str) -> Option<Self> {
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        let room = asked.len() < ROOM && asked.insert(namespace.to_owned());
        room.then(|| Self(namespace.to_owned()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(&self.0);
    }
}

/// How far the batches of a Job are; or why nobody says. Nothing while others are being asked.
pub(super) async fn of_job(
    client: &Client,
    namespace: &str,
    job: &str,
    uid: &str,
) -> Option<Result<Report, String>> {
    let address = match address_of(client, namespace, job, uid).await {
        Ok(address) => address,
        Err(why) => return Some(Err(why)),
    };
    let _room = Room::take(namespace)?;
    let said = timeout(PATIENCE, get(address)).await.ok().flatten();
    let said = said.and_then(|said| Report::read(&said).ok());
    // The same words whatever failed: nobody learns from them what is there instead.
    Some(said.ok_or_else(|| {
        format!(
            "its pod does not answer as Stepgate's runner does. A NetworkPolicy may keep the \
             operator out: let it in to port {PORT}"
        )
    }))
}

async fn address_of(
    client: &Client,
    namespace: &str,
    job: &str,
    uid: &str,
) -> Result<SocketAddr, String> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = in_time(pods_of(&api, job)).await?;
    let newest = |p: &&Pod| p.metadata.creation_timestamp.clone();
    let running = pods.iter().filter(|pod| is_of(pod, uid));
    let pod = running.max_by_key(newest).ok_or("its pod does not run")?;
    address(pod).ok_or_else(|| "its pod has no address of its own".to_owned())
}

/// Whether it is the Job's own pod, and runs.
fn is_of(pod: &Pod, job_uid: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let own = owners.any(|o| o.kind == "Job" && o.uid == job_uid && o.controller == Some(true));
    own && phase == Some("Running")
}

/// Where the pod is. A status can be written by hand: nothing that is no pod's is asked.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let host = pod.spec.as_ref().and_then(|spec| spec.host_network);
    let status = pod.status.as_ref()?;
    let ip = plain(status.pod_ip.as_ref()?)?;
    let hosts = status.host_ips.iter().flatten().map(|host| &host.ip);
    let mut hosts = hosts.chain(&status.host_ip);
    if hosts.any(|host| plain(host) == Some(ip)) {
        return None;
    }
    let foreign = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => Ipv6Addr::is_unicast_link_local(&ip),
    };
    let none = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    (host != Some(true) && !foreign && !none).then(|| SocketAddr::new(ip, PORT))
}

fn plain(ip: &str) -> Option<IpAddr> {
    let ip = ip.parse().ok()?;
    Some(match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    })
}

/// The first bytes of what is answered there.
async fn get(address: SocketAddr) -> Option<Bytes> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut send, connection) = http1::Builder::new()
        .max_buf_size(ANSWER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let ask = async {
        let request = Request::get("/progress")
            .header("Host", address.to_string())
            .header("Connection", "close")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let answer = send.send_request(request).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES);
        Some(body.collect().await.ok()?.to_bytes())
    };
    // The connection goes with the question: nothing is left that reads on.
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        said = &mut ask => said,
        _ = &mut connection => ask.await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Whoever asks is answered with this, again and again if it is to be endless.
    async fn answering(text: &'static [u8], endless: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                while stream.write_all(text).await.is_ok() && endless {}
            }
        });
        address
    }

    #[tokio::test]
    async fn little_is_read_of_what_a_pod_answers() {
        let good = answering(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            false,
        );
        assert_eq!(&*get(good.await).await.unwrap(), b"{}");
        for (text, endless) in [
            (&b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxxxxxxxxxxx"[..], true),
            (b"HTTP/1.1 200 OK\r\nX: y\r\n", true),
            (
                b"HTTP/1.1 302 Found\r\nLocation: http://[::1]/\r\nContent-Length: 0\r\n\r\n",
                false,
            ),
            (b"SSH-2.0-x\r\n", false),
        ] {
            let address = answering(text, endless).await;
            let said = timeout(Duration::from_secs(20), get(address))
                .await
                .unwrap();
            assert_eq!(said, None);
        }
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asked = get(silent.local_addr().unwrap());
        timeout(Duration::from_millis(200), asked)
            .await
            .unwrap_err();
    }

    #[test]
    fn no_namespace_has_all_the_room() {
        let first = Room::take("a");
        assert!(first.is_some() && Room::take("a").is_none());
        let second = Room::take("b");
        assert!(second.is_some() && Room::take("c").is_none());
        drop(first);
        assert!(Room::take("c").is_some());
    }

    #[test]
    fn only_the_jobs_own_pod_is_asked_and_only_at_an_address_of_a_pod() {
        let pod = |ip: &str, owner: &str, host: bool| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": "fill", "uid": owner,
                    "controller": true,
                }]},
                "spec": {"containers": [], "hostNetwork": host},
                "status": {
                    "phase": "Running", "podIP": ip, "hostIP": "192.0.2.1",
                    "hostIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                },
            }))
            .unwrap()
        };
        assert!(is_of(&pod("10.0.0.9", "a", false), "a"));
        assert!(!is_of(&pod("10.0.0.9", "b", false), "a"));
        let mut claimed = pod("10.0.0.9", "a", false);
        let owners = claimed.metadata.owner_references.as_mut().unwrap();
        owners[0].controller = None;
        assert!(!is_of(&claimed, "a"));
        for ip in ["10.0.0.9", "fd00::9"] {
            assert_eq!(address(&pod(ip, "a", false)).unwrap().port(), PORT);
        }
        assert_eq!(address(&pod("10.0.0.9", "a", true)), None);
        for ip in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "0.0.0.0",
            "x",
            "224.0.0.1",
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "2001:db8::1",
        ] {
            assert_eq!(address(&pod(ip, "a", false)), None, "{ip}");
        }
    }
}
