//! Status of consumers for operators, and which of them are slow.

use baton_client::protocol::{ConsumerStatus, EngineReply};
use baton_domain::clock::BootTime;
use baton_domain::{ConsumerId, QueueName, Selector};

use super::Running;
use crate::engine::config::EngineConfig;
use crate::engine::context::Context;
use crate::engine::message::RequestId;
use crate::engine::parts::consumers::{Consumer, Link};
use crate::engine::parts::queue::Queue;
use crate::engine::parts::window::Window;

/// Number of messages that are searched for one that a selector selects.
const LOOK: usize = 1_024;

/// True if messages wait for a consumer, and it has had time enough for those that it has.
fn is_slow(consumer: &Consumer, queue: &Queue, config: &EngineConfig, now: BootTime) -> bool {
    consumer.held >= consumer.credit
        && consumer.unsettled_ms(now) > config.slow_consumer_ms
        && is_waited_for(consumer, queue)
}

/// True if messages wait that a consumer would take. A queue whose deliveries are paused waits for its operator.
fn is_waited_for(consumer: &Consumer, queue: &Queue) -> bool {
    let waiting = queue.nonpersistent.waiting_len() > 0 || queue.windows().any(Window::is_waiting);
    let wants = |selector: &Selector| {
        let mut messages = queue.candidates(LOOK).into_iter();
        messages.any(|(_, ready)| selector.selects(&ready.message))
    };
    !queue.settings.receive_paused && waiting && consumer.selector.as_ref().is_none_or(wants)
}

impl Running {
    /// The consumers of a queue, or all.
    pub(in crate::engine) fn list_consumers(&self, request: RequestId, name: Option<&QueueName>, cx: &mut Context<'_>) {
        let mut queues = Vec::new();
        match name {
            Some(name) => match self.find(name) {
                Ok(id) => queues.extend(self.queues.get(id)),
                Err(reply) => return cx.reply(request, reply),
            },
            None => queues.extend(self.queues.by_name()),
        }
        let consumers = queues.into_iter().flat_map(|queue| self.consumers_of(queue, cx)).collect();
        cx.reply(request, EngineReply::Consumers(consumers));
    }

    /// In the order in which they attached.
    fn consumers_of(&self, queue: &Queue, cx: &Context<'_>) -> Vec<ConsumerStatus> {
        let now = cx.now.boot;
        let known = |id: &ConsumerId| self.consumers.get(*id).map(|state| (state.order, *id, state));
        let mut consumers: Vec<(u64, ConsumerId, &Consumer)> = queue.consumers.iter().filter_map(known).collect();
        consumers.sort_unstable_by_key(|(order, consumer, _)| (*order, *consumer));
        let status = |(_, consumer, state): (u64, ConsumerId, &Consumer)| ConsumerStatus {
            consumer,
            queue: queue.name.clone(),
            client: state.client.clone(),
            credit: state.credit,
            held: state.held,
            acknowledged: state.progress.acknowledged(),
            unsettled_ms: state.unsettled_ms(now),
            lost: state.link == Link::Lost,
            slow: is_slow(state, queue, cx.config, now),
        };
        consumers.into_iter().map(status).collect()
    }

    /// Number of slow consumers of a queue.
    pub(in crate::engine) fn slow_consumers(&self, queue: &Queue, cx: &Context<'_>) -> u64 {
        let consumers = queue.consumers.iter().filter_map(|id| self.consumers.get(*id));
        consumers.filter(|state| is_slow(state, queue, cx.config, cx.now.boot)).count() as u64
    }
}
