//! Something between a client and PostgreSQL that understands where messages begin and end, and fails in their midst.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The fault of the next statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The statement is executed and reported as complete, and its connection ends before the commit.
    DieBeforeCommit,
    /// The statement is executed and stays uncommitted: its client has stopped in the middle.
    StopBeforeCommit,
    /// A warning comes between the statement's completion and the answer to its commit.
    Warning,
}

/// The proxy; its connections end with it.
pub(crate) struct Proxy {
    fault: Arc<Mutex<Option<Fault>>>,
    port: u16,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// In front of the server at this port of the loopback.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(None));
        let armed = fault.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(relay(client, server, armed.clone()));
            }
        });
        Self { fault, port, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The next statement fails in this way.
    pub(crate) fn arm(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, server: TcpStream, armed: Arc<Mutex<Option<Fault>>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let now = Arc::new(Mutex::new(None));
    let requests = requests(from_client, to_server, armed, now.clone());
    // The first one to end closes both connections.
    tokio::select! {
        _ = requests => {}
        _ = answers(from_server, to_client, now) => {}
    }
}

/// A message: its kind, and its length and content.
async fn message(from: &mut OwnedReadHalf) -> io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    Ok((kind, untyped(from).await?))
}

/// The first message of a client has no kind.
async fn untyped(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.resize(length as usize, 0);
    from.read_exact(&mut bytes[4..]).await?;
    Ok(bytes)
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    armed: Arc<Mutex<Option<Fault>>>,
    now: Arc<Mutex<Option<Fault>>>,
) -> io::Result<()> {
    let greeting = untyped(&mut from).await?;
    to.write_all(&greeting).await?;
    loop {
        let (kind, bytes) = message(&mut from).await?;
        let mut sent = kind;
        if kind == b'S' {
            let fault = armed.lock().unwrap().take();
            *now.lock().unwrap() = fault;
            if matches!(fault, Some(Fault::DieBeforeCommit | Fault::StopBeforeCommit)) {
                // Flush in place of Sync: the server answers, and does not commit.
                sent = b'H';
            }
        }
        to.write_u8(sent).await?;
        to.write_all(&bytes).await?;
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, now: Arc<Mutex<Option<Fault>>>) -> io::Result<()> {
    loop {
        let (kind, bytes) = message(&mut from).await?;
        let fault = *now.lock().unwrap();
        if kind == b'Z' && fault == Some(Fault::Warning) {
            let fields = b"SWARNUNG\0VWARNING\0C01000\0Mcanceling wait for synchronous replication\0\0";
            to.write_u8(b'N').await?;
            to.write_u32(u32::try_from(fields.len() + 4).unwrap()).await?;
            to.write_all(fields).await?;
        }
        to.write_u8(kind).await?;
        to.write_all(&bytes).await?;
        if kind == b'C' && fault == Some(Fault::DieBeforeCommit) {
            return Ok(());
        }
    }
}
