//! The producers that a started engine remembers, to save work: the store judges.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{ProducerId, QueueId};

use super::cache::Cache;
use crate::engine::config::EngineConfig;
use crate::engine::message::{Effect, Now};

#[derive(Debug)]
struct Producer {
    queue: QueueId,
    used_ms: u64,
}

#[derive(Debug)]
pub(in crate::engine) struct Producers {
    known: Cache<ProducerId, Producer>,
    /// Time of the next search for idle ones.
    check_at: BootTime,
}

impl Producers {
    pub(in crate::engine) fn new(config: &EngineConfig, now: Now) -> Self {
        Self { known: Cache::default(), check_at: now.boot + Duration::from_millis(config.producer_check_ms) }
    }

    /// The queue that a producer sends to, if it is remembered.
    pub(in crate::engine) fn queue(&self, producer: ProducerId) -> Option<QueueId> {
        self.known.get(&producer).map(|known| known.queue)
    }

    pub(in crate::engine) fn remember(
        &mut self,
        producer: ProducerId,
        queue: QueueId,
        config: &EngineConfig,
        now: Now,
    ) {
        let known = Producer { queue, used_ms: now.unix_ms };
        self.known.insert(producer, known, config.producers_remembered);
    }

    /// A producer sends.
    pub(in crate::engine) fn heard(&mut self, producer: ProducerId, now: Now) {
        if let Some(known) = self.known.get_mut(&producer) {
            known.used_ms = now.unix_ms;
        }
    }

    pub(in crate::engine) fn forget(&mut self, producer: ProducerId) {
        self.known.remove(&producer);
    }

    /// A queue is gone.
    pub(in crate::engine) fn forget_all_of(&mut self, queue: QueueId) {
        self.known.retain(|known| known.queue != queue);
    }

    /// Of producers that the store found idle before that time, those that were not heard since; they are forgotten.
    pub(in crate::engine) fn forget_idle(&mut self, mut idle: Vec<ProducerId>, before_ms: u64) -> Vec<ProducerId> {
        idle.retain(|producer| self.known.get(producer).is_none_or(|known| known.used_ms < before_ms));
        idle.iter().for_each(|producer| self.known.remove(producer));
        idle
    }

    pub(in crate::engine) fn deadline(&self) -> BootTime {
        self.check_at
    }

    /// Has idle ones looked for, if it is time.
    pub(in crate::engine) fn tick(&mut self, config: &EngineConfig, now: Now, effects: &mut Vec<Effect>) {
        if now.boot >= self.check_at {
            self.check_at = now.boot + Duration::from_millis(config.producer_check_ms);
            let before_ms = now.unix_ms.saturating_sub(config.producer_idle_ms);
            effects.push(Effect::FindIdleProducers { before_ms, limit: config.producer_check_limit });
        }
    }
}
