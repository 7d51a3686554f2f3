//! Messages below the assured level: no numbers, and no promise that each is stored once.
//!
//! They go out in their order, one request at a time, each with many messages of one level: a message that is refused
//! for lack of room is not overtaken, and the requests of a busy producer grow. When the outcome of a request is
//! unknown, because the link broke or the engine stopped, its messages are resent if their level says so; else they are
//! handed back in doubt.

use std::collections::VecDeque;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Message, Reliability, topic};

use super::{BATCH_MESSAGES, Bounds, Effect, Wake, cost};
use crate::outbox::Answer;
use crate::producer::{HandedBack, ProducerFailure, Refusal};
use crate::protocol::{EngineError, EngineReply, PlacementNews};
use crate::session::Backoff;

#[cfg(test)]
mod tests;

/// Target size of a request in bytes; its last message may exceed it.
const REQUEST_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No engine, or one that did not serve.
    Away,
    /// Requests go out.
    Open,
    /// Refused: backs off before it sends again.
    Waiting,
    /// The producer failed.
    Ended,
}

/// A message that is not confirmed.
#[derive(Debug)]
struct Post<T> {
    message: Message,
    level: Reliability,
    since: BootTime,
    ticket: T,
    /// It was in a request whose outcome is unknown.
    in_doubt: bool,
}

/// The messages without numbers of a producer.
#[derive(Debug)]
pub(super) struct Posts<T> {
    bounds: Bounds,
    phase: Phase,
    attempt: u64,
    engine: Option<(Epoch, u64)>,
    waiting: VecDeque<Post<T>>,
    /// The messages of the request in flight.
    request: Vec<Post<T>>,
    /// Messages in `waiting` and `request`.
    count: usize,
    bytes: usize,
    backoff: Backoff,
    /// The engine's last refusal, while it accepts nothing.
    held_up: Option<EngineError>,
    /// Messages that came in so far.
    taken: u64,
}

impl<T> Posts<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
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
            taken: 0,
        }
    }

    /// True if no message is unconfirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Messages that came in so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Messages that came in so far, up to the oldest unconfirmed one.
    pub(super) fn done(&self) -> u64 {
        self.taken - self.count as u64
    }

    #[cfg(test)]
    pub(super) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The send time of the oldest unconfirmed message.
    pub(super) fn oldest(&self) -> Option<BootTime> {
        self.request.first().or(self.waiting.front()).map(|post| post.since)
    }

    /// The engine's last refusal, while it accepts nothing.
    pub(super) fn held_up(&self) -> Option<&EngineError> {
        self.held_up.as_ref()
    }

    /// The engine is reachable over that link.
    pub(super) fn engine_at(&mut self, epoch: Epoch, link: u64, effects: &mut Vec<Effect<T>>) {
        let same = self.engine.replace((epoch, link)) == Some((epoch, link));
        match self.phase {
            Phase::Ended => {}
            Phase::Open | Phase::Waiting if same => {}
            Phase::Away | Phase::Open | Phase::Waiting => self.restart(Phase::Open, effects),
        }
    }

    /// No engine is reachable.
    pub(super) fn engine_gone(&mut self, effects: &mut Vec<Effect<T>>) {
        self.engine = None;
        if self.phase != Phase::Ended {
            self.restart(Phase::Away, effects);
        }
    }

    /// A delay is over.
    pub(super) fn wake(&mut self, attempt: u64) {
        if attempt == self.attempt && self.phase == Phase::Waiting {
            self.phase = Phase::Open;
        }
    }

    /// Takes a message of that level in, or refuses it.
    pub(super) fn send(
        &mut self,
        message: Message,
        level: Reliability,
        ticket: T,
        since: BootTime,
        effects: &mut Vec<Effect<T>>,
    ) {
        let bytes = self.bytes + cost(&message);
        if self.count >= self.bounds.window_messages || (bytes > self.bounds.window_bytes && self.count > 0) {
            return effects.push(Effect::Refuse { message, ticket, why: Refusal::WindowFull });
        }
        (self.count, self.bytes, self.taken) = (self.count + 1, bytes, self.taken + 1);
        self.waiting.push_back(Post { message, level, since, ticket, in_doubt: false });
    }

    fn remove(&mut self, post: &Post<T>) {
        self.count -= 1;
        self.bytes -= cost(&post.message);
    }

    /// Ends a run of sending. A message in doubt is resent if its level allows that, else handed back.
    fn restart(&mut self, phase: Phase, effects: &mut Vec<Effect<T>>) {
        self.attempt += 1;
        self.phase = phase;
        let mut resent = Vec::new();
        for mut post in std::mem::take(&mut self.request) {
            if post.level.is_sent_again() {
                post.in_doubt = true;
                resent.push(post);
            } else {
                self.remove(&post);
                effects.push(Effect::LinkLost { message: post.message, ticket: post.ticket });
            }
        }
        self.wait_again(resent);
    }

    /// Puts messages of the request back, before those that wait.
    fn wait_again(&mut self, posts: Vec<Post<T>>) {
        for post in posts.into_iter().rev() {
            self.waiting.push_front(post);
        }
    }

    /// Makes the next request, if none is in flight.
    pub(super) fn pump(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.phase != Phase::Open || !self.request.is_empty() {
            return;
        }
        let Some(level) = self.waiting.front().map(|post| post.level) else { return };
        let mut bytes = 0;
        while self.request.len() < BATCH_MESSAGES
            && bytes < REQUEST_BYTES
            && let Some(post) = self.waiting.pop_front_if(|post| post.level == level)
        {
            bytes += cost(&post.message);
            self.request.push(post);
        }
        let messages = self.request.iter().map(|post| post.message.clone()).collect();
        self.attempt += 1;
        effects.push(Effect::Post { attempt: self.attempt, level, messages });
    }

    /// An answer to [`Effect::Post`].
    pub(super) fn answered(
        &mut self,
        attempt: u64,
        answer: Answer,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<(), ProducerFailure> {
        if attempt != self.attempt {
            return Ok(());
        }
        match answer {
            Ok(EngineReply::Posted) => {
                for post in std::mem::take(&mut self.request) {
                    self.remove(&post);
                    effects.push(Effect::Confirm { number: None, ticket: post.ticket });
                }
                self.backoff.reset();
                self.held_up = None;
                if let Some((epoch, _)) = self.engine {
                    effects.push(Effect::Works { epoch });
                }
            }
            Ok(EngineReply::Error(error)) => return self.refused(error, effects),
            Ok(reply) => return Err(ProducerFailure::Protocol(format!("unexpected answer {reply:?}"))),
            Err(_) => self.trouble(None, effects),
        }
        Ok(())
    }

    fn refused(&mut self, error: EngineError, effects: &mut Vec<Effect<T>>) -> Result<(), ProducerFailure> {
        match error {
            EngineError::NotStarted { news } => {
                self.take_back();
                self.trouble(Some(news), effects);
            }
            EngineError::Unknown => self.trouble(None, effects),
            error @ (EngineError::Busy
            | EngineError::StoreFull { .. }
            | EngineError::QueueFull { .. }
            | EngineError::SendPaused(_)) => {
                self.held_up = Some(error);
                self.take_back();
                self.restart(Phase::Waiting, effects);
                let wake = Wake::Posts { attempt: self.attempt };
                effects.push(Effect::WakeAfter { delay: self.backoff.delay(), wake });
            }
            EngineError::MessageTooLarge { size, limit } => self.refuse_some(effects, |message| {
                let is_large = message.limited_size() as u64 > limit;
                is_large.then_some(Refusal::MessageTooLarge { size, limit })
            }),
            EngineError::BadTopic(_) => self.refuse_some(effects, |message| {
                topic::check_topic(message.topic()).err().map(|error| Refusal::BadTopic(error.to_string()))
            }),
            EngineError::NoSuchQueue(queue) => return Err(ProducerFailure::NoSuchQueue(queue)),
            EngineError::Fenced => return Err(ProducerFailure::Fenced),
            EngineError::ProducerUnknown => return Err(ProducerFailure::Forgotten),
            EngineError::BadRequest(why) => return Err(ProducerFailure::Protocol(why)),
            EngineError::Gap { .. }
            | EngineError::ConsumerUnknown
            | EngineError::QueueExists(_)
            | EngineError::QueueDiffers { .. }
            | EngineError::OtherVersion { .. }
            | EngineError::MessageGone { .. }
            | EngineError::TransactionTooLarge { .. }
            | EngineError::QueueNotEmpty { .. }
            | EngineError::QueueInUse { .. }
            | EngineError::Refused(_) => return Err(ProducerFailure::Protocol(error.to_string())),
        }
        Ok(())
    }

    /// The engine refused the request for some of its messages, which get the reason; the others wait again.
    fn refuse_some(&mut self, effects: &mut Vec<Effect<T>>, reason: impl Fn(&Message) -> Option<Refusal>) {
        let mut others = Vec::new();
        for post in std::mem::take(&mut self.request) {
            if let Some(why) = reason(&post.message) {
                self.remove(&post);
                effects.push(Effect::Refuse { message: post.message, ticket: post.ticket, why });
            } else {
                others.push(post);
            }
        }
        self.wait_again(others);
    }

    /// The messages of a request that was not performed wait again.
    fn take_back(&mut self) {
        let posts = std::mem::take(&mut self.request);
        self.wait_again(posts);
    }

    fn trouble(&mut self, news: Option<PlacementNews>, effects: &mut Vec<Effect<T>>) {
        self.held_up = None;
        self.restart(Phase::Away, effects);
        if let Some((epoch, _)) = self.engine {
            effects.push(Effect::Trouble { epoch, news });
        }
    }

    /// Ends without confirms: returns the unconfirmed messages, in order.
    pub(super) fn hand_back(&mut self) -> Vec<(HandedBack, T)> {
        self.phase = Phase::Ended;
        self.attempt += 1;
        (self.count, self.bytes) = (0, 0);
        let in_flight = std::mem::take(&mut self.request).into_iter().map(|post| Post { in_doubt: true, ..post });
        let posts = in_flight.chain(std::mem::take(&mut self.waiting));
        let hand_back = |Post { message, in_doubt, ticket, .. }| (HandedBack { message, in_doubt }, ticket);
        posts.map(hand_back).collect()
    }
}
