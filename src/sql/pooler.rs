//! Finds a connection pooler, whatever its mode. A server names its process when a session begins,
//! for requests to cancel it. A pooler names something of its own, as it has many servers.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio_postgres::{
    Client,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

/// What a client sends to ask for TLS.
const TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The process that was named when this session began. The client keeps it to itself, but writes
/// it into a request to cancel: here is one that nobody gets.
pub async fn named_process(client: &Client) -> io::Result<i32> {
    let (end, mut wire) = duplex(64);
    let token = client.cancel_token();
    let send = token.cancel_query_raw(Wire(end), Untouched);
    let read = async {
        let mut head = [0; 8];
        wire.read_exact(&mut head).await?;
        if head == TLS {
            wire.write_all(b"S").await?;
            wire.read_exact(&mut head).await?;
        }
        wire.read_i32().await
    };
    let (_, process) = tokio::join!(send, read);
    process
}

/// A stream that claims to be of TLS.
struct Wire(DuplexStream);

struct Untouched;

impl TlsConnect<Wire> for Untouched {
    type Stream = Wire;
    type Error = Infallible;
    type Future = Ready<Result<Wire, Infallible>>;

    fn connect(self, stream: Wire) -> Self::Future {
        ready(Ok(stream))
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
