//! What operators are told of consumers, and which of them are slow.

use baton_client::protocol::{ConsumerStatus, EngineReply};
use baton_domain::clock::BootTime;
use baton_domain::{ConsumerId, QueueName, Selector};

use super::EngineConfig;
use super::message::RequestId;
use super::queue::Queue;
use super::running::{Consumer, Context, Link, Running};
use super::window::Window;

/// How many messages are looked at for one that a selector selects.
const LOOK: usize = 1_024;

/// How a consumer gets on with what it is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// How many messages it acknowledged.
    acknowledged: u64,
    /// While it holds messages: since when it has settled none. The later of its last settlement and when it got the
    /// first message after it had none.
    since: BootTime,
}

impl Progress {
    pub(super) fn new(now: BootTime) -> Self {
        Self { acknowledged: 0, since: now }
    }

    /// It is given messages, and held so many before.
    pub(super) fn takes(&mut self, held_before: u32, now: BootTime) {
        if held_before == 0 {
            self.since = now;
        }
    }

    /// It settled messages, and acknowledged so many of them.
    pub(super) fn settles(&mut self, acknowledged: usize, now: BootTime) {
        self.acknowledged += acknowledged as u64;
        self.since = now;
    }

    /// An acknowledgement of its is not done after all.
    pub(super) fn takes_back(&mut self) {
        self.acknowledged = self.acknowledged.saturating_sub(1);
    }
}

impl Consumer {
    /// For how long it has held messages without settling any, in milliseconds.
    fn unsettled_ms(&self, now: BootTime) -> u64 {
        let ms = now.since(self.progress.since).as_millis();
        if self.held == 0 { 0 } else { u64::try_from(ms).unwrap_or(u64::MAX) }
    }

    /// Whether messages wait for it, and it has had time enough for those that it has.
    fn is_slow(&self, queue: &Queue, config: &EngineConfig, now: BootTime) -> bool {
        self.held >= self.credit && self.unsettled_ms(now) > config.slow_consumer_ms && self.is_waited_for(queue)
    }

    /// Whether messages wait that it would take. A queue whose deliveries are paused waits for its operator.
    fn is_waited_for(&self, queue: &Queue) -> bool {
        let waiting = queue.nonpersistent.waiting_len() > 0 || queue.windows().any(Window::is_waiting);
        let wants = |selector: &Selector| {
            let mut messages = queue.candidates(LOOK).into_iter();
            messages.any(|(_, ready)| selector.selects(&ready.message))
        };
        !queue.settings.receive_paused && waiting && self.selector.as_ref().is_none_or(wants)
    }
}

impl Running {
    /// The consumers of a queue, or all.
    pub(super) fn list_consumers(&self, request: RequestId, name: Option<&QueueName>, cx: &mut Context<'_>) {
        let mut queues = Vec::new();
        match name {
            Some(name) => match self.find(name) {
                Ok(id) => queues.extend(self.queues.get(&id)),
                Err(reply) => return cx.reply(request, reply),
            },
            None => queues.extend(self.names.values().filter_map(|id| self.queues.get(id))),
        }
        let consumers = queues.into_iter().flat_map(|queue| self.consumers_of(queue, cx)).collect();
        cx.reply(request, EngineReply::Consumers(consumers));
    }

    /// In the order in which they attached.
    fn consumers_of(&self, queue: &Queue, cx: &Context<'_>) -> Vec<ConsumerStatus> {
        let now = cx.now.boot;
        let known = |id: &ConsumerId| self.consumers.get(id).map(|state| (state.order, *id, state));
        let mut consumers: Vec<(u64, ConsumerId, &Consumer)> = queue.consumers.iter().filter_map(known).collect();
        consumers.sort_unstable_by_key(|(order, consumer, _)| (*order, *consumer));
        let status = |(_, consumer, state): (u64, ConsumerId, &Consumer)| ConsumerStatus {
            consumer,
            queue: queue.name.clone(),
            client: state.client.clone(),
            credit: state.credit,
            held: state.held,
            acknowledged: state.progress.acknowledged,
            unsettled_ms: state.unsettled_ms(now),
            lost: state.link == Link::Lost,
            slow: state.is_slow(queue, cx.config, now),
        };
        consumers.into_iter().map(status).collect()
    }

    /// How many consumers of a queue are slow.
    pub(super) fn slow_consumers(&self, queue: &Queue, cx: &Context<'_>) -> u64 {
        let consumers = queue.consumers.iter().filter_map(|id| self.consumers.get(id));
        consumers.filter(|state| state.is_slow(queue, cx.config, cx.now.boot)).count() as u64
    }
}
