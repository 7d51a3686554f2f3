//! The reasons to refuse messages before they are proposed.

use baton_client::protocol::EngineError;
use baton_domain::{Destinations, MessageBatch, QueueId, topic};

use super::queues::Queues;
use crate::engine::context::Context;

impl Queues {
    /// Checks messages for a destination, to be `stored` or not.
    pub(in crate::engine) fn check_sent(
        &self,
        queue: Option<QueueId>,
        messages: &MessageBatch,
        stored: bool,
        cx: &Context<'_>,
    ) -> Result<(), EngineError> {
        let why = cx
            .too_large(messages.iter())
            .or_else(|| cx.store_full().filter(|_| stored))
            .or_else(|| self.refuses(queue?, messages, &|_| 0));
        why.map_or(Ok(()), Err)
    }

    /// The reason why a destination takes no more messages now. Messages on their way are not counted: the limit is where
    /// refusing begins. `leaving`: number of messages that leave a queue as these come.
    pub(in crate::engine) fn refuses(
        &self,
        queue: QueueId,
        messages: &MessageBatch,
        leaving: &dyn Fn(QueueId) -> u64,
    ) -> Option<EngineError> {
        let state = self.get(queue)?;
        let targets = self.forwarded(queue);
        if targets.iter().any(|target| self.is_topic_space(*target)) {
            let wrong = messages.iter().find_map(|message| topic::check_topic(message.asks().topic()).err());
            if let Some(error) = wrong {
                return Some(EngineError::BadTopic(error.to_string()));
            }
        }
        if state.settings.send_paused {
            return Some(EngineError::SendPaused(state.name.clone()));
        }
        let full = |target: QueueId| {
            let state = self.get(target)?;
            let limit = state.settings.max_messages;
            let full = limit > 0 && state.all_messages().saturating_sub(leaving(target)) >= limit;
            full.then(|| EngineError::QueueFull { queue: state.name.clone(), limit })
        };
        targets.into_iter().find_map(|target| full(target).or_else(|| self.full_subscription(target, messages, &full)))
    }

    /// The first subscription of a topic space that is `full` and wants one of these messages.
    fn full_subscription(
        &self,
        space: QueueId,
        messages: &MessageBatch,
        full: &dyn Fn(QueueId) -> Option<EngineError>,
    ) -> Option<EngineError> {
        let topics = self.topics(space).filter(|topics| !topics.is_empty())?;
        messages.iter().find_map(|message| {
            topics.of_topic(message.asks().topic()).into_iter().find_map(|subscription| {
                let error = full(subscription)?;
                topics.selects(subscription, &message.message()).then_some(error)
            })
        })
    }
}
