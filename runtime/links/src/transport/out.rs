//! The send queues of a connection, and the callers that wait for answers.
//!
//! There are two queues: frames that go ahead, with the session's bytes, and all others. Long frames of the second
//! queue are cut, and a piece is begun only when the socket took the one before it, so that a heartbeat waits for one
//! piece and not for megabytes. A frame whose caller gave up leaves its queue, if no byte of it was sent.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use baton_client::wire::Outgoing;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::piece::{ANSWER_END, CALL, CALL_AHEAD, CALL_END, HEAD, PART, head};
use crate::socket::BoxWrite;

/// Bytes that are begun at a time: frames that go ahead wait for them. At the least bandwidth of a link they take some
/// 30 ms.
pub(super) const PIECE_BYTES: usize = 32 * 1024;
/// Bytes that may go ahead before one piece of the others goes.
const AHEAD_RUN: usize = 64 * 1024;
/// Maximum of slices per write.
const SLICES: usize = 64;

/// Something that waits in line.
struct Message {
    kind: u8,
    number: u64,
    first: Bytes,
    rest: Bytes,
    /// A part of it was sent.
    begun: bool,
    credit: Option<OwnedSemaphorePermit>,
}

impl Message {
    fn left(&self) -> usize {
        self.first.len() + self.rest.len()
    }
}

/// A call that waits for its answer.
struct PendingCall {
    sender: oneshot::Sender<Vec<u8>>,
    /// All of the call has left its queue.
    sent: bool,
    credit: Option<OwnedSemaphorePermit>,
}

/// The send queues of a connection, and the callers that wait for answers.
pub(super) struct Out {
    /// `None` once the connection has ended.
    writer: Option<BoxWrite>,
    /// Pieces that are written before anything else, for the other side may have their beginning.
    begun: VecDeque<Bytes>,
    begun_bytes: usize,
    ahead: VecDeque<Message>,
    ahead_bytes: usize,
    others: VecDeque<Message>,
    /// Bytes that went ahead since one of the others went.
    run: usize,
    /// By the numbers of their calls.
    waiting: HashMap<u64, PendingCall>,
    next: u64,
    /// This process knows the other one by name: handlers look the sender of a frame up.
    pub(super) announced: bool,
    /// Of the task that reads: it writes on when the socket takes more.
    pub(super) waker: Waker,
}

impl Out {
    pub(super) fn new(writer: BoxWrite) -> Self {
        Self {
            writer: Some(writer),
            begun: VecDeque::new(),
            begun_bytes: 0,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            others: VecDeque::new(),
            run: 0,
            waiting: HashMap::new(),
            next: 0,
            announced: false,
            waker: Waker::noop().clone(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.writer.is_none()
    }

    /// Queues a call; returns its number and the receiver of its answer, or `None` once the connection has ended.
    pub(super) fn call(&mut self, frame: Outgoing) -> Option<(u64, oneshot::Receiver<Vec<u8>>)> {
        self.writer.as_ref()?;
        let (sender, receiver) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, PendingCall { sender, sent: false, credit: None });
        let Outgoing { head, payload, ahead, credit } = frame;
        let kind = if ahead { CALL_AHEAD } else { CALL };
        let (first, rest) = (head.into(), payload.into());
        self.line_up(ahead, Message { kind, number, first, rest, begun: false, credit });
        Some((number, receiver))
    }

    /// Puts something else in line.
    pub(super) fn push(&mut self, kind: u8, number: u64, bytes: Bytes, ahead: bool) {
        if self.writer.is_some() {
            let message = Message { kind, number, first: bytes, rest: Bytes::new(), begun: false, credit: None };
            self.line_up(ahead, message);
        }
    }

    fn line_up(&mut self, ahead: bool, message: Message) {
        if ahead {
            self.ahead_bytes += message.left();
            self.ahead.push_back(message);
        } else {
            self.others.push_back(message);
        }
    }

    /// The answer to a call came.
    pub(super) fn answered(&mut self, number: u64) -> Option<oneshot::Sender<Vec<u8>>> {
        self.waiting.remove(&number).map(|waiting| waiting.sender)
    }

    /// Nobody waits for the answer to that call any more.
    pub(super) fn give_up(&mut self, number: u64) {
        if self.waiting.remove(&number).is_none_or(|waiting| waiting.sent) {
            return;
        }
        let is_it =
            |message: &Message| message.number == number && !message.begun && matches!(message.kind, CALL | CALL_AHEAD);
        if let Some(at) = self.others.iter().position(is_it) {
            self.others.remove(at);
        } else if let Some(at) = self.ahead.iter().position(is_it)
            && let Some(message) = self.ahead.remove(at)
        {
            self.ahead_bytes -= message.left();
        }
    }

    /// Bytes that are written before the session's next ones.
    pub(super) fn before_session(&self) -> usize {
        self.begun_bytes + self.ahead_bytes
    }

    /// The number of frames in the queues, and of calls without an answer.
    #[cfg(test)]
    pub(super) fn waits(&self) -> (usize, usize) {
        (self.others.len() + self.ahead.len(), self.waiting.len())
    }

    /// Begins the next pieces, as long as they fit; one piece always fits if none is begun.
    fn begin(&mut self) {
        loop {
            let goes_ahead = !self.ahead.is_empty() && (self.run < AHEAD_RUN || self.others.is_empty());
            let line = if goes_ahead { &mut self.ahead } else { &mut self.others };
            let Some(mut message) = line.pop_front() else { return };
            let left = message.left();
            // The session's bytes and frames that go ahead are short.
            let length = if goes_ahead { left } else { left.min(PIECE_BYTES) };
            if self.begun_bytes > 0 && self.begun_bytes + HEAD + length > PIECE_BYTES {
                line.push_front(message);
                return;
            }
            let is_whole = length == left;
            let (kind, number) = match (is_whole, message.begun) {
                (true, false) => (message.kind, message.number),
                (true, true) => (if message.kind == CALL { CALL_END } else { ANSWER_END }, message.number),
                (false, _) => (PART, left as u64),
            };
            let mut bytes = BytesMut::with_capacity(HEAD + message.first.len().min(length));
            bytes.extend_from_slice(&head(kind, number, length));
            let of_first = message.first.split_to(message.first.len().min(length));
            bytes.extend_from_slice(&of_first);
            let rest = message.rest.split_to(length - of_first.len());
            self.begun.push_back(bytes.freeze());
            if !rest.is_empty() {
                self.begun.push_back(rest);
            }
            self.begun_bytes += HEAD + length;
            self.run = if goes_ahead && !self.others.is_empty() { self.run + length } else { 0 };
            if goes_ahead {
                self.ahead_bytes -= length;
            }
            if !is_whole {
                message.begun = true;
                self.others.push_front(message);
            } else if matches!(message.kind, CALL | CALL_AHEAD)
                && let Some(waiting) = self.waiting.get_mut(&message.number)
            {
                (waiting.sent, waiting.credit) = (true, message.credit);
            }
        }
    }

    /// Writes as much as the socket takes; the rest when it takes more.
    pub(super) fn flush(&mut self) {
        loop {
            if self.begun_bytes == 0 {
                self.begin();
            }
            let mut context = Context::from_waker(&self.waker);
            let Some(writer) = &mut self.writer else { return };
            if self.begun_bytes == 0 {
                // TLS may hold written bytes back.
                if let Poll::Ready(Err(_)) = Pin::new(writer).poll_flush(&mut context) {
                    self.end();
                }
                return;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = slices.iter_mut().zip(&self.begun).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            match Pin::new(&mut *writer).poll_write_vectored(&mut context, &slices[..used]) {
                Poll::Ready(Ok(written)) if written > 0 => self.written(written),
                Poll::Ready(_) => return self.end(),
                Poll::Pending => return,
            }
        }
    }

    fn written(&mut self, written: usize) {
        self.begun_bytes -= written;
        let mut left = written;
        while left > 0
            && let Some(piece) = self.begun.front_mut()
        {
            let of_it = left.min(piece.len());
            piece.advance(of_it);
            left -= of_it;
            if piece.is_empty() {
                self.begun.pop_front();
            }
        }
    }

    /// Nobody gets an answer any more.
    pub(super) fn end(&mut self) {
        self.writer = None;
        self.begun.clear();
        self.begun_bytes = 0;
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.others.clear();
        self.waiting.clear();
        self.waker.wake_by_ref();
    }
}
