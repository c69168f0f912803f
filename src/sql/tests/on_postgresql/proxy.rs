//! A relay to PostgreSQL that cuts a connection at a given moment.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

/// When the connection is cut.
#[derive(Clone, Copy, PartialEq)]
pub enum Cut {
    /// The COMMIT does not reach the server.
    Before,
    /// It does, and its answer does not come back.
    After,
    /// The same, and no connection is taken any more.
    AfterForGood,
}

pub struct Proxy {
    pub port: u16,
    /// How many cuts are still to be made.
    left: Arc<AtomicI32>,
}

impl Proxy {
    /// Cuts once, at the first COMMIT.
    pub fn start(server: u16, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicI32::new(1));
        let cuts = left.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if cut == Cut::AfterForGood && cuts.load(Ordering::SeqCst) <= 0 {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                for (from, to, here) in [
                    (&client, &server, cut == Cut::Before),
                    (&server, &client, cut != Cut::Before),
                ] {
                    let (from, to, cuts) = (
                        from.try_clone().unwrap(),
                        to.try_clone().unwrap(),
                        cuts.clone(),
                    );
                    thread::spawn(move || relay(from, to, here.then_some(cuts)));
                }
            }
        });
        Self { port, left }
    }

    pub fn has_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, cuts: Option<Arc<AtomicI32>>) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        if let Some(cuts) = &cuts
            && bytes.windows(7).any(|window| window == b"COMMIT\0")
            && cuts.fetch_sub(1, Ordering::SeqCst) > 0
        {
            break;
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
