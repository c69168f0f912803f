//! What the client does not do: follow, wait, read or tell too much.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stepgate::api::Convention;
use stepgate::evidence::CheckKind;
use stepgate::prometheus::{Client, Error, MetricSource as _, Pods, Query, Room, SourcesFile};

use super::server::{Request, serve};

fn query() -> Query {
    let names = Convention::default()
        .resolve(&Convention::default())
        .unwrap();
    let pods = Pods {
        namespace_label: "namespace",
        namespace: "shop",
        prefix: "web-r1-",
        beside: None,
    };
    Query::new(&CheckKind::ErrorRate { max_percent: 1.0 }, &names, pods, 1)
}

fn client(url: &str, more: &str) -> Client {
    client_with(url, 1, more)
}

fn client_with(url: &str, seconds: u32, more: &str) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let yaml = format!("sources: [{{name: a, url: \"{url}\", timeoutSeconds: {seconds}{more}}}]");
    Client::new(SourcesFile::parse(&yaml).unwrap().sources.remove(0)).unwrap()
}

async fn error_of<F>(answer: F) -> Error
where
    F: Fn(Request) -> (String, Vec<u8>) + Send + Sync + 'static,
{
    let address = serve(answer);
    client(&format!("http://{address}"), "")
        .now(&query(), &Room::alone())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let reached = Arc::new(Mutex::new(false));
    let mark = Arc::clone(&reached);
    let elsewhere = serve(move |_| {
        *mark.lock().unwrap() = true;
        ("200 OK".to_owned(), Vec::new())
    });
    let error = error_of(move |_| {
        (
            format!("302 Found\r\nLocation: http://{elsewhere}/"),
            Vec::new(),
        )
    })
    .await;
    assert_eq!(error, Error::Redirected { status: 302 });
    assert!(!*reached.lock().unwrap());
}

#[tokio::test]
async fn errors_hold_nothing_of_the_answer() {
    let error = error_of(|_| ("401 Unauthorized".to_owned(), b"s3cret".to_vec())).await;
    assert_eq!(error, Error::Unauthorized { status: 401 });
    let said = br#"{"status":"error","errorType":"s3cret","error":"s3cret"}"#;
    let error = error_of(|_| ("422 Unprocessable".to_owned(), said.to_vec())).await;
    assert!(matches!(error, Error::Refused { status: 422, .. }));
    assert!(!error.to_string().contains("s3cret"));
    let empty = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let error = error_of(|_| ("200 OK".to_owned(), empty.to_vec())).await;
    assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let address = serve(|_| ("200 OK".to_owned(), vec![b' '; 9 << 20]));
    let patient = client_with(&format!("http://{address}"), 30, "");
    let error = patient.now(&query(), &Room::alone()).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { megabytes: 8 });
    let started = Instant::now();
    let error = error_of(|_| {
        std::thread::sleep(Duration::from_secs(20));
        ("200 OK".to_owned(), Vec::new())
    })
    .await;
    assert_eq!(error, Error::TimedOut { seconds: 1 });
    assert!(started.elapsed() < Duration::from_secs(10));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = client(&format!("http://{closed}"), "")
        .now(&query(), &Room::alone())
        .await
        .unwrap_err();
    assert_eq!(error, Error::Unreachable);
}

#[tokio::test]
async fn path_credentials_tenant_and_headers_are_sent() {
    let folder = std::env::temp_dir().join(format!("stepgate-limits-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let token = folder.join("token");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let address = serve(move |request| {
        note.lock().unwrap().push(request);
        ("500 Internal".to_owned(), Vec::new())
    });
    let more = format!(
        ", bearerTokenFile: {}, tenant: t1, headers: {{X-A: b}}",
        token.display()
    );
    let bearer = client(&format!("http://{address}/base/"), &more);
    let error = bearer.now(&query(), &Room::alone()).await.unwrap_err();
    assert_eq!(
        error,
        Error::Credential {
            field: "bearerTokenFile"
        }
    );
    for word in ["one", "two"] {
        std::fs::write(&token, format!("{word}\n")).unwrap();
        bearer.now(&query(), &Room::alone()).await.unwrap_err();
        let request = seen.lock().unwrap().pop().unwrap();
        assert_eq!(request.path, "/base/api/v1/query");
        for line in [
            &format!("authorization: bearer {word}\r\n"),
            "x-scope-orgid: t1",
            "x-a: b",
        ] {
            assert!(
                request.headers.contains(line),
                "{line}: {}",
                request.headers
            );
        }
    }
    let (user, password) = (folder.join("user"), folder.join("password"));
    std::fs::write(&user, "me").unwrap();
    std::fs::write(&password, "it\n").unwrap();
    let more = format!(
        ", basicAuth: {{usernameFile: {}, passwordFile: {}}}",
        user.display(),
        password.display()
    );
    client(&format!("http://{address}"), &more)
        .now(&query(), &Room::alone())
        .await
        .unwrap_err();
    let request = seen.lock().unwrap().pop().unwrap();
    assert!(
        request.headers.contains("authorization: basic bwu6axq="),
        "{}",
        request.headers
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_history_that_is_too_large_is_asked_for_in_larger_steps() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let address = serve(move |_| {
        let mut asked = count.lock().unwrap();
        *asked += 1;
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let body = if *asked == 1 {
            vec![b' '; 9 << 20]
        } else {
            body.to_vec()
        };
        ("200 OK".to_owned(), body)
    });
    let (since, until) = (
        "2026-01-01T00:00:00Z".parse().unwrap(),
        "2026-01-01T01:00:00Z".parse().unwrap(),
    );
    let source = client_with(&format!("http://{address}"), 30, "");
    assert_eq!(
        source
            .history(&query(), since, until, 1, &Room::alone())
            .await,
        Ok(Vec::new())
    );
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_refused_at_the_start() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = std::env::temp_dir().join(format!("stepgate-ca-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ca.pem");
    let made = || {
        let yaml = format!(
            "sources: [{{name: a, url: \"https://localhost\", caFile: {}}}]",
            path.display()
        );
        Client::new(SourcesFile::parse(&yaml).unwrap().sources.remove(0))
    };
    let missing = made().map(|_| ()).unwrap_err().to_string();
    assert!(missing.contains("\"a\": caFile: cannot read"), "{missing}");
    std::fs::write(&path, "no certificate").unwrap();
    let junk = made().map(|_| ()).unwrap_err().to_string();
    assert!(
        junk.contains("\"a\": caFile: no certificate in it"),
        "{junk}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
