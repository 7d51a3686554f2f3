//! The response to each answer of the engine.

use std::time::Duration;

use baton_domain::QueueName;

use super::{Effect, Phase, State};
use crate::consumer::ConsumerFailure;
use crate::outbox::Answer;
use crate::protocol::{EngineError, EngineReply, PlacementNews};

impl<T> State<T> {
    pub(super) fn attached(&mut self, answer: Answer, effects: &mut Vec<Effect<T>>) {
        match answer {
            Ok(EngineReply::Attached { epoch, .. }) => {
                self.newest = self.newest.max(epoch);
                self.phase = Phase::Attached;
                (self.was_attached, self.absent) = (true, Duration::ZERO);
                self.backoff.reset();
                effects.push(Effect::Works { epoch });
                if self.connected.replace(epoch) != Some(epoch) {
                    effects.push(Effect::Connected { epoch });
                }
            }
            Ok(EngineReply::Error(error)) => {
                // A refused attach was not performed, except if the outcome is unknown.
                self.introduced = self.introduced_before || error == EngineError::Unknown;
                self.refused(error, false, effects);
            }
            Ok(reply) => self.misunderstood(&reply, effects),
            Err(_) => self.trouble(None, effects),
        }
    }

    pub(super) fn settled(&mut self, request: u64, answer: Answer, effects: &mut Vec<Effect<T>>) {
        match answer {
            Ok(EngineReply::Done) => {
                let messages = self.settlements.commit(request);
                self.backoff.reset();
                self.active = true;
                effects.push(Effect::Settled { messages });
            }
            Ok(EngineReply::Error(error)) => self.refused(error, true, effects),
            Ok(reply) => self.misunderstood(&reply, effects),
            Err(_) => self.trouble(None, effects),
        }
    }

    pub(super) fn credited(&mut self, answer: Answer, effects: &mut Vec<Effect<T>>) {
        self.credit_asked = false;
        match answer {
            Ok(EngineReply::Done) => {}
            Ok(EngineReply::Error(error)) => {
                self.credit_due = true;
                self.refused(error, true, effects);
            }
            Ok(reply) => self.misunderstood(&reply, effects),
            Err(_) => self.trouble(None, effects),
        }
    }

    pub(super) fn detached(&mut self, answer: Answer, effects: &mut Vec<Effect<T>>) {
        match answer {
            Ok(EngineReply::Done)
            | Ok(EngineReply::Error(EngineError::ConsumerUnknown | EngineError::NoSuchQueue(_))) => self.end(effects),
            Ok(EngineReply::Error(error)) => self.refused(error, true, effects),
            Ok(reply) => self.misunderstood(&reply, effects),
            Err(_) => self.trouble(None, effects),
        }
    }

    /// A request was refused; `attached` is true if the engine knew the consumer.
    pub(super) fn refused(&mut self, error: EngineError, attached: bool, effects: &mut Vec<Effect<T>>) {
        match error {
            EngineError::NotStarted { news } => self.trouble(Some(news), effects),
            EngineError::Unknown => self.trouble(None, effects),
            EngineError::Busy | EngineError::StoreFull { .. } => _ = self.wait(attached, effects),
            EngineError::ConsumerUnknown => _ = self.wait(false, effects),
            EngineError::NoSuchQueue(queue) => self.no_queue(queue, effects),
            EngineError::MessageTooLarge { .. }
            | EngineError::ProducerUnknown
            | EngineError::Gap { .. }
            | EngineError::QueueFull { .. }
            | EngineError::SendPaused(_)
            | EngineError::QueueExists(_)
            | EngineError::QueueDiffers { .. }
            | EngineError::OtherVersion { .. }
            | EngineError::MessageGone { .. }
            | EngineError::TransactionTooLarge { .. }
            | EngineError::BadTopic(_)
            | EngineError::Fenced
            | EngineError::QueueNotEmpty { .. }
            | EngineError::QueueInUse { .. }
            | EngineError::Refused(_) => {
                self.fail(ConsumerFailure::Protocol(error.to_string()), effects);
            }
            EngineError::BadRequest(why) => self.fail(ConsumerFailure::Protocol(why), effects),
        }
    }

    /// The queue is not there: it never was, or it was deleted.
    fn no_queue(&mut self, queue: QueueName, effects: &mut Vec<Effect<T>>) {
        // A consumer that is being closed has nothing to wait for.
        let closing = self.untouched.is_some();
        if !self.was_attached {
            self.fail(ConsumerFailure::NoSuchQueue(queue), effects);
        } else if closing || self.absent >= self.deleted_grace {
            self.fail(ConsumerFailure::QueueDeleted(queue), effects);
        } else {
            self.disconnect(effects);
            let delay = self.wait(false, effects);
            self.absent += delay;
        }
    }

    pub(super) fn misunderstood(&mut self, reply: &EngineReply, effects: &mut Vec<Effect<T>>) {
        self.fail(ConsumerFailure::Protocol(format!("unexpected answer {reply:?}")), effects);
    }

    /// Backs off; returns the delay.
    pub(super) fn wait(&mut self, attached: bool, effects: &mut Vec<Effect<T>>) -> Duration {
        self.restart(Phase::Waiting { attached });
        let delay = self.backoff.delay();
        effects.push(Effect::WakeAfter { delay, attempt: self.attempt });
        delay
    }

    /// The engine does not serve: the session locates it, and [`Input::EngineAt`] follows.
    pub(super) fn trouble(&mut self, news: Option<PlacementNews>, effects: &mut Vec<Effect<T>>) {
        self.disconnect(effects);
        self.restart(Phase::Away);
        if let Some((epoch, _)) = self.engine {
            effects.push(Effect::Trouble { epoch, news });
        }
    }
}
