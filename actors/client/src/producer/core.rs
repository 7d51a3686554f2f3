//! The producer's core: routes each message by its reliability level, completes flushes, and ends the producer as a
//! whole.
//!
//! Messages of the assured level are in [`Numbered`], those of lower levels in [`Posts`]. A message that states no
//! level has that of its destination, which the engine tells when the producer registers. Until then the message waits
//! in `unrouted`, and later messages wait behind it, so that none overtakes another.
//!
//! Every message that comes in gets exactly one of [`Effect::Confirm`], [`Effect::Refuse`], [`Effect::LinkLost`] and
//! [`Effect::Fail`], and every flush gets one [`Effect::Flushed`].

mod boundary;
mod numbered;
mod posts;

use std::collections::VecDeque;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Message, QueueName, Reliability};

use self::numbered::Numbered;
use self::posts::Posts;
use super::{ProducerFailure, Refusal};
use crate::outbox::Answer;

pub(crate) use self::boundary::{Effect, Input, Wake};

/// Maximum messages per request.
const BATCH_MESSAGES: usize = 1_000;
/// Approximate overhead per message, in bytes.
const OVERHEAD_BYTES: usize = 32;

/// The share of a message in a window or a request, in bytes.
pub(crate) fn cost(message: &Message) -> usize {
    message.size() + OVERHEAD_BYTES
}

/// The bounds of [`super::ProducerOptions`].
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) window_messages: usize,
    pub(crate) window_bytes: usize,
    pub(crate) give_up: Option<Duration>,
}

/// A message or a flush that waits for the level of the destination.
#[derive(Debug)]
enum Unrouted<T> {
    Send { message: Message, ticket: T, since: BootTime },
    Flush { ticket: T },
}

/// All that a producer decides.
#[derive(Debug)]
pub(crate) struct ProducerCore<T> {
    bounds: Bounds,
    numbered: Numbered<T>,
    posts: Posts<T>,
    /// The level of messages that state none; `None` until the producer is registered.
    default_level: Option<Reliability>,
    /// The first one is a message; empty once the level is known or the producer failed.
    unrouted: VecDeque<Unrouted<T>>,
    /// Flushes that wait until this many messages without numbers are done, and then for those with numbers.
    flushes: VecDeque<(u64, T)>,
    closing: bool,
    /// An [`Input::CheckAge`] will come.
    age_check: bool,
    failure: Option<ProducerFailure>,
}

impl<T> ProducerCore<T> {
    /// A producer that has sent nothing; or one with a name, whose next message has the number `next`.
    pub(crate) fn new(queue: QueueName, bounds: Bounds, next: Option<u64>) -> Self {
        Self {
            numbered: Numbered::new(queue, bounds.clone(), next),
            posts: Posts::new(bounds.clone()),
            bounds,
            default_level: None,
            unrouted: VecDeque::new(),
            flushes: VecDeque::new(),
            closing: false,
            age_check: false,
            failure: None,
        }
    }

    /// The queue.
    pub(crate) fn queue(&self) -> &QueueName {
        self.numbered.queue()
    }

    /// Takes one input; the effects are to be performed in order.
    pub(crate) fn step(&mut self, input: Input<T>, now: BootTime) -> Vec<Effect<T>> {
        let mut effects = Vec::new();
        if let Err(why) = self.handle(input, now, &mut effects) {
            self.fail(&why, &mut effects);
        }
        self.numbered.pump(&mut effects);
        self.posts.pump(&mut effects);
        self.complete_flushes(&mut effects);
        if self.closing && self.unrouted.is_empty() && self.posts.is_empty() {
            self.numbered.leave(&mut effects);
        }
        self.watch_age(now, &mut effects);
        effects
    }

    fn handle(&mut self, input: Input<T>, now: BootTime, effects: &mut Vec<Effect<T>>) -> Result<(), ProducerFailure> {
        match input {
            Input::Send { message, ticket } => self.send(message, ticket, now, effects),
            Input::SendAll(sends) => {
                self.numbered.gather();
                for (message, ticket) in sends {
                    self.send(message, ticket, now, effects);
                }
                self.numbered.end_gathering();
            }
            Input::Flush { ticket } => self.flush(ticket),
            Input::Close => self.closing = true,
            Input::Pump => self.numbered.end_gathering(),
            Input::EngineAt { epoch, link } => {
                self.numbered.engine_at(epoch, link, effects);
                self.posts.engine_at(epoch, link, effects);
            }
            Input::EngineGone => {
                self.numbered.engine_gone(effects);
                self.posts.engine_gone(effects);
            }
            Input::Opened { attempt, answer } => return self.opened(attempt, answer, effects),
            Input::Sent { attempt, request, answer } => {
                return self.numbered.answered(attempt, request, answer, effects);
            }
            Input::Posted { attempt, answer } => return self.posts.answered(attempt, answer, effects),
            Input::Closed => self.numbered.end(effects),
            Input::Wake(Wake::Numbered { attempt }) => self.numbered.wake(attempt, effects),
            Input::Wake(Wake::Posts { attempt }) => self.posts.wake(attempt),
            Input::CheckAge => return self.check_age(now),
            Input::KeepAlive => self.numbered.keep_alive(effects),
        }
        Ok(())
    }

    fn send(&mut self, message: Message, ticket: T, now: BootTime, effects: &mut Vec<Effect<T>>) {
        let why = match &self.failure {
            _ if self.closing => Refusal::Closed,
            Some(why) => Refusal::Failed(why.clone()),
            None => match message.reliability().or(self.default_level) {
                Some(level) if self.unrouted.is_empty() => return self.route(level, message, ticket, now, effects),
                _ if self.unrouted.len() < self.bounds.window_messages => {
                    return self.unrouted.push_back(Unrouted::Send { message, ticket, since: now });
                }
                _ => Refusal::WindowFull,
            },
        };
        effects.push(Effect::Refuse { message, ticket, why });
    }

    fn route(
        &mut self,
        level: Reliability,
        message: Message,
        ticket: T,
        since: BootTime,
        effects: &mut Vec<Effect<T>>,
    ) {
        if level == Reliability::AssuredPersistent {
            self.numbered.send(message, ticket, since, effects);
        } else {
            self.posts.send(message, level, ticket, since, effects);
        }
    }

    fn flush(&mut self, ticket: T) {
        if self.unrouted.is_empty() {
            self.flushes.push_back((self.posts.taken(), ticket));
        } else {
            self.unrouted.push_back(Unrouted::Flush { ticket });
        }
    }

    fn complete_flushes(&mut self, effects: &mut Vec<Effect<T>>) {
        while let Some((_, ticket)) = self.flushes.pop_front_if(|(taken, _)| *taken <= self.posts.done()) {
            match &self.failure {
                Some(why) => effects.push(Effect::Flushed { ticket, outcome: Err(why.clone()) }),
                None => self.numbered.flush(ticket, effects),
            }
        }
    }

    fn opened(&mut self, attempt: u64, answer: Answer, effects: &mut Vec<Effect<T>>) -> Result<(), ProducerFailure> {
        let Some(default_level) = self.numbered.opened(attempt, answer, effects)? else { return Ok(()) };
        self.default_level = Some(default_level);
        self.numbered.gather();
        for waiting in std::mem::take(&mut self.unrouted) {
            match waiting {
                Unrouted::Send { message, ticket, since } => {
                    let level = message.reliability().unwrap_or(default_level);
                    self.route(level, message, ticket, since, effects);
                }
                Unrouted::Flush { ticket } => self.flush(ticket),
            }
        }
        self.numbered.end_gathering();
        Ok(())
    }

    /// The send time of the oldest message that waits for its level.
    fn oldest_unrouted(&self) -> Option<BootTime> {
        self.unrouted.iter().find_map(|waiting| match waiting {
            Unrouted::Send { since, .. } => Some(*since),
            Unrouted::Flush { .. } => None,
        })
    }

    /// Keeps one age check under way while a message is unconfirmed.
    fn watch_age(&mut self, now: BootTime, effects: &mut Vec<Effect<T>>) {
        let Some(give_up) = self.bounds.give_up.filter(|_| !self.age_check) else { return };
        let oldest = [self.numbered.oldest(), self.posts.oldest(), self.oldest_unrouted()];
        if let Some(oldest) = oldest.into_iter().flatten().min() {
            self.age_check = true;
            effects.push(Effect::CheckAgeAfter(give_up.saturating_sub(now.since(oldest))));
        }
    }

    fn check_age(&mut self, now: BootTime) -> Result<(), ProducerFailure> {
        self.age_check = false;
        let Some(within) = self.bounds.give_up else { return Ok(()) };
        let is_late = |oldest: Option<BootTime>| oldest.is_some_and(|oldest| now.since(oldest) >= within);
        let held_up = if is_late(self.numbered.oldest()) || is_late(self.oldest_unrouted()) {
            self.numbered.held_up()
        } else if is_late(self.posts.oldest()) {
            self.posts.held_up()
        } else {
            return Ok(());
        };
        Err(ProducerFailure::GaveUp { within, held_up: held_up.cloned().map(Box::new) })
    }

    /// Ends the producer: all that is unconfirmed is handed back.
    fn fail(&mut self, why: &ProducerFailure, effects: &mut Vec<Effect<T>>) {
        let (mut unconfirmed, flushes) = self.numbered.hand_back();
        unconfirmed.extend(self.posts.hand_back());
        self.failure = Some(why.clone());
        effects.push(Effect::Fail { why: why.clone(), unconfirmed });
        effects.extend(flushes.into_iter().map(|ticket| Effect::Flushed { ticket, outcome: Err(why.clone()) }));
        for waiting in std::mem::take(&mut self.unrouted) {
            match waiting {
                Unrouted::Send { message, ticket, .. } => {
                    effects.push(Effect::Refuse { message, ticket, why: Refusal::Failed(why.clone()) });
                }
                Unrouted::Flush { ticket } => self.flush(ticket),
            }
        }
    }
}

#[cfg(test)]
mod tests;
