//! The surroundings of a step.

use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply, Limits};
use baton_domain::clock::BootTime;
use baton_domain::message_batch::Encoded;

use super::config::EngineConfig;
use super::gate::Gate;
use super::message::{Effect, Now, Release, RequestId};

/// Numbers that are never used twice, also not by a later activation: late answers find nobody.
#[derive(Debug, Default)]
pub(super) struct Ids(u64);

impl Ids {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The engine came to an end in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Halt {
    pub(super) why: String,
}

/// The surroundings of a step: configuration, time, and its output.
pub(super) struct Context<'a> {
    pub(super) config: &'a EngineConfig,
    pub(super) now: Now,
    pub(super) ids: &'a mut Ids,
    pub(super) gate: &'a mut Gate,
    pub(super) effects: &'a mut Vec<Effect>,
    /// Free bytes at the fullest replica that a majority needs.
    pub(super) free_bytes: u64,
}

impl Context<'_> {
    /// Refuses a request: nothing was done.
    pub(super) fn refuse(&mut self, request: RequestId, error: EngineError) {
        self.effects.push(Effect::Refuse { request, reply: EngineReply::Error(error) });
    }

    /// Answers a request as soon as the lease allows.
    pub(super) fn reply(&mut self, request: RequestId, reply: EngineReply) {
        self.gate.push(Release::Reply { request, reply }, self.now);
    }

    /// The refusal of messages of which one is too large. Headers that an exception destination added do not count.
    pub(super) fn too_large<'m>(&self, messages: impl Iterator<Item = Encoded<'m>>) -> Option<EngineError> {
        let limit = self.config.message_bytes;
        let large = messages.filter(|message| message.size() as u64 > limit);
        let size = large.map(|message| message.message().limited_size()).max().unwrap_or(0) as u64;
        (size > limit).then_some(EngineError::MessageTooLarge { size, limit })
    }

    /// The refusal of everything that is to be stored, if there is no room for it.
    pub(super) fn store_full(&self) -> Option<EngineError> {
        let (free_bytes, reserve_bytes) = (self.free_bytes, self.config.reserve_bytes);
        (free_bytes < reserve_bytes).then_some(EngineError::StoreFull { free_bytes, reserve_bytes })
    }

    /// The refusal of one more queue.
    pub(super) fn too_many_queues(&self) -> EngineError {
        EngineError::Refused(format!(
            "the engine has {} queues and subscriptions, temporary ones included, the limit of max_queues: raise it \
             under [limits] in the servers' files, or delete some",
            self.config.queues
        ))
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            message_bytes: self.config.message_bytes,
            consumer_credit: self.config.consumer_credit,
            frame_min_bytes: self.config.frame_min_bytes,
            frame_max_bytes: self.config.frame_max_bytes,
        }
    }

    /// Deadline for a consumer without a link to attach again.
    pub(super) fn grace_ends(&self) -> BootTime {
        self.now.boot + Duration::from_millis(self.config.reattach_grace_ms)
    }
}
