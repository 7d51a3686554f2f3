//! The producer's core: what is unconfirmed, what is on its way, and what to do when an answer says no.
//!
//! An attempt is one run of sending from the lowest unconfirmed number on. Whatever ends a run (a refusal, a timeout,
//! another engine) raises the attempt's number, and of answers to earlier attempts only what they confirm counts. So
//! requests of an earlier attempt that still arrive do no harm: the store judges every number.

mod answers;
mod boundary;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Message, QueueName, topic};

use super::{HandedBack, ProducerFailure, Refusal};
use crate::protocol::{EngineError, Limits};
use crate::session::Backoff;

pub(crate) use boundary::{Effect, Input};

/// The most messages in one request.
pub(crate) const BATCH_MESSAGES: usize = 1_000;
/// The most requests on their way.
const REQUESTS: usize = 8;
/// With so many requests on their way, one that is not full waits and grows.
const PARTIAL_REQUESTS: usize = 2;
/// What a message takes beside its size, roughly.
const OVERHEAD_BYTES: usize = 32;

/// What a message takes of a window or a request.
pub(crate) fn cost(message: &Message) -> usize {
    message.size() + OVERHEAD_BYTES
}

/// How a core works: the bounds out of [`super::ProducerOptions`].
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) window_messages: usize,
    pub(crate) window_bytes: usize,
    pub(crate) give_up: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No engine, or one that did not serve.
    Away,
    /// Registering.
    Opening,
    /// Registered: requests go out.
    Open,
    /// Refused: waits before it sends again, or registers again.
    Waiting { registered: bool },
    /// Everything is confirmed, and the engine is asked to forget the producer.
    Leaving,
    /// Closed or failed.
    Ended,
}

#[derive(Debug)]
struct Entry<T> {
    message: Message,
    size: usize,
    since: BootTime,
    ticket: T,
}

/// What a producer knows.
#[derive(Debug)]
pub(crate) struct State<T> {
    queue: QueueName,
    bounds: Bounds,
    phase: Phase,
    attempt: u64,
    engine: Option<(Epoch, u64)>,
    /// It keeps its id, also when it is closed.
    has_name: bool,
    /// Registered once: from then on the engine must know the producer.
    known: bool,
    limits: Option<Limits>,
    /// Each message needs a topic.
    publishes: bool,
    /// The number of the first pending message; all before are confirmed.
    base: u64,
    /// How many messages were sent under ids before this one. To the engine, numbers begin behind them.
    offset: u64,
    /// The first attempt under this id. Answers to earlier ones speak of other numbers.
    renewed: u64,
    /// The highest number that was ever in a request.
    sent: u64,
    pending: VecDeque<Entry<T>>,
    pending_bytes: usize,
    /// How many of the pending messages are in requests of this attempt.
    cursor: usize,
    /// Requests on their way: the last number of each.
    requests: BTreeMap<u64, u64>,
    next_request: u64,
    /// After a refusal, one request at a time goes out until one is taken.
    probing: bool,
    backoff: Backoff,
    full_backoff: Backoff,
    /// Why the engine takes nothing at present, in its last word.
    held_up: Option<EngineError>,
    pump_soon: bool,
    check_age: bool,
    /// Sent since the last [`Input::KeepAlive`].
    active: bool,
    closing: bool,
    failure: Option<ProducerFailure>,
    /// The epoch that was told as connected.
    connected: Option<Epoch>,
    /// Who waits for the confirmation of which number.
    flushes: VecDeque<(u64, T)>,
}

impl<T> State<T> {
    /// A producer that has sent nothing; or one with a name, that goes on with that number.
    pub(crate) fn new(queue: QueueName, bounds: Bounds, next: Option<u64>) -> Self {
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
            pump_soon: false,
            check_age: false,
            active: false,
            closing: false,
            failure: None,
            connected: None,
            flushes: VecDeque::new(),
        }
    }

    /// Takes one input in and says what to do, in order.
    pub(crate) fn step(&mut self, input: Input<T>) -> Vec<Effect<T>> {
        let mut effects = Vec::new();
        match input {
            Input::Send { message, ticket, now } => self.take(message, ticket, now, &mut effects),
            Input::SendAll { sends, now } => {
                // Nobody has to come back for them.
                self.pump_soon = true;
                for (message, ticket) in sends {
                    self.take(message, ticket, now, &mut effects);
                }
                self.pump_soon = false;
            }
            Input::Flush { ticket } => self.flush(ticket, &mut effects),
            Input::Close => self.closing = true,
            Input::Pump => self.pump_soon = false,
            Input::EngineAt { epoch, link } => self.engine_at(epoch, link, &mut effects),
            Input::EngineGone => self.engine_gone(&mut effects),
            Input::Opened { attempt, answer } => {
                if attempt == self.attempt {
                    self.opened(answer, &mut effects);
                }
            }
            Input::Sent { attempt, request, answer } => self.answered(attempt, request, answer, &mut effects),
            // Whatever the engine said: all is confirmed, and it forgets idle producers by itself.
            Input::Closed => self.end(&mut effects),
            Input::Wake { attempt } => self.wake(attempt, &mut effects),
            Input::CheckAge { now } => self.check_age(now, &mut effects),
            Input::KeepAlive => self.keep_alive(&mut effects),
            Input::Fail { why } => {
                if self.failure.is_none() {
                    self.fail(why, &mut effects);
                }
            }
        }
        if !self.pump_soon {
            self.pump(&mut effects);
        }
        self.leave(&mut effects);
        effects
    }

    fn take(&mut self, message: Message, ticket: T, now: BootTime, effects: &mut Vec<Effect<T>>) {
        if let Some(why) = self.refusal(&message) {
            effects.push(Effect::Refuse { message, ticket, why });
            return;
        }
        let size = cost(&message);
        self.pending_bytes += size;
        self.pending.push_back(Entry { message, size, since: now, ticket });
        if !self.pump_soon {
            self.pump_soon = true;
            effects.push(Effect::PumpSoon);
        }
        if let Some(give_up) = self.bounds.give_up
            && !self.check_age
        {
            self.check_age = true;
            effects.push(Effect::CheckAgeAfter(give_up));
        }
    }

    fn refusal(&self, message: &Message) -> Option<Refusal> {
        if let Some(why) = &self.failure {
            return Some(Refusal::Failed(why.clone()));
        }
        if self.closing {
            return Some(Refusal::Closed);
        }
        if let Some(why) = self.never_taken(message) {
            return Some(why);
        }
        let bytes = self.pending_bytes + cost(message);
        let full = self.pending.len() >= self.bounds.window_messages
            || (bytes > self.bounds.window_bytes && !self.pending.is_empty());
        full.then_some(Refusal::WindowFull)
    }

    /// Why the engine would not take a message, now or later, as far as is known. Told before it has a number: a number
    /// that is never stored would end the producer.
    fn never_taken(&self, message: &Message) -> Option<Refusal> {
        let (size, limit) = (message.limited_size() as u64, self.limits?.message_bytes);
        if size > limit {
            return Some(Refusal::MessageTooLarge { size, limit });
        }
        let topic = self.publishes.then(|| topic::check_topic(message.topic()).err())?;
        topic.map(|error| Refusal::BadTopic(error.to_string()))
    }

    fn flush(&mut self, ticket: T, effects: &mut Vec<Effect<T>>) {
        if let Some(why) = &self.failure {
            effects.push(Effect::Fail { why: why.clone(), unconfirmed: Vec::new(), flushes: vec![ticket] });
        } else if self.pending.is_empty() {
            effects.push(Effect::Flushed { ticket });
        } else {
            self.flushes.push_back((self.base + self.pending.len() as u64 - 1, ticket));
        }
    }

    fn engine_at(&mut self, epoch: Epoch, link: u64, effects: &mut Vec<Effect<T>>) {
        let same = self.engine == Some((epoch, link));
        self.engine = Some((epoch, link));
        match self.phase {
            Phase::Ended => {}
            Phase::Leaving => self.end(effects),
            // Told again because somebody else had trouble.
            Phase::Opening | Phase::Open | Phase::Waiting { .. } if same => {}
            Phase::Away => self.open(effects),
            Phase::Opening | Phase::Open | Phase::Waiting { .. } => {
                self.disconnect(effects);
                self.open(effects);
            }
        }
    }

    fn engine_gone(&mut self, effects: &mut Vec<Effect<T>>) {
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

    fn wake(&mut self, attempt: u64, effects: &mut Vec<Effect<T>>) {
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
        // Nothing that was not sent can be confirmed.
        while self.base <= through.min(self.sent) {
            let Some(entry) = self.pending.pop_front() else { break };
            self.pending_bytes -= entry.size;
            effects.push(Effect::Confirm { number: self.base, ticket: entry.ticket });
            self.base += 1;
            self.cursor = self.cursor.saturating_sub(1);
        }
        if self.base > before {
            effects.push(Effect::Confirmed { through: self.base - 1 });
            self.complete_flushes(effects);
        }
    }

    fn complete_flushes(&mut self, effects: &mut Vec<Effect<T>>) {
        while let Some((_, ticket)) = self.flushes.pop_front_if(|(through, _)| *through < self.base) {
            effects.push(Effect::Flushed { ticket });
        }
    }

    /// Makes requests out of what is pending: at once while few are on their way, else when one has the size that
    /// the engine asks for. So an idle producer adds no delay, and the requests of a busy one grow by themselves.
    fn pump(&mut self, effects: &mut Vec<Effect<T>>) {
        // Known since it was registered.
        let Some(Limits { frame_min_bytes, frame_max_bytes, .. }) = self.limits else { return };
        while self.phase == Phase::Open && self.cursor < self.pending.len() {
            let (mut count, mut bytes) = (0, 0);
            for entry in self.pending.iter().skip(self.cursor).take(BATCH_MESSAGES) {
                if count > 0 && (bytes + entry.size) as u64 > frame_max_bytes {
                    break;
                }
                bytes += entry.size;
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
            let messages = self.pending.range(self.cursor..self.cursor + count).map(|entry| entry.message.clone());
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

    fn check_age(&mut self, now: BootTime, effects: &mut Vec<Effect<T>>) {
        self.check_age = false;
        let (Some(give_up), Some(oldest)) = (self.bounds.give_up, self.pending.front()) else { return };
        let age = now.since(oldest.since);
        if age >= give_up {
            let held_up = self.held_up.take().map(Box::new);
            self.fail(ProducerFailure::GaveUp { within: give_up, held_up }, effects);
        } else {
            self.check_age = true;
            effects.push(Effect::CheckAgeAfter(give_up - age));
        }
    }

    fn keep_alive(&mut self, effects: &mut Vec<Effect<T>>) {
        let idle = !std::mem::take(&mut self.active);
        if idle && self.phase == Phase::Open && self.pending.is_empty() {
            self.open(effects);
        }
    }

    fn fail(&mut self, why: ProducerFailure, effects: &mut Vec<Effect<T>>) {
        let (base, sent) = (self.base, self.sent);
        let unconfirmed = self
            .pending
            .drain(..)
            .zip(base..)
            .map(|(entry, number)| (HandedBack { message: entry.message, in_doubt: number <= sent }, entry.ticket));
        let unconfirmed = unconfirmed.collect();
        let flushes = self.flushes.drain(..).map(|(_, ticket)| ticket).collect();
        self.pending_bytes = 0;
        self.failure = Some(why.clone());
        self.restart(Phase::Ended);
        effects.push(Effect::Fail { why, unconfirmed, flushes });
    }

    /// Once closed, and when everything is confirmed, the engine is asked to forget the producer.
    fn leave(&mut self, effects: &mut Vec<Effect<T>>) {
        if !self.closing || !self.pending.is_empty() {
            return;
        }
        match self.phase {
            // On the way to one of the others.
            Phase::Leaving | Phase::Opening | Phase::Waiting { .. } => {}
            // It comes back, and must be known then.
            Phase::Open if self.has_name => self.end(effects),
            Phase::Open => {
                self.restart(Phase::Leaving);
                effects.push(Effect::CloseProducer);
            }
            // With no engine to tell: it forgets idle producers by itself.
            Phase::Away | Phase::Ended => self.end(effects),
        }
    }

    fn end(&mut self, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Ended);
        self.closing = false;
        self.failure.get_or_insert(ProducerFailure::Stopped);
        effects.push(Effect::Stop);
    }

    /// Whether the producer ended.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The queue.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }
}

#[cfg(test)]
mod tests;
