//! In the place of TLS, in a build without it: no connection has any, and a configuration that asks for it is refused.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::config::TlsConfig;
use super::failure::Failure;

/// A configuration asks for TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this build of baton has no TLS: enable the feature `tls`")]
pub struct TlsError(());

/// There is none.
#[derive(Clone)]
pub(super) enum Tls {}

/// There is none.
pub(super) enum Connection {}

impl Tls {
    pub(super) fn load(_: &TlsConfig) -> Result<Self, TlsError> {
        Err(TlsError(()))
    }

    pub(super) async fn accept(&self, _: TcpStream) -> io::Result<Box<Connection>> {
        match *self {}
    }

    pub(super) async fn connect(&self, _: TcpStream) -> io::Result<Box<Connection>> {
        match *self {}
    }
}

pub(super) fn peer_names(stream: &Connection) -> Vec<String> {
    match *stream {}
}

/// No error is one of TLS.
pub(super) fn refusal_in(_: &io::Error) -> Option<Failure> {
    None
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}
