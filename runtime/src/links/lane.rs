//! One connection for two things: Baton's own frames, and between servers ractor_cluster's session beside them.
//!
//! Through ractor_cluster a frame and its answer pass some sixteen actors and tasks, and are copied five times: it was
//! most of what a confirm of one message took. Here the sender's own task writes to the socket, and one task a link
//! reads, hands frames on, and writes their answers. Between servers everything else about the link is as it was: its
//! handshake, its heartbeat, which goes by way of the session, its end. The link of a client has no session: ractor_cluster
//! takes a process for the node whose name it says, and a client that said a server's name would end that server's links.
//!
//! What crosses the connection is a sequence of pieces: kind (a byte), number of the call (8 bytes), length (4 bytes),
//! and as many bytes. Numbers are big-endian.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use baton_actors::wire::{Handlers, Lane, ReplyPort, Served, take_in};
use bytes::{Buf, Bytes, BytesMut};
use ractor_cluster::{BoxRead, BoxWrite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite as _, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

/// Kind, number, length.
const HEAD: usize = 1 + 8 + 4;
/// Bytes of ractor_cluster's session.
const SESSION: u8 = 0;
/// A frame, which is answered under its number.
const CALL: u8 = 1;
/// The answer to a call.
const ANSWER: u8 = 2;

/// What says that it is longer is no piece: frames and answers are far shorter.
const PIECE_MAX: usize = 64 * 1024 * 1024;
/// How much of the session's bytes is taken at a time.
const SESSION_BYTES: usize = 16 * 1024;
/// While so many bytes wait to be written, the session waits.
const WAITING_MAX: usize = 256 * 1024;
/// How much is read at a time; megabytes come faster that way.
const READ_BYTES: usize = 256 * 1024;
/// How many slices are written at once.
const SLICES: usize = 64;
/// With fewer calls that wait for their answer, nobody looks for those that were given up.
const LOOK_FOR_GIVEN_UP: usize = 1024;

/// What goes out over a connection, and who waits for what comes back.
struct Out {
    /// Nothing once it has ended.
    writer: Option<BoxWrite>,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// By the numbers of their calls.
    waiting: HashMap<u64, oneshot::Sender<Vec<u8>>>,
    /// Those that gave up are looked for once so many wait.
    look_at: usize,
    next: u64,
    /// Whether this process knows the other one by name: handlers look for whoever sent a frame.
    announced: bool,
    /// Of the task that reads: it writes on when the socket takes more.
    waker: Waker,
}

impl Out {
    /// Puts a piece in line: its first bytes, which are copied, and the others.
    fn push(&mut self, kind: u8, number: u64, first: &[u8], rest: Bytes) {
        if self.writer.is_none() {
            return;
        }
        let length = first.len() + rest.len();
        let mut head = BytesMut::with_capacity(HEAD + first.len());
        head.extend_from_slice(&[kind]);
        head.extend_from_slice(&number.to_be_bytes());
        head.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        head.extend_from_slice(first);
        self.queue.push_back(head.freeze());
        if !rest.is_empty() {
            self.queue.push_back(rest);
        }
        self.queued += HEAD + length;
    }

    /// Writes what the socket takes; the rest once it takes more.
    fn flush(&mut self) {
        let mut context = Context::from_waker(&self.waker);
        let Some(writer) = &mut self.writer else { return };
        while self.queued > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = slices.iter_mut().zip(&self.queue).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            match Pin::new(&mut *writer).poll_write_vectored(&mut context, &slices[..used]) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.queued -= written;
                    let mut left = written;
                    while left > 0
                        && let Some(piece) = self.queue.front_mut()
                    {
                        let of_it = left.min(piece.len());
                        piece.advance(of_it);
                        left -= of_it;
                        if piece.is_empty() {
                            self.queue.pop_front();
                        }
                    }
                }
                Poll::Ready(_) => return self.end(),
                Poll::Pending => return,
            }
        }
        // TLS may keep what it was given.
        if let Poll::Ready(Err(_)) = Pin::new(writer).poll_flush(&mut context) {
            self.end();
        }
    }

    /// Nobody gets an answer any more.
    fn end(&mut self) {
        self.writer = None;
        self.queue.clear();
        self.queued = 0;
        self.waiting.clear();
        self.waker.wake_by_ref();
    }
}

/// The way over one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct FrameLane(Arc<Mutex<Out>>);

impl std::fmt::Debug for FrameLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameLane").finish_non_exhaustive()
    }
}

impl Lane for FrameLane {
    fn call(&self, head: Vec<u8>, payload: Vec<u8>) -> Option<oneshot::Receiver<Vec<u8>>> {
        let (sender, receiver) = oneshot::channel();
        let mut out = self.lock();
        out.writer.as_ref()?;
        if out.waiting.len() >= out.look_at {
            out.waiting.retain(|_, waiting| !waiting.is_closed());
            out.look_at = LOOK_FOR_GIVEN_UP.max(out.waiting.len() * 2);
        }
        let number = out.next;
        out.next += 1;
        out.waiting.insert(number, sender);
        out.push(CALL, number, &head, payload.into());
        out.flush();
        Some(receiver)
    }
}

impl FrameLane {
    fn lock(&self) -> MutexGuard<'_, Out> {
        // Nothing of ours runs while it is locked but what writes to the socket.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls of the other side are taken in; those that came before wait for it.
    pub(super) fn announced(&self) {
        let mut out = self.lock();
        out.announced = true;
        out.waker.wake_by_ref();
    }

    /// Writes what the socket takes; how many bytes wait after that. The end is an error.
    fn write(&self) -> io::Result<usize> {
        let mut out = self.lock();
        out.flush();
        if out.writer.is_none() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(out.queued) }
    }

    /// Puts the answer to a call in line.
    fn answer(&self, number: u64, answer: Vec<u8>) {
        let mut out = self.lock();
        out.push(ANSWER, number, &[], answer.into());
        // Whoever answers answers many: they leave together.
        out.waker.wake_by_ref();
    }

    /// The answer to a call of ours came.
    fn answered(&self, number: u64, answer: Bytes) {
        let waiting = self.lock().waiting.remove(&number);
        // Who gave up is no error.
        let _ = waiting.map(|waiting| waiting.send(answer.into()));
    }

    /// Puts ractor_cluster's session and our frames on a connection. Answers what ractor_cluster reads and writes, and
    /// the task to run: it ends with the connection, or with the session.
    pub(super) fn with_session(
        reader: BoxRead,
        writer: BoxWrite,
        handlers: Handlers,
    ) -> (Self, DuplexStream, impl Future<Output = ()> + Send + 'static) {
        let (session, theirs) = tokio::io::duplex(SESSION_BYTES);
        let (lane, driver) = Self::driven(reader, writer, handlers, Some(session));
        (lane, theirs, driver.run())
    }

    /// Puts our frames alone on a connection. Answers the task to run: it ends with the connection.
    pub(super) fn alone(
        reader: BoxRead,
        writer: BoxWrite,
        handlers: Handlers,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (lane, driver) = Self::driven(reader, writer, handlers, None);
        (lane, driver.run())
    }

    fn driven(reader: BoxRead, writer: BoxWrite, handlers: Handlers, session: Option<DuplexStream>) -> (Self, Driver) {
        let out = Out {
            writer: Some(writer),
            queue: VecDeque::new(),
            queued: 0,
            waiting: HashMap::new(),
            look_at: LOOK_FOR_GIVEN_UP,
            next: 0,
            announced: false,
            waker: Waker::noop().clone(),
        };
        let lane = Self(Arc::new(Mutex::new(out)));
        let driver = Driver {
            lane: lane.clone(),
            reader,
            read: BytesMut::new(),
            session,
            of_session: BytesMut::new(),
            handlers,
            early: Some(Vec::new()),
            serving: Vec::new(),
        };
        (lane, driver)
    }
}

/// Reads, hands on, and answers.
struct Driver {
    lane: FrameLane,
    reader: BoxRead,
    read: BytesMut,
    /// None on the link of a client.
    session: Option<DuplexStream>,
    of_session: BytesMut,
    handlers: Handlers,
    /// Calls that came before the other process was announced here; nothing once it is.
    early: Option<Vec<(u64, Bytes)>>,
    /// Answers that are not known yet; a replica has a few on their way.
    serving: Vec<(Served, u64)>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.lane.lock().end();
    }
}

impl Driver {
    /// Ends with the connection, or with the session.
    async fn run(mut self) {
        while let Ok(piece) = poll_fn(|context| self.poll(context)).await {
            let Some(session) = &mut self.session else { return };
            if session.write_all(&piece).await.is_err() {
                return;
            }
        }
    }

    fn take_call(&mut self, number: u64, frame: Bytes) {
        let lane = self.lane.clone();
        let reply = ReplyPort::new(move |answer| lane.answer(number, answer));
        let served = take_in(&self.handlers, frame, reply);
        self.serving.extend(served.map(|(served, _)| (served, number)));
    }

    /// Does what there is to do; resolves to bytes for the session, or to the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let announced = {
            let mut out = self.lane.lock();
            out.waker.clone_from(context.waker());
            out.announced
        };
        if let Some(early) = self.early.take_if(|_| announced) {
            early.into_iter().for_each(|(number, piece)| self.take_call(number, piece));
        }
        loop {
            while let Some((kind, number, piece)) = next_piece(&mut self.read)? {
                match kind {
                    SESSION if self.session.is_some() => return Poll::Ready(Ok(piece)),
                    CALL => match &mut self.early {
                        Some(early) => early.push((number, piece)),
                        None => self.take_call(number, piece),
                    },
                    ANSWER => self.lane.answered(number, piece),
                    _ => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                }
            }
            if self.read.capacity() - self.read.len() < READ_BYTES / 4 {
                self.read.reserve(READ_BYTES);
            }
            if !poll_read(&mut self.reader, &mut self.read, context)? {
                break;
            }
        }
        let mut at = 0;
        while let Some((served, number)) = self.serving.get_mut(at) {
            match served.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    self.lane.lock().push(ANSWER, *number, &[], answer.into());
                    drop(self.serving.swap_remove(at));
                }
                Poll::Pending => at += 1,
            }
        }
        // What is written first makes room for the session; where there is none, the socket wakes this task.
        while self.lane.write()? < WAITING_MAX
            && let Some(session) = &mut self.session
        {
            self.of_session.reserve(SESSION_BYTES);
            if !poll_read(session, &mut self.of_session, context)? {
                break;
            }
            self.lane.lock().push(SESSION, 0, &[], self.of_session.split().freeze());
        }
        Poll::Pending
    }
}

/// Reads what has come; whether there was anything. The end is an error.
fn poll_read<R: AsyncRead + Unpin>(from: &mut R, into: &mut BytesMut, context: &mut Context<'_>) -> io::Result<bool> {
    match pin!(from.read_buf(into)).poll(context) {
        Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Poll::Ready(got) => got.map(|_| true),
        Poll::Pending => Ok(false),
    }
}

/// Takes the next piece off what was read, once it is there as a whole: kind, number, bytes.
fn next_piece(read: &mut BytesMut) -> io::Result<Option<(u8, u64, Bytes)>> {
    let Some(head) = read.first_chunk::<HEAD>() else { return Ok(None) };
    let [kind, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, l3] = *head;
    let number = u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > PIECE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if read.len() < HEAD + length {
        // Room for all of it at once: growing copies what is there.
        read.reserve(HEAD + length - read.len());
        return Ok(None);
    }
    read.advance(HEAD);
    Ok(Some((kind, number, read.split_to(length).freeze())))
}

#[cfg(test)]
#[path = "lane/tests.rs"]
mod tests;
