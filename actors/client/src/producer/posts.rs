//! The producer's messages below the assured level: no numbers, no promise that each is stored once.
//!
//! They go out in their order, many in one request, all of one level, one request at a time: one that is refused for want
//! of room is not overtaken, and those of a busy producer grow by themselves. When a request's fate is unknown, because
//! the link broke or the engine ended, it is sent again if its level is; else its messages are handed back in doubt.

use std::collections::VecDeque;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Message, Reliability, topic};

use super::state::{BATCH_MESSAGES, Bounds, cost};
use super::{HandedBack, ProducerFailure, Refusal};
use crate::outbox::Answer;
use crate::protocol::{EngineError, EngineReply, PlacementNews};
use crate::session::Backoff;

#[cfg(test)]
mod tests;

/// What a request grows to, in bytes.
const REQUEST_BYTES: usize = 64 * 1024;

/// What happens. `T` is what a caller waits with.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// The user sends a message of that level.
    Post { message: Message, level: Reliability, ticket: T, now: BootTime },
    /// What came together is in.
    Pump,
    /// The engine is there.
    EngineAt { epoch: Epoch, link: u64 },
    /// The engine is nowhere.
    EngineGone,
    /// An answer to [`Effect::Post`].
    Posted { attempt: u64, answer: Answer },
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake { attempt: u64 },
    /// Time passed.
    CheckAge { now: BootTime },
    /// The producer ended.
    End { why: ProducerFailure },
}

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<T> {
    /// Ask the engine to take messages.
    Post { attempt: u64, level: Reliability, messages: Vec<Message> },
    /// Tell that a message was taken.
    Confirm { ticket: T },
    /// Tell that a message was not taken.
    Refuse { message: Message, ticket: T, why: Refusal },
    /// Tell that nobody knows what became of a message, or that the producer ended before it was taken.
    HandBack { unconfirmed: HandedBack, ticket: T, why: ProducerFailure },
    /// Report to the session.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// Report to the session.
    Works { epoch: Epoch },
    /// Wake after about that long.
    WakeAfter { delay: Duration, attempt: u64 },
    /// The whole producer ends.
    Fail { why: ProducerFailure },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Away,
    Open,
    /// Refused: waits before it sends again.
    Waiting,
    Ended,
}

#[derive(Debug)]
struct Entry<T> {
    message: Message,
    level: Reliability,
    since: BootTime,
    ticket: T,
    /// Whether it ever was in a request.
    sent: bool,
}

/// What is not taken yet.
#[derive(Debug)]
pub(crate) struct Posts<T> {
    bounds: Bounds,
    phase: Phase,
    attempt: u64,
    engine: Option<(Epoch, u64)>,
    waiting: VecDeque<Entry<T>>,
    /// The request on its way.
    request: Vec<Entry<T>>,
    count: usize,
    bytes: usize,
    backoff: Backoff,
    /// Why the engine takes nothing at present, in its last word.
    held_up: Option<EngineError>,
    failure: Option<ProducerFailure>,
    /// How many messages were taken in so far, and of how many it is known what became of them.
    pub(crate) taken: u64,
    pub(crate) done: u64,
}

impl<T> Posts<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            phase: Phase::Away,
            attempt: 0,
            engine: None,
            waiting: VecDeque::new(),
            request: Vec::new(),
            count: 0,
            bytes: 0,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(250)),
            held_up: None,
            failure: None,
            taken: 0,
            done: 0,
        }
    }

    /// Whether all is taken, or handed back.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes one input in and says what to do, in order.
    pub(crate) fn step(&mut self, input: Input<T>) -> Vec<Effect<T>> {
        let mut effects = Vec::new();
        match input {
            Input::Post { message, level, ticket, now } => self.take(message, level, ticket, now, &mut effects),
            Input::Pump => self.pump(&mut effects),
            Input::EngineAt { epoch, link } => {
                let same = self.engine.replace((epoch, link)) == Some((epoch, link));
                if self.phase != Phase::Ended && !(same && self.phase != Phase::Away) {
                    self.restart(Phase::Open, &mut effects);
                    self.pump(&mut effects);
                }
            }
            Input::EngineGone => {
                self.engine = None;
                if self.phase != Phase::Ended {
                    self.restart(Phase::Away, &mut effects);
                }
            }
            Input::Posted { attempt, answer } => {
                if attempt == self.attempt {
                    self.posted(answer, &mut effects);
                    self.pump(&mut effects);
                }
            }
            Input::Wake { attempt } => {
                if attempt == self.attempt && self.phase == Phase::Waiting {
                    self.phase = Phase::Open;
                    self.pump(&mut effects);
                }
            }
            Input::CheckAge { now } => self.check_age(now, &mut effects),
            Input::End { why } => self.end(&why, &mut effects),
        }
        effects
    }

    fn take(&mut self, message: Message, level: Reliability, ticket: T, now: BootTime, effects: &mut Vec<Effect<T>>) {
        let bytes = self.bytes + cost(&message);
        let full = self.count >= self.bounds.window_messages || (bytes > self.bounds.window_bytes && self.count > 0);
        let why = match &self.failure {
            Some(why) => Some(Refusal::Failed(why.clone())),
            None => full.then_some(Refusal::WindowFull),
        };
        if let Some(why) = why {
            return effects.push(Effect::Refuse { message, ticket, why });
        }
        (self.count, self.bytes, self.taken) = (self.count + 1, bytes, self.taken + 1);
        self.waiting.push_back(Entry { message, level, since: now, ticket, sent: false });
    }

    fn done(&mut self, entry: &Entry<T>) {
        self.done += 1;
        self.count -= 1;
        self.bytes -= cost(&entry.message);
    }

    /// Ends a run of sending. What may have been taken is sent again if its level is, else handed back in doubt.
    fn restart(&mut self, phase: Phase, effects: &mut Vec<Effect<T>>) {
        self.attempt += 1;
        self.phase = phase;
        for entry in std::mem::take(&mut self.request).into_iter().rev() {
            if entry.level.is_sent_again() {
                self.waiting.push_front(entry);
            } else {
                self.done(&entry);
                let unconfirmed = HandedBack { message: entry.message, in_doubt: true };
                effects.push(Effect::HandBack { unconfirmed, ticket: entry.ticket, why: ProducerFailure::LinkLost });
            }
        }
    }

    fn pump(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.phase != Phase::Open || !self.request.is_empty() {
            return;
        }
        let Some(level) = self.waiting.front().map(|entry| entry.level) else { return };
        let mut bytes = 0;
        while self.request.len() < BATCH_MESSAGES
            && bytes < REQUEST_BYTES
            && let Some(mut entry) = self.waiting.pop_front_if(|entry| entry.level == level)
        {
            bytes += cost(&entry.message);
            entry.sent = true;
            self.request.push(entry);
        }
        let messages = self.request.iter().map(|entry| entry.message.clone()).collect();
        self.attempt += 1;
        effects.push(Effect::Post { attempt: self.attempt, level, messages });
    }

    fn posted(&mut self, answer: Answer, effects: &mut Vec<Effect<T>>) {
        match answer {
            Ok(EngineReply::Posted) => {
                for entry in std::mem::take(&mut self.request) {
                    self.done(&entry);
                    effects.push(Effect::Confirm { ticket: entry.ticket });
                }
                self.backoff.reset();
                self.held_up = None;
                if let Some((epoch, _)) = self.engine {
                    effects.push(Effect::Works { epoch });
                }
            }
            Ok(EngineReply::Error(error)) => self.refused(error, effects),
            Ok(reply) => {
                let why = ProducerFailure::Protocol(format!("unexpected answer {reply:?}"));
                effects.push(Effect::Fail { why });
            }
            Err(_) => self.trouble(None, effects),
        }
    }

    fn refused(&mut self, error: EngineError, effects: &mut Vec<Effect<T>>) {
        let why = match error {
            EngineError::NotStarted { news } => {
                self.take_back();
                return self.trouble(Some(news), effects);
            }
            EngineError::Unknown => return self.trouble(None, effects),
            error @ (EngineError::Busy
            | EngineError::StoreFull { .. }
            | EngineError::QueueFull { .. }
            | EngineError::SendPaused(_)) => {
                self.held_up = Some(error);
                self.take_back();
                self.restart(Phase::Waiting, effects);
                return effects.push(Effect::WakeAfter { delay: self.backoff.delay(), attempt: self.attempt });
            }
            EngineError::NoSuchQueue(queue) => ProducerFailure::NoSuchQueue(queue),
            EngineError::MessageTooLarge { size, limit } => {
                // One of them, at least.
                for entry in std::mem::take(&mut self.request).into_iter().rev() {
                    if entry.message.limited_size() as u64 > limit {
                        self.done(&entry);
                        let why = Refusal::MessageTooLarge { size, limit };
                        effects.push(Effect::Refuse { message: entry.message, ticket: entry.ticket, why });
                    } else {
                        self.waiting.push_front(entry);
                    }
                }
                return;
            }
            EngineError::BadTopic(_) => {
                for entry in std::mem::take(&mut self.request).into_iter().rev() {
                    match topic::check_topic(entry.message.topic()) {
                        Ok(()) => self.waiting.push_front(entry),
                        Err(error) => {
                            self.done(&entry);
                            let why = Refusal::BadTopic(error.to_string());
                            effects.push(Effect::Refuse { message: entry.message, ticket: entry.ticket, why });
                        }
                    }
                }
                return;
            }
            EngineError::Fenced => ProducerFailure::Fenced,
            EngineError::ProducerUnknown => ProducerFailure::Forgotten,
            EngineError::BadRequest(why) => ProducerFailure::Protocol(why),
            EngineError::Gap { .. }
            | EngineError::ConsumerUnknown
            | EngineError::QueueExists(_)
            | EngineError::QueueDiffers { .. }
            | EngineError::OtherVersion { .. }
            | EngineError::MessageGone { .. }
            | EngineError::TransactionTooLarge { .. }
            | EngineError::QueueNotEmpty { .. }
            | EngineError::QueueInUse { .. }
            | EngineError::Refused(_) => ProducerFailure::Protocol(error.to_string()),
        };
        effects.push(Effect::Fail { why });
    }

    /// A request that was certainly not taken waits again.
    fn take_back(&mut self) {
        for entry in std::mem::take(&mut self.request).into_iter().rev() {
            self.waiting.push_front(Entry { sent: false, ..entry });
        }
    }

    fn trouble(&mut self, news: Option<PlacementNews>, effects: &mut Vec<Effect<T>>) {
        self.held_up = None;
        self.restart(Phase::Away, effects);
        if let Some((epoch, _)) = self.engine {
            effects.push(Effect::Trouble { epoch, news });
        }
    }

    fn check_age(&mut self, now: BootTime, effects: &mut Vec<Effect<T>>) {
        if let Some(give_up) = self.bounds.give_up
            && let Some(oldest) = self.request.first().or(self.waiting.front())
            && now.since(oldest.since) >= give_up
        {
            let held_up = self.held_up.take().map(Box::new);
            effects.push(Effect::Fail { why: ProducerFailure::GaveUp { within: give_up, held_up } });
        }
    }

    fn end(&mut self, why: &ProducerFailure, effects: &mut Vec<Effect<T>>) {
        self.phase = Phase::Ended;
        self.failure.get_or_insert(why.clone());
        for entry in std::mem::take(&mut self.request).into_iter().chain(self.waiting.drain(..)) {
            let unconfirmed = HandedBack { message: entry.message, in_doubt: entry.sent };
            effects.push(Effect::HandBack { unconfirmed, ticket: entry.ticket, why: why.clone() });
        }
        (self.count, self.bytes, self.done) = (0, 0, self.taken);
    }
}
