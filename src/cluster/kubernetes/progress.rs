//! What the runner's pod of a backfill says of itself, over HTTP.
//!
//! The pod is somebody else's, and so is what it answers: little is read, for a short time, and from
//! few pods at a time, so that no answer keeps a pass over another Rollout waiting.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use super::ask;
use crate::plan::job::progress::{ANSWER_BYTES, PORT, Report};

/// How long one waits for a pod.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pods that may keep one waiting at a time. Who answers does so within milliseconds.
static SLOW: Semaphore = Semaphore::const_new(2);

/// How far the batches of a Job are; or why nobody says.
pub(super) async fn of_job(client: &Client, namespace: &str, job: &str) -> Result<Report, String> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = ask::in_time(ask::pods_of(&api, job)).await?;
    let newest = |p: &&Pod| p.metadata.creation_timestamp.clone();
    let running = pods.iter().filter(|pod| is_of(pod, job));
    let pod = running.max_by_key(newest).ok_or("its pod does not run")?;
    let address = address(pod).ok_or("its pod has no address")?;
    let Ok(_room) = SLOW.try_acquire() else {
        return Err("other pods that do not answer are waited for".into());
    };
    let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
    let said = timeout(PATIENCE, get(address)).await.map_err(late);
    let said = said.and_then(|said| said).map_err(|why| {
        format!(
            "{address}: {why}. A NetworkPolicy may keep the operator out: let it in to port {PORT}"
        )
    })?;
    Report::read(&said)
}

/// Whether it is the Job's own pod, and runs.
fn is_of(pod: &Pod, job: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    owners.any(|o| o.kind == "Job" && o.name == job) && phase == Some("Running")
}

/// Where the pod is. A status can be written by hand: nothing that is no pod's is asked.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let host = pod.spec.as_ref().and_then(|spec| spec.host_network);
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let ip = match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    let foreign = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => Ipv6Addr::is_unicast_link_local(&ip),
    };
    let none = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    (host != Some(true) && !foreign && !none).then(|| SocketAddr::new(ip, PORT))
}

/// The first bytes of what is answered there.
async fn get(address: SocketAddr) -> Result<Bytes, String> {
    let refused = |error: std::io::Error| error.kind().to_string();
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    let broken = |_| "no HTTP is spoken there".to_owned();
    let (mut send, connection) = http1::Builder::new()
        .max_buf_size(ANSWER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let ask = async {
        let request = Request::get("/progress")
            .header("Host", address.to_string())
            .header("Connection", "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = send.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answers with status {}", status.as_u16()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES)
            .collect()
            .await;
        let long = |_| format!("its answer breaks off, or has more than {ANSWER_BYTES} bytes");
        Ok(body.map_err(long)?.to_bytes())
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
        for (text, endless, words) in [
            (
                &b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxxxxxxxxxxx"[..],
                true,
                "more than",
            ),
            (b"HTTP/1.1 200 OK\r\nX: y\r\n", true, "no HTTP"),
            (
                b"HTTP/1.1 302 Found\r\nLocation: http://[::1]/\r\nContent-Length: 0\r\n\r\n",
                false,
                "status 302",
            ),
            (b"SSH-2.0-x\r\n", false, "no HTTP"),
        ] {
            let address = answering(text, endless).await;
            let said = timeout(Duration::from_secs(20), get(address))
                .await
                .unwrap();
            let why = said.unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asked = get(silent.local_addr().unwrap());
        timeout(Duration::from_millis(200), asked)
            .await
            .unwrap_err();
    }

    #[test]
    fn only_the_jobs_own_pod_is_asked_and_only_at_an_address_of_a_pod() {
        let pod = |ip: &str, owner: &str, host: bool| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": "u"},
                ]},
                "spec": {"containers": [], "hostNetwork": host},
                "status": {"phase": "Running", "podIP": ip},
            }))
            .unwrap()
        };
        assert!(is_of(&pod("10.0.0.9", "a", false), "a"));
        assert!(!is_of(&pod("10.0.0.9", "b", false), "a"));
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
        ] {
            assert_eq!(address(&pod(ip, "a", false)), None, "{ip}");
        }
    }
}
