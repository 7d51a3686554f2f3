//! Messages of the assured level: unconfirmed ones, requests in flight, and the response to each refusal.
//!
//! Numbers run without holes. An attempt is one run of sending from the lowest unconfirmed number on. Whatever ends a
//! run (a refusal, a timeout, another engine) raises the attempt's number, and of answers to earlier attempts only the
//! confirmed number counts. So late requests of an earlier attempt do no harm: the store judges every number.

mod answers;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Message, QueueName, topic};

use super::{BATCH_MESSAGES, Bounds, Effect, Wake, cost};
use crate::producer::{HandedBack, Refusal};
use crate::protocol::{EngineError, Limits};
use crate::session::Backoff;

/// Maximum requests in flight.
const REQUESTS: usize = 8;
/// Requests in flight from which on a partly filled request waits and grows.
const PARTIAL_REQUESTS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No engine, or one that did not serve.
    Away,
    /// Registering.
    Opening,
    /// Registered: requests go out.
    Open,
    /// Refused: backs off before it sends again, or registers again.
    Waiting { registered: bool },
    /// All messages are confirmed, and the engine is asked to forget the producer.
    Leaving,
    /// Closed or failed.
    Ended,
}

/// A message that is not confirmed.
#[derive(Debug)]
struct Pending<T> {
    message: Message,
    size: usize,
    since: BootTime,
    ticket: T,
}

/// The numbered messages of a producer.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    queue: QueueName,
    bounds: Bounds,
    phase: Phase,
    attempt: u64,
    engine: Option<(Epoch, u64)>,
    /// A named producer keeps its id, also when it is closed.
    has_name: bool,
    /// Registered once: from then on the engine must know the producer.
    known: bool,
    limits: Option<Limits>,
    /// Each message needs a topic.
    publishes: bool,
    /// The number of the first pending message; all earlier ones are confirmed.
    base: u64,
    /// Number of messages that were sent under earlier ids. The engine counts from the next one.
    offset: u64,
    /// The first attempt under this id. Answers to earlier ones refer to other numbers.
    renewed: u64,
    /// The highest number that was ever in a request.
    sent: u64,
    pending: VecDeque<Pending<T>>,
    pending_bytes: usize,
    /// Number of pending messages that are in requests of this attempt.
    cursor: usize,
    /// The last number of each request in flight.
    requests: BTreeMap<u64, u64>,
    next_request: u64,
    /// After a refusal, one request at a time goes out until one is accepted.
    probing: bool,
    backoff: Backoff,
    full_backoff: Backoff,
    /// The engine's last refusal, while it accepts nothing.
    held_up: Option<EngineError>,
    /// More messages are expected before the next request is made.
    gathering: bool,
    /// Sent since the last keep-alive.
    active: bool,
    /// [`Effect::Stop`] was returned.
    stopped: bool,
    /// The epoch that was reported as connected.
    connected: Option<Epoch>,
    /// Flushes, each with the number of the first message after it.
    flushes: VecDeque<(u64, T)>,
}

impl<T> Numbered<T> {
    /// No messages yet; the first one has the number `next`, or 1.
    pub(super) fn new(queue: QueueName, bounds: Bounds, next: Option<u64>) -> Self {
        Self {
            has_name: next.is_some(),
            queue,
            bounds,
            phase: Phase::Away,
            attempt: 0,
            engine: None,
            known: next.is_some(),
            limits: None,
            publishes: false,
            base: next.unwrap_or(1),
            offset: 0,
            renewed: 0,
            sent: next.unwrap_or(1).saturating_sub(1),
            pending: VecDeque::new(),
            pending_bytes: 0,
            cursor: 0,
            requests: BTreeMap::new(),
            next_request: 0,
            probing: false,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(250)),
            full_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            held_up: None,
            gathering: false,
            active: false,
            stopped: false,
            connected: None,
            flushes: VecDeque::new(),
        }
    }

    /// The queue.
    pub(super) fn queue(&self) -> &QueueName {
        &self.queue
    }

    #[cfg(test)]
    pub(super) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The send time of the oldest unconfirmed message.
    pub(super) fn oldest(&self) -> Option<BootTime> {
        self.pending.front().map(|pending| pending.since)
    }

    /// The engine's last refusal, while it accepts nothing.
    pub(super) fn held_up(&self) -> Option<&EngineError> {
        self.held_up.as_ref()
    }

    /// Makes no requests until [`Numbered::end_gathering`]: more messages follow at once.
    pub(super) fn gather(&mut self) {
        self.gathering = true;
    }

    /// The gathered messages can make a request.
    pub(super) fn end_gathering(&mut self) {
        self.gathering = false;
    }

    /// Takes a message in, or refuses it.
    pub(super) fn send(&mut self, message: Message, ticket: T, since: BootTime, effects: &mut Vec<Effect<T>>) {
        if let Some(why) = self.refusal(&message) {
            effects.push(Effect::Refuse { message, ticket, why });
            return;
        }
        let size = cost(&message);
        self.pending_bytes += size;
        self.pending.push_back(Pending { message, size, since, ticket });
        if !self.gathering {
            self.gathering = true;
            effects.push(Effect::PumpSoon);
        }
    }

    fn refusal(&self, message: &Message) -> Option<Refusal> {
        if let Some(why) = self.permanent_refusal(message) {
            return Some(why);
        }
        let bytes = self.pending_bytes + cost(message);
        let full = self.pending.len() >= self.bounds.window_messages
            || (bytes > self.bounds.window_bytes && !self.pending.is_empty());
        full.then_some(Refusal::WindowFull)
    }

    /// The reason if the engine would never accept a message, as far as is known. Checked before it has a number: a
    /// number that is never stored would end the producer.
    fn permanent_refusal(&self, message: &Message) -> Option<Refusal> {
        let (size, limit) = (message.limited_size() as u64, self.limits?.message_bytes);
        if size > limit {
            return Some(Refusal::MessageTooLarge { size, limit });
        }
        let topic = self.publishes.then(|| topic::check_topic(message.topic()).err())?;
        topic.map(|error| Refusal::BadTopic(error.to_string()))
    }

    /// Completes a flush once all messages so far are confirmed.
    pub(super) fn flush(&mut self, ticket: T, effects: &mut Vec<Effect<T>>) {
        self.flushes.push_back((self.base + self.pending.len() as u64, ticket));
        self.complete_flushes(effects);
    }

    /// The engine is reachable over that link.
    pub(super) fn engine_at(&mut self, epoch: Epoch, link: u64, effects: &mut Vec<Effect<T>>) {
        let same = self.engine == Some((epoch, link));
        self.engine = Some((epoch, link));
        match self.phase {
            Phase::Ended => {}
            Phase::Leaving => self.end(effects),
            // Reported again because another producer or consumer had trouble.
            Phase::Opening | Phase::Open | Phase::Waiting { .. } if same => {}
            Phase::Away => self.open(effects),
            Phase::Opening | Phase::Open | Phase::Waiting { .. } => {
                self.disconnect(effects);
                self.open(effects);
            }
        }
    }

    /// No engine is reachable.
    pub(super) fn engine_gone(&mut self, effects: &mut Vec<Effect<T>>) {
        self.engine = None;
        match self.phase {
            Phase::Away | Phase::Ended => {}
            Phase::Leaving => self.end(effects),
            Phase::Opening | Phase::Open | Phase::Waiting { .. } => {
                self.disconnect(effects);
                self.restart(Phase::Away);
            }
        }
    }

    fn disconnect(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.connected.take().is_some() {
            effects.push(Effect::Disconnected);
        }
    }

    fn restart(&mut self, phase: Phase) {
        self.attempt += 1;
        self.requests.clear();
        self.cursor = 0;
        self.phase = phase;
    }

    fn open(&mut self, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Opening);
        effects.push(Effect::Open { attempt: self.attempt, known: self.known });
    }

    /// A delay is over.
    pub(super) fn wake(&mut self, attempt: u64, effects: &mut Vec<Effect<T>>) {
        match self.phase {
            Phase::Waiting { registered } if attempt == self.attempt => {
                if registered {
                    self.phase = Phase::Open;
                    if self.sent >= self.base {
                        effects.push(Effect::Resent { from: self.base, through: self.sent });
                    }
                } else {
                    self.open(effects);
                }
            }
            Phase::Away | Phase::Opening | Phase::Open | Phase::Waiting { .. } | Phase::Leaving | Phase::Ended => {}
        }
    }

    fn confirm(&mut self, through: u64, effects: &mut Vec<Effect<T>>) {
        let before = self.base;
        // Only a message that was sent can be confirmed.
        while self.base <= through.min(self.sent) {
            let Some(Pending { size, ticket, .. }) = self.pending.pop_front() else { break };
            self.pending_bytes -= size;
            effects.push(Effect::Confirm { number: Some(self.base), ticket });
            self.base += 1;
            self.cursor = self.cursor.saturating_sub(1);
        }
        if self.base > before {
            effects.push(Effect::Confirmed { through: self.base - 1 });
            self.complete_flushes(effects);
        }
    }

    fn complete_flushes(&mut self, effects: &mut Vec<Effect<T>>) {
        while let Some((_, ticket)) = self.flushes.pop_front_if(|(next, _)| *next <= self.base) {
            effects.push(Effect::Flushed { ticket, outcome: Ok(()) });
        }
    }

    /// Makes requests of pending messages: at once while few are in flight, else when one has the size that the engine
    /// asks for. So an idle producer adds no delay, and the requests of a busy one grow.
    pub(super) fn pump(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.gathering {
            return;
        }
        // Known since it was registered.
        let Some(Limits { frame_min_bytes, frame_max_bytes, .. }) = self.limits else { return };
        while self.phase == Phase::Open && self.cursor < self.pending.len() {
            let (mut count, mut bytes) = (0, 0);
            for pending in self.pending.iter().skip(self.cursor).take(BATCH_MESSAGES) {
                if count > 0 && (bytes + pending.size) as u64 > frame_max_bytes {
                    break;
                }
                bytes += pending.size;
                count += 1;
            }
            let partial =
                self.cursor + count == self.pending.len() && count < BATCH_MESSAGES && (bytes as u64) < frame_min_bytes;
            let most = match (self.probing, partial) {
                (true, _) => 1,
                (false, true) => PARTIAL_REQUESTS,
                (false, false) => REQUESTS,
            };
            if self.requests.len() >= most {
                return;
            }
            let first = self.base + self.cursor as u64;
            let last = first + count as u64 - 1;
            let messages = self.pending.range(self.cursor..self.cursor + count).map(|pending| pending.message.clone());
            let request = self.next_request;
            let messages = messages.collect();
            effects.push(Effect::Send { attempt: self.attempt, request, first: first - self.offset, messages });
            self.next_request += 1;
            self.requests.insert(request, last);
            self.cursor += count;
            self.sent = self.sent.max(last);
            self.active = true;
        }
    }

    /// The keep-alive interval is over: an idle producer registers again.
    pub(super) fn keep_alive(&mut self, effects: &mut Vec<Effect<T>>) {
        let idle = !std::mem::take(&mut self.active);
        if idle && self.phase == Phase::Open && self.pending.is_empty() {
            self.open(effects);
        }
    }

    /// Ends without confirms: returns the unconfirmed messages and the flushes.
    pub(super) fn hand_back(&mut self) -> (Vec<(HandedBack, T)>, Vec<T>) {
        let (base, sent) = (self.base, self.sent);
        let unconfirmed = self.pending.drain(..).zip(base..).map(|(Pending { message, ticket, .. }, number)| {
            let in_doubt = number <= sent;
            (HandedBack { message, in_doubt }, ticket)
        });
        let unconfirmed = unconfirmed.collect();
        self.pending_bytes = 0;
        self.restart(Phase::Ended);
        (unconfirmed, self.flushes.drain(..).map(|(_, ticket)| ticket).collect())
    }

    /// Closed: once all messages are confirmed, the engine is asked to forget the producer.
    pub(super) fn leave(&mut self, effects: &mut Vec<Effect<T>>) {
        if !self.pending.is_empty() || self.stopped {
            return;
        }
        match self.phase {
            // Each of these leads to one of the others.
            Phase::Leaving | Phase::Opening | Phase::Waiting { .. } => {}
            // It comes back, and must be known then.
            Phase::Open if self.has_name => self.end(effects),
            Phase::Open => {
                self.restart(Phase::Leaving);
                effects.push(Effect::CloseProducer);
            }
            // Without an engine to ask: it forgets idle producers after a while.
            Phase::Away | Phase::Ended => self.end(effects),
        }
    }

    /// Stops: all messages are confirmed or handed back.
    pub(super) fn end(&mut self, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Ended);
        self.stopped = true;
        effects.push(Effect::Stop);
    }
}

#[cfg(test)]
mod tests;
