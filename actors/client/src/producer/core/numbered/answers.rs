//! The response to each answer of the engine. An error ends the whole producer.

use std::time::Duration;

use baton_domain::seeded::{self, Bug};
use baton_domain::{Epoch, Reliability};

use super::{Effect, Numbered, Pending, Phase, Wake};
use crate::outbox::Answer;
use crate::producer::ProducerFailure;
use crate::protocol::{EngineError, EngineReply, Limits, PlacementNews};

impl<T> Numbered<T> {
    /// An answer to [`Effect::Open`]; returns the level of messages that state none, if the producer is registered now.
    pub(in crate::producer::core) fn opened(
        &mut self,
        attempt: u64,
        answer: Answer,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<Option<Reliability>, ProducerFailure> {
        if attempt != self.attempt {
            return Ok(None);
        }
        match answer {
            Ok(EngineReply::Producer { epoch, next, limits, publishes, reliability, .. }) => {
                self.publishes = publishes;
                self.registered(epoch, next.saturating_add(self.offset), limits, effects)?;
                return Ok(Some(reliability));
            }
            Ok(EngineReply::Error(error)) => self.refused(error, false, effects)?,
            Ok(reply) => return Err(unexpected(&reply)),
            Err(_) => self.trouble(None, effects),
        }
        Ok(None)
    }

    fn registered(
        &mut self,
        epoch: Epoch,
        next: u64,
        limits: Limits,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<(), ProducerFailure> {
        let reopened = self.known;
        self.known = true;
        self.limits = Some(limits);
        if next < self.base {
            return Err(ProducerFailure::StoreLostMessages { confirmed: self.base - 1, next });
        }
        if next > self.sent + 1 {
            let why = format!("the store expects message {next} though only {} were sent", self.sent);
            return Err(ProducerFailure::Protocol(why));
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
        Ok(())
    }

    /// Refuses pending messages that the engine would never accept: they were sent before the limits were known, or the
    /// limits changed. The store does not know the numbers of messages that never were in a request: removing one
    /// leaves no hole.
    fn refuse_unsent(&mut self, effects: &mut Vec<Effect<T>>) {
        let mut index = usize::try_from((self.sent + 1).saturating_sub(self.base)).unwrap_or(usize::MAX);
        while let Some(pending) = self.pending.get(index) {
            let Some(why) = self.permanent_refusal(&pending.message) else {
                index += 1;
                continue;
            };
            let number = self.base + index as u64;
            if let Some(Pending { message, size, ticket, .. }) = self.pending.remove(index) {
                self.pending_bytes -= size;
                effects.push(Effect::Refuse { message, ticket, why });
            }
            for (next, _) in &mut self.flushes {
                if *next > number {
                    *next -= 1;
                }
            }
        }
        self.complete_flushes(effects);
    }

    fn renew(&mut self, effects: &mut Vec<Effect<T>>) {
        self.known = false;
        self.offset = self.base - 1;
        effects.push(Effect::Renew);
        self.open(effects);
        self.renewed = self.attempt;
    }

    /// An answer to [`Effect::Send`].
    pub(in crate::producer::core) fn answered(
        &mut self,
        attempt: u64,
        request: u64,
        answer: Answer,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<(), ProducerFailure> {
        if attempt < self.renewed {
            return Ok(());
        }
        let stored = match &answer {
            Ok(EngineReply::Sent { through }) => Some(through.saturating_add(self.offset)),
            Ok(_) | Err(_) => None,
        };
        // True whenever it arrives: a stored message stays stored.
        if let Some(through) = stored {
            self.confirm(through, effects);
        }
        if attempt != self.attempt {
            return Ok(());
        }
        let Some(last) = self.requests.remove(&request) else { return Ok(()) };
        match answer {
            Ok(EngineReply::Sent { .. }) if stored.is_some_and(|through| through >= last) => {
                self.probing = false;
                self.backoff.reset();
                self.full_backoff.reset();
                self.held_up = None;
            }
            Ok(EngineReply::Sent { .. }) => self.wait(self.phase == Phase::Open, effects),
            Ok(EngineReply::Error(error)) => self.refused(error, true, effects)?,
            Ok(reply) => return Err(unexpected(&reply)),
            Err(_) => self.trouble(None, effects),
        }
        Ok(())
    }

    /// A request was refused; `registered` is true if it was a [`Effect::Send`].
    fn refused(
        &mut self,
        error: EngineError,
        registered: bool,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<(), ProducerFailure> {
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
            EngineError::NoSuchQueue(queue) => return Err(ProducerFailure::NoSuchQueue(queue)),
            EngineError::MessageTooLarge { size, limit } => {
                return Err(ProducerFailure::MessageTooLarge { size, limit });
            }
            // An engine that has not seen the producer yet says so too: registering again tells which it is.
            EngineError::ProducerUnknown if registered => self.wait(false, effects),
            // Nothing is in doubt: under another id nothing can be stored twice.
            EngineError::ProducerUnknown if self.known && !self.has_name && self.sent < self.base => {
                self.renew(effects);
            }
            EngineError::ProducerUnknown => return Err(ProducerFailure::Forgotten),
            EngineError::ConsumerUnknown => {
                return Err(ProducerFailure::Protocol("a producer is no consumer".to_owned()));
            }
            EngineError::Fenced => return Err(ProducerFailure::Fenced),
            EngineError::QueueExists(_)
            | EngineError::QueueDiffers { .. }
            | EngineError::OtherVersion { .. }
            | EngineError::MessageGone { .. }
            | EngineError::TransactionTooLarge { .. }
            | EngineError::BadTopic(_)
            | EngineError::QueueNotEmpty { .. }
            | EngineError::QueueInUse { .. }
            | EngineError::Refused(_) => return Err(ProducerFailure::Protocol(error.to_string())),
            EngineError::BadRequest(why) => return Err(ProducerFailure::Protocol(why)),
        }
        Ok(())
    }

    fn wait(&mut self, registered: bool, effects: &mut Vec<Effect<T>>) {
        let delay = self.backoff.delay();
        self.wait_for(delay, registered, effects);
    }

    fn wait_for(&mut self, delay: Duration, registered: bool, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Waiting { registered });
        self.probing = true;
        effects.push(Effect::WakeAfter { delay, wake: Wake::Numbered { attempt: self.attempt } });
    }

    /// The engine does not serve: the session locates it, and [`Numbered::engine_at`] follows.
    fn trouble(&mut self, news: Option<PlacementNews>, effects: &mut Vec<Effect<T>>) {
        self.held_up = None;
        self.disconnect(effects);
        self.restart(Phase::Away);
        if let Some((epoch, _)) = self.engine {
            effects.push(Effect::Trouble { epoch, news });
        }
    }
}

fn unexpected(reply: &EngineReply) -> ProducerFailure {
    ProducerFailure::Protocol(format!("unexpected answer {reply:?}"))
}
