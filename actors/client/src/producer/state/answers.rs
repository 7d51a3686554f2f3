//! What the producer does about each answer of the engine.

use std::time::Duration;

use baton_domain::Epoch;
use baton_domain::seeded::{self, Bug};

use super::{Effect, Entry, Phase, State};
use crate::outbox::Answer;
use crate::producer::ProducerFailure;
use crate::protocol::{EngineError, EngineReply, Limits, PlacementNews};

impl<T> State<T> {
    pub(super) fn opened(&mut self, answer: Answer, effects: &mut Vec<Effect<T>>) {
        match answer {
            Ok(EngineReply::Producer { epoch, next, limits, publishes, .. }) => {
                self.publishes = publishes;
                self.registered(epoch, next.saturating_add(self.offset), limits, effects);
            }
            Ok(EngineReply::Error(error)) => self.refused(error, false, effects),
            Ok(reply) => self.misunderstood(&reply, effects),
            Err(_) => self.trouble(None, effects),
        }
    }

    pub(super) fn registered(&mut self, epoch: Epoch, next: u64, limits: Limits, effects: &mut Vec<Effect<T>>) {
        let reopened = self.known;
        self.known = true;
        self.limits = Some(limits);
        if next < self.base {
            let why = ProducerFailure::StoreLostMessages { confirmed: self.base - 1, next };
            return self.fail(why, effects);
        }
        if next > self.sent + 1 {
            let why = format!("the store expects message {next} though only {} were sent", self.sent);
            return self.fail(ProducerFailure::Protocol(why), effects);
        }
        self.phase = Phase::Open;
        effects.push(Effect::Works { epoch });
        if self.connected.replace(epoch) != Some(epoch) {
            effects.push(Effect::Connected { epoch });
        }
        if !seeded::is(Bug::DuplicateWindowOff) {
            self.confirm(next - 1, effects);
        }
        self.refuse_unsent(effects);
        if reopened && self.sent >= self.base {
            effects.push(Effect::Resent { from: self.base, through: self.sent });
        }
    }

    /// Messages that never were in a request carry no number yet as far as the store knows: taking one out leaves no
    /// hole. They wait here since before it was known what the engine takes, or since that changed.
    pub(super) fn refuse_unsent(&mut self, effects: &mut Vec<Effect<T>>) {
        let mut index = usize::try_from((self.sent + 1).saturating_sub(self.base)).unwrap_or(usize::MAX);
        while let Some(entry) = self.pending.get(index) {
            let Some(why) = self.never_taken(&entry.message) else {
                index += 1;
                continue;
            };
            let number = self.base + index as u64;
            if let Some(Entry { message, size, ticket, .. }) = self.pending.remove(index) {
                self.pending_bytes -= size;
                effects.push(Effect::Refuse { message, ticket, why });
            }
            for (through, _) in &mut self.flushes {
                if *through >= number {
                    *through -= 1;
                }
            }
        }
        self.complete_flushes(effects);
    }

    pub(super) fn renew(&mut self, effects: &mut Vec<Effect<T>>) {
        self.known = false;
        self.offset = self.base - 1;
        effects.push(Effect::Renew);
        self.open(effects);
        self.renewed = self.attempt;
    }

    pub(super) fn answered(&mut self, attempt: u64, request: u64, answer: Answer, effects: &mut Vec<Effect<T>>) {
        if attempt < self.renewed {
            return;
        }
        let through = match answer {
            Ok(EngineReply::Sent { through }) => through.saturating_add(self.offset),
            Ok(_) | Err(_) => 0,
        };
        // True whenever it comes: what is stored stays stored.
        self.confirm(through, effects);
        if attempt != self.attempt {
            return;
        }
        let Some(last) = self.requests.remove(&request) else { return };
        match answer {
            Ok(EngineReply::Sent { .. }) if through >= last => {
                self.probing = false;
                self.backoff.reset();
                self.full_backoff.reset();
                self.held_up = None;
            }
            Ok(EngineReply::Sent { .. }) => self.wait(self.phase == Phase::Open, effects),
            Ok(EngineReply::Error(error)) => self.refused(error, true, effects),
            Ok(reply) => self.misunderstood(&reply, effects),
            Err(_) => self.trouble(None, effects),
        }
    }

    /// A request was refused; `registered` tells whether it was a [`Effect::Send`].
    pub(super) fn refused(&mut self, error: EngineError, registered: bool, effects: &mut Vec<Effect<T>>) {
        match error {
            EngineError::NotStarted { news } => self.trouble(Some(news), effects),
            EngineError::Unknown => self.trouble(None, effects),
            error @ EngineError::Busy => {
                self.held_up = Some(error);
                self.wait(registered, effects);
            }
            error @ (EngineError::StoreFull { .. } | EngineError::QueueFull { .. } | EngineError::SendPaused(_)) => {
                self.held_up = Some(error);
                let delay = self.full_backoff.delay();
                self.wait_for(delay, registered, effects);
            }
            // Fewer than were confirmed: registering again tells whether the store really lost them.
            EngineError::Gap { expected } => {
                self.wait(registered && expected.saturating_add(self.offset) >= self.base, effects);
            }
            EngineError::NoSuchQueue(queue) => self.fail(ProducerFailure::NoSuchQueue(queue), effects),
            EngineError::MessageTooLarge { size, limit } => {
                self.fail(ProducerFailure::MessageTooLarge { size, limit }, effects);
            }
            // An engine that has not seen the producer yet says so too: registering again tells which it is.
            EngineError::ProducerUnknown if registered => self.wait(false, effects),
            // Nothing is in doubt: under another id nothing can be stored twice.
            EngineError::ProducerUnknown if self.known && !self.has_name && self.sent < self.base => {
                self.renew(effects);
            }
            EngineError::ProducerUnknown => self.fail(ProducerFailure::Forgotten, effects),
            EngineError::ConsumerUnknown => {
                self.fail(ProducerFailure::Protocol("a producer is no consumer".to_owned()), effects);
            }
            EngineError::Fenced => self.fail(ProducerFailure::Fenced, effects),
            EngineError::QueueExists(_)
            | EngineError::QueueDiffers { .. }
            | EngineError::OtherVersion { .. }
            | EngineError::MessageGone { .. }
            | EngineError::TransactionTooLarge { .. }
            | EngineError::BadTopic(_)
            | EngineError::QueueNotEmpty { .. }
            | EngineError::QueueInUse { .. }
            | EngineError::Refused(_) => self.fail(ProducerFailure::Protocol(error.to_string()), effects),
            EngineError::BadRequest(why) => self.fail(ProducerFailure::Protocol(why), effects),
        }
    }

    pub(super) fn misunderstood(&mut self, reply: &EngineReply, effects: &mut Vec<Effect<T>>) {
        self.fail(ProducerFailure::Protocol(format!("unexpected answer {reply:?}")), effects);
    }

    pub(super) fn wait(&mut self, registered: bool, effects: &mut Vec<Effect<T>>) {
        let delay = self.backoff.delay();
        self.wait_for(delay, registered, effects);
    }

    pub(super) fn wait_for(&mut self, delay: Duration, registered: bool, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Waiting { registered });
        self.probing = true;
        effects.push(Effect::WakeAfter { delay, attempt: self.attempt });
    }

    /// The engine does not serve: the session looks for it and says [`Input::EngineAt`] again.
    pub(super) fn trouble(&mut self, news: Option<PlacementNews>, effects: &mut Vec<Effect<T>>) {
        self.held_up = None;
        self.disconnect(effects);
        self.restart(Phase::Away);
        if let Some((epoch, _)) = self.engine {
            effects.push(Effect::Trouble { epoch, news });
        }
    }
}
