//! Destinations that forward, and topic spaces.

use baton_domain::{DestinationKind, Destinations, FORWARDS_MAX, Message, QueueId, QueueName, Settings};

use super::queues::Queues;

impl Queues {
    /// True if messages for a destination go to a topic space: then each message needs a topic.
    pub(in crate::engine) fn publishes(&self, queue: QueueId) -> bool {
        self.forwarded(queue).into_iter().any(|target| self.is_topic_space(target))
    }

    /// The queues among these destinations, and the subscriptions of the topic spaces among them that want a message.
    pub(in crate::engine) fn takers(&self, targets: &[QueueId], message: &Message) -> Vec<QueueId> {
        let one =
            |target: &QueueId| self.topics(*target).map_or_else(|| vec![*target], |topics| topics.matches(message));
        targets.iter().flat_map(one).collect()
    }

    /// The reason why a destination of that kind cannot forward as these settings say.
    pub(in crate::engine) fn cannot_forward(
        &self,
        name: &QueueName,
        kind: &DestinationKind,
        settings: &Settings,
    ) -> Option<String> {
        let to = &settings.forward_to;
        if to.is_empty() {
            return None;
        }
        if matches!(kind, DestinationKind::Subscription(_)) {
            return Some(format!("{name} is a subscription: subscriptions cannot forward"));
        }
        if to.len() > FORWARDS_MAX {
            return Some(format!("{name} would forward to {} destinations: use at most {FORWARDS_MAX}", to.len()));
        }
        let subscription = to.iter().find(|name| self.id(name).is_some_and(|id| self.is_subscription(id)))?;
        Some(format!("{subscription} is a subscription: forward to its topic space"))
    }
}
