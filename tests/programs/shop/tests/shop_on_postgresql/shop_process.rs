//! The binary, run as a pod runs it, and a client that sees its connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn shop(database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command
        .env("DATABASE_URL", database)
        .env_remove("SHOP_VERSION")
        .env_remove("SHOP_FAULT");
    command
}

/// Runs `shop migrate`, with arguments like `expand --version v2`.
pub fn migrate(database: &str, arguments: &str) -> Output {
    shop(database)
        .arg("migrate")
        .args(arguments.split(' '))
        .output()
        .unwrap()
}

/// Runs `shop migrate`, which has to succeed.
pub fn migrated(database: &str, arguments: &str) {
    let output = migrate(database, arguments);
    assert!(output.status.success(), "{arguments}: {}", said(&output));
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for a condition, not for a time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub struct ShopProcess {
    child: Child,
    pub address: SocketAddr,
}

impl ShopProcess {
    /// Starts `shop serve`, with arguments like `--version v2`; returns when it listens.
    pub fn start(database: &str, arguments: &str) -> Self {
        let mut child = shop(database)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments.split(' '))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, receiver) = mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("shop: {line}");
                if let Some((_, address)) = line.split_once("listens on ") {
                    let _ = sender.send(address.parse().unwrap());
                }
            }
        });
        let address = receiver
            .recv_timeout(PATIENCE)
            .expect("shop does not listen");
        Self { child, address }
    }

    pub fn start_ready(database: &str, arguments: &str) -> Self {
        let shop = Self::start(database, arguments);
        eventually("ready", || shop.get("/readyz").status == 200);
        shop
    }

    pub fn get(&self, path: &str) -> Answer {
        request(self.address, "GET", path, "").unwrap()
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        request(self.address, "POST", path, body).unwrap()
    }

    /// Adds a user, returns the new id.
    pub fn add(&self, name: &str) -> i64 {
        let answer = self.post("/users", &format!("{{\"name\":\"{name}\"}}"));
        assert_eq!(answer.status, 201, "{}", answer.body);
        let user: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        user["id"].as_i64().unwrap()
    }

    pub fn name(&self, id: i64) -> String {
        let answer = self.get(&format!("/users/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let user: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        user["name"].as_str().unwrap().to_owned()
    }

    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("shop ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for ShopProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn says_close(&self) -> bool {
        self.head
            .to_ascii_lowercase()
            .lines()
            .any(|line| line == "connection: close")
    }
}

pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One request over a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    answer(&mut stream)
}

/// Reads to the end of the connection.
pub fn answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(cut)?;
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
