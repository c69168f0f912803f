//! The body of an answer on its way from the network to who reads it: a few pieces at a time.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// Pieces that wait to be read.
const WAITING: usize = 2;

/// A body that is read while it arrives. It ends when its sender is gone.
pub(super) struct Body {
    arrives: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
}

impl Body {
    pub(crate) fn new() -> (Self, mpsc::Sender<Vec<u8>>) {
        let (send, arrives) = mpsc::channel(WAITING);
        let body = Self {
            arrives,
            piece: Vec::new(),
            read: 0,
        };
        (body, send)
    }
}

impl Read for Body {
    /// Blocks until there is something to read.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            match self.arrives.blocking_recv() {
                Some(piece) => (self.piece, self.read) = (piece, 0),
                None => return Ok(0),
            }
        }
        let rest = &self.piece[self.read..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}
