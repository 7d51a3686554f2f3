//! Sockets: options, dialing, listening, and the shape that ractor_cluster takes them in.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsStream;

/// How many connections the kernel holds for us before we accept them.
const BACKLOG: i32 = 1_024;
/// Servers send each other megabytes: a large read buffer halves the cost of receiving them.
const READ_BUFFER: usize = 256 * 1024;
/// The kernel's own opinion that a peer is gone. Only a net below the heartbeat: it also frees what nobody reads.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, plain or TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Counts the bytes that arrive.
struct Counted<R> {
    inner: R,
    received: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let arrived = buf.filled().len() - before;
        if arrived > 0 {
            self.received.fetch_add(arrived as u64, Ordering::Relaxed);
        }
        result
    }
}

/// A connection as ractor_cluster takes it.
struct Transport {
    reader: BoxRead,
    writer: BoxWrite,
    label: String,
}

impl ClusterBidiStream for Transport {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (self.reader, self.writer)
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

impl Stream {
    /// The connection for ractor_cluster. `label` comes back in its events; `received` counts what arrives.
    pub(super) fn into_transport(self, label: String, received: Arc<AtomicU64>) -> Box<dyn ClusterBidiStream> {
        fn reader<R: AsyncRead + Send + Unpin + 'static>(inner: R, received: Arc<AtomicU64>) -> BoxRead {
            Box::new(BufReader::with_capacity(READ_BUFFER, Counted { inner, received }))
        }
        let (reader, writer): (BoxRead, BoxWrite) = match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (reader(read, received), Box::new(write))
            }
            Self::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (reader(read, received), Box::new(write))
            }
        };
        Box::new(Transport { reader, writer, label })
    }
}

/// Sets what every link needs, and gives a second handle to the socket: a session that is blocked in a write ends only
/// if its socket is shut down under it.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<Socket> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(2)).with_interval(Duration::from_secs(1)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.try_clone()
}

/// Dials the addresses one after the other; the last error if none answers.
pub(super) async fn connect(addresses: &[SocketAddr], deadline: Duration) -> io::Result<TcpStream> {
    // A name with one dead address must not eat the whole deadline.
    let share = deadline / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(last)
}

/// Listens. A port that a closed connection still occupies is taken; one that a program listens on is not.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
