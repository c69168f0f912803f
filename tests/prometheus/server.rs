//! A web server of a few lines: each request is handed to a function, the answer is closed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What a test sees of a request.
pub struct Request {
    /// Path with query.
    pub path: String,
    /// Header lines, in lower case.
    pub headers: String,
    /// What was sent, such as the query.
    pub body: String,
}

/// Serves until the process ends; `answer` gives status line and body.
pub fn serve<F, B>(answer: F) -> SocketAddr
where
    F: Fn(Request) -> (String, B) + Send + Sync + 'static,
    B: AsRef<[u8]>,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || talk(stream, &*answer));
        }
    });
    address
}

fn talk<B: AsRef<[u8]>>(stream: TcpStream, answer: &dyn Fn(Request) -> (String, B)) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let mut reader = BufReader::new(&stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        headers.push_str(&line.to_lowercase());
    }
    let length = headers
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let length: u64 = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
    let mut sent = Vec::new();
    reader.take(length).read_to_end(&mut sent).ok()?;
    let body = String::from_utf8_lossy(&sent).into_owned();
    let (status, answered) = answer(Request {
        path,
        headers,
        body,
    });
    let body = answered.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = &stream;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}
