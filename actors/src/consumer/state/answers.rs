//! What the consumer does about each answer of the engine.

use super::{Effect, Kind, Phase, Settlement, State};
use crate::consumer::ConsumerFailure;
use crate::protocol::{EngineError, EngineReply, PlacementNews};
use crate::session::Answer;

impl<T> State<T> {
    pub(super) fn attached(&mut self, answer: Answer, effects: &mut Vec<Effect<T>>) {
        match answer {
            Ok(EngineReply::Attached { epoch, .. }) => {
                self.newest = self.newest.max(epoch);
                self.phase = Phase::Attached;
                self.backoff.reset();
                effects.push(Effect::Works { epoch });
                if self.connected.replace(epoch) != Some(epoch) {
                    effects.push(Effect::Connected { epoch });
                }
            }
            Ok(EngineReply::Error(error)) => {
                // Of all refusals, one alone may have been done after all.
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
                let mut messages = Vec::new();
                for Settlement { sequence, id } in self.requests.remove(&request).unwrap_or_default() {
                    match self.doubts.get(&id) {
                        Some(doubt) if doubt.sequence == sequence => {
                            match doubt.kind {
                                Kind::Acknowledged => self.recent.insert(id),
                                Kind::Refused => {}
                                // If it was not there any more, another may have it: a copy is for the user again.
                                Kind::Rejected => drop(self.reasons.remove(&id)),
                            }
                            self.doubts.remove(&id);
                            messages.push(id);
                        }
                        Some(_) | None => {}
                    }
                }
                self.backoff.reset();
                self.active = true;
                effects.push(Effect::Settled { messages });
                self.complete_flushes(effects);
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

    /// A request was refused; `attached` tells whether the engine knew the consumer.
    pub(super) fn refused(&mut self, error: EngineError, attached: bool, effects: &mut Vec<Effect<T>>) {
        match error {
            EngineError::NotStarted { news } => self.trouble(Some(news), effects),
            EngineError::Unknown => self.trouble(None, effects),
            EngineError::Busy | EngineError::StoreFull { .. } => self.wait(attached, effects),
            EngineError::ConsumerUnknown => self.wait(false, effects),
            EngineError::NoSuchQueue(queue) => self.fail(ConsumerFailure::NoSuchQueue(queue), effects),
            EngineError::MessageTooLarge { .. }
            | EngineError::ProducerUnknown
            | EngineError::Gap { .. }
            | EngineError::QueueFull { .. }
            | EngineError::SendPaused(_)
            | EngineError::QueueExists(_)
            | EngineError::Refused(_)
            | EngineError::QueueNotEmpty { .. }
            | EngineError::QueueInUse { .. } => {
                self.fail(ConsumerFailure::Protocol(error.to_string()), effects);
            }
            EngineError::BadRequest(why) => self.fail(ConsumerFailure::Protocol(why), effects),
        }
    }

    pub(super) fn misunderstood(&mut self, reply: &EngineReply, effects: &mut Vec<Effect<T>>) {
        self.fail(ConsumerFailure::Protocol(format!("unexpected answer {reply:?}")), effects);
    }

    pub(super) fn wait(&mut self, attached: bool, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Waiting { attached });
        effects.push(Effect::WakeAfter { delay: self.backoff.delay(), attempt: self.attempt });
    }

    /// The engine does not serve: the session looks for it and says [`Input::EngineAt`] again.
    pub(super) fn trouble(&mut self, news: Option<PlacementNews>, effects: &mut Vec<Effect<T>>) {
        self.disconnect(effects);
        self.restart(Phase::Away);
        if let Some((epoch, _)) = self.engine {
            effects.push(Effect::Trouble { epoch, news });
        }
    }
}
