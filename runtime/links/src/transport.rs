//! One connection for two streams: Baton's own frames, and between servers ractor_cluster's session next to them.
//!
//! Through ractor_cluster a frame and its answer pass about sixteen actors and tasks, and are copied five times: that
//! was most of the latency of confirming one message. Here the sender's own task writes to the socket, and one task per
//! link reads, hands frames on, and writes their answers. Between servers the session keeps its handshake, its end, and
//! the heartbeat, which goes through it. The link of a client has no session: ractor_cluster identifies a node by the
//! name it gives, and a client with a server's name would end that server's links.
//!
//! [`out`] decides the order in which frames leave; [`piece`] is the format of the connection.

mod out;
mod piece;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use baton_client::wire::{Answer, FrameTransport, GiveUp, Handlers, Outgoing, ReplyPort, Served, take_in};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::socket::{BoxRead, BoxWrite};
use out::Out;
use piece::{ANSWER, ANSWER_END, CALL, CALL_AHEAD, CALL_END, PART, Parts, SESSION, next_piece};

/// Size of one read from the session.
const SESSION_BYTES: usize = 16 * 1024;
/// While this many bytes wait to be written before its own, the session waits.
const WAITING_MAX: usize = 64 * 1024;
/// Size of one read from the socket; megabytes arrive faster with a large one.
const READ_BYTES: usize = 256 * 1024;
/// The transport over one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct LinkTransport(Arc<Shared>);

struct Shared(Mutex<Out>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Out> {
        // The only code of ours that runs under the lock writes to the socket.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GiveUp for Shared {
    fn give_up(&self, number: u64) {
        self.lock().give_up(number);
    }
}

impl std::fmt::Debug for LinkTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkTransport").finish_non_exhaustive()
    }
}

impl FrameTransport for LinkTransport {
    fn call(&self, frame: Outgoing) -> Option<Answer> {
        let mut out = self.lock();
        let (number, receiver) = out.call(frame)?;
        out.flush();
        drop(out);
        Some(Answer::new(receiver, self.0.clone(), number))
    }
}

impl LinkTransport {
    fn lock(&self) -> MutexGuard<'_, Out> {
        self.0.lock()
    }

    /// From now on calls of the other side are taken in; those that came before wait for it.
    pub(super) fn announced(&self) {
        let mut out = self.lock();
        out.announced = true;
        out.waker.wake_by_ref();
    }

    /// Writes as much as the socket takes; returns the bytes that remain before the session's. The end is an error.
    fn write(&self) -> io::Result<usize> {
        let mut out = self.lock();
        out.flush();
        if out.has_ended() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(out.before_session()) }
    }

    /// Puts the answer to a call in line.
    fn answer(&self, number: u64, answer: Vec<u8>, ahead: bool) {
        let mut out = self.lock();
        out.push(ANSWER, number, answer.into(), ahead);
        // A service often answers many calls at once: the answers leave together.
        out.waker.wake_by_ref();
    }

    /// The answer to a call of ours came.
    fn answered(&self, number: u64, answer: Bytes) {
        let waiting = self.lock().answered(number);
        // The caller may have given up.
        let _ = waiting.map(|waiting| waiting.send(answer.into()));
    }

    /// Puts ractor_cluster's session and our frames on a connection. Returns the stream for ractor_cluster, and the task
    /// to run, which ends with the connection or with the session.
    pub(super) fn with_session(
        reader: BoxRead,
        writer: BoxWrite,
        handlers: Handlers,
    ) -> (Self, DuplexStream, impl Future<Output = ()> + Send + 'static) {
        let (session, theirs) = tokio::io::duplex(SESSION_BYTES);
        let (transport, driver) = Self::driven(reader, writer, handlers, Some(session));
        (transport, theirs, driver.run())
    }

    /// Puts our frames alone on a connection. Returns the task to run, which ends with the connection.
    pub(super) fn alone(
        reader: BoxRead,
        writer: BoxWrite,
        handlers: Handlers,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (transport, driver) = Self::driven(reader, writer, handlers, None);
        (transport, driver.run())
    }

    fn driven(reader: BoxRead, writer: BoxWrite, handlers: Handlers, session: Option<DuplexStream>) -> (Self, Driver) {
        let transport = Self(Arc::new(Shared(Mutex::new(Out::new(writer)))));
        let driver = Driver {
            transport: transport.clone(),
            reader,
            read: BytesMut::new(),
            parts: Parts::default(),
            session,
            of_session: BytesMut::new(),
            handlers,
            early: Some(Vec::new()),
            serving: Vec::new(),
        };
        (transport, driver)
    }
}

/// A call of the other side.
#[derive(Clone, Copy)]
struct Call {
    number: u64,
    /// Its answer overtakes others, as it did.
    ahead: bool,
}

/// Reads, hands on, and answers.
struct Driver {
    transport: LinkTransport,
    reader: BoxRead,
    read: BytesMut,
    /// Of the frame that is cut.
    parts: Parts,
    /// None on the link of a client.
    session: Option<DuplexStream>,
    of_session: BytesMut,
    handlers: Handlers,
    /// Calls that arrived before the other process was announced here; `None` once it is.
    early: Option<Vec<(Call, Bytes)>>,
    /// Answers that are not known yet; a replica has a few on their way.
    serving: Vec<(Served, Call)>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.transport.lock().end();
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

    fn take_call(&mut self, call: Call, frame: Bytes) {
        if let Some(early) = &mut self.early {
            return early.push((call, frame));
        }
        let transport = self.transport.clone();
        let reply = ReplyPort::new(move |answer| transport.answer(call.number, answer, call.ahead));
        let served = take_in(&self.handlers, frame, reply);
        self.serving.extend(served.map(|(served, _)| (served, call)));
    }

    /// Does the work that is ready; resolves to bytes for the session, or to the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let announced = {
            let mut out = self.transport.lock();
            out.waker.clone_from(context.waker());
            out.announced
        };
        if let Some(early) = self.early.take_if(|_| announced) {
            early.into_iter().for_each(|(call, frame)| self.take_call(call, frame));
        }
        loop {
            while let Some((kind, number, piece)) = next_piece(&mut self.read)? {
                match kind {
                    SESSION if self.session.is_some() => return Poll::Ready(Ok(piece)),
                    CALL | CALL_AHEAD => self.take_call(Call { number, ahead: kind == CALL_AHEAD }, piece),
                    ANSWER => self.transport.answered(number, piece),
                    PART => self.parts.add(number, &piece)?,
                    CALL_END => {
                        let frame = self.parts.end(&piece)?;
                        self.take_call(Call { number, ahead: false }, frame);
                    }
                    ANSWER_END => {
                        let answer = self.parts.end(&piece)?;
                        self.transport.answered(number, answer);
                    }
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
        while let Some((served, call)) = self.serving.get_mut(at) {
            match served.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    self.transport.lock().push(ANSWER, call.number, answer.into(), call.ahead);
                    drop(self.serving.swap_remove(at));
                }
                Poll::Pending => at += 1,
            }
        }
        // Writing first makes room for the session; without one, the socket wakes this task.
        while self.transport.write()? < WAITING_MAX
            && let Some(session) = &mut self.session
        {
            self.of_session.reserve(SESSION_BYTES);
            if !poll_read(session, &mut self.of_session, context)? {
                break;
            }
            self.transport.lock().push(SESSION, 0, self.of_session.split().freeze(), true);
        }
        Poll::Pending
    }
}

/// Reads the bytes that are ready; false if there were none. The end is an error.
fn poll_read<R: AsyncRead + Unpin>(from: &mut R, into: &mut BytesMut, context: &mut Context<'_>) -> io::Result<bool> {
    match pin!(from.read_buf(into)).poll(context) {
        Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Poll::Ready(got) => got.map(|_| true),
        Poll::Pending => Ok(false),
    }
}

#[cfg(test)]
#[path = "transport/tests.rs"]
mod tests;
