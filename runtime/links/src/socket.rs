//! Sockets: options, dialing, listening, and their two halves.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::tls;
use super::traffic::Traffic;

/// Maximum of connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1_024;
/// Timeout after which the kernel gives a peer up. Only a backup of the heartbeat: it also frees bytes that nobody
/// reads.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum of unsent bytes in the kernel. Frames that go ahead wait behind these bytes, and the kernel's default is
/// megabytes.
const NOT_SENT_BYTES: u32 = 32 * 1024;

/// The half of a connection that is read; ractor_cluster's type for it.
pub(super) type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// The half that is written.
pub(super) type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection, plain or TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<tls::Connection>),
}

/// Counts the bytes that cross it.
struct CountingStream<T> {
    inner: T,
    traffic: Arc<Traffic>,
}

impl<T> CountingStream<T> {
    fn sent(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(sent)) = result {
            self.traffic.sent.fetch_add(*sent as u64, Ordering::Relaxed);
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for CountingStream<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.traffic.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for CountingStream<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.sent(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.sent(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Stream {
    /// The two halves of the connection; `traffic` counts their bytes.
    pub(super) fn into_halves(self, traffic: Arc<Traffic>) -> (BoxRead, BoxWrite) {
        fn counted<R, W>((read, write): (R, W), traffic: Arc<Traffic>) -> (BoxRead, BoxWrite)
        where
            R: AsyncRead + Send + Unpin + 'static,
            W: AsyncWrite + Send + Unpin + 'static,
        {
            let reader = CountingStream { inner: read, traffic: traffic.clone() };
            (Box::new(reader), Box::new(CountingStream { inner: write, traffic }))
        }
        match self {
            Self::Plain(stream) => counted(stream.into_split(), traffic),
            Self::Tls(stream) => counted(tokio::io::split(*stream), traffic),
        }
    }
}

/// Sets the options that every link needs.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(2)).with_interval(Duration::from_secs(1)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
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
