//! Rules on destinations. The state machine applies them, and the engine has to know the outcome before: they stand here
//! for both.

use std::collections::HashMap;

use super::topic::TopicTree;
use super::{DestinationKind, Message, QueueId, QueueName, Selector, Settings, Subscription};

/// The destinations that somebody knows.
pub trait Destinations {
    /// The number of a destination.
    fn id(&self, name: &QueueName) -> Option<QueueId>;

    /// The kind of a destination; `None` if it does not exist.
    fn kind(&self, id: QueueId) -> Option<&DestinationKind>;

    /// The settings of a destination; `None` for the defaults.
    fn settings(&self, id: QueueId) -> Option<&Settings>;

    /// The destinations that store messages for this one, at least one: each of its forward targets that exists and is no
    /// subscription, else itself. One step: a queue that forwards to one that forwards is a chain of two.
    fn forwarded(&self, id: QueueId) -> Vec<QueueId> {
        let mut targets = Vec::new();
        let names = self.settings(id).into_iter().flat_map(|settings| &settings.forward_to);
        for target in names.filter_map(|name| self.id(name)) {
            let takes = matches!(self.kind(target), Some(DestinationKind::Queue | DestinationKind::TopicSpace));
            if takes && !targets.contains(&target) {
                targets.push(target);
            }
        }
        if targets.is_empty() {
            targets.push(id);
        }
        targets
    }

    /// Default time to live of messages of a destination, in milliseconds; 0 = unlimited. A subscription without its own has
    /// that of its topic space.
    fn time_to_live_ms(&self, id: QueueId) -> u64 {
        let own = |id| self.settings(id).map_or(0, |settings| settings.time_to_live_ms);
        match self.kind(id) {
            Some(DestinationKind::Subscription(Subscription { space, .. })) if own(id) == 0 => own(*space),
            _ => own(id),
        }
    }
}

/// The subscriptions of a topic space.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Subscriptions {
    topics: TopicTree,
    /// Of the subscriptions that have one.
    selectors: HashMap<QueueId, Selector>,
}

impl Subscriptions {
    /// Adds a subscription. Its pattern and its selector were checked when it was created: an invalid selector selects all.
    pub fn insert(&mut self, id: QueueId, subscription: &Subscription) {
        self.topics.insert(&subscription.topic, id);
        if let Ok(selector) = Selector::parse(&subscription.selector) {
            self.selectors.insert(id, selector);
        }
    }

    /// Removes a subscription.
    pub fn remove(&mut self, id: QueueId, subscription: &Subscription) {
        self.topics.remove(&subscription.topic, id);
        self.selectors.remove(&id);
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The subscriptions that want a message, in the order of their numbers.
    #[must_use]
    pub fn matches(&self, message: &Message) -> Vec<QueueId> {
        let mut wanted = self.topics.matches(message.topic());
        wanted.retain(|id| self.selects(*id, message));
        wanted
    }

    /// The subscriptions whose topics a message may have, whatever their selectors say of it.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Vec<QueueId> {
        self.topics.matches(topic)
    }

    /// True if a subscription wants a message of its topics.
    #[must_use]
    pub fn selects(&self, id: QueueId, message: &Message) -> bool {
        self.selectors.get(&id).is_none_or(|selector| selector.selects(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known(Vec<(&'static str, DestinationKind, Settings)>);

    impl Destinations for Known {
        fn id(&self, name: &QueueName) -> Option<QueueId> {
            let at = self.0.iter().position(|(known, ..)| *known == name.as_str())?;
            u32::try_from(at).ok().map(QueueId)
        }

        fn kind(&self, id: QueueId) -> Option<&DestinationKind> {
            self.0.get(id.0 as usize).map(|(_, kind, _)| kind)
        }

        fn settings(&self, id: QueueId) -> Option<&Settings> {
            self.0.get(id.0 as usize).map(|(_, _, settings)| settings)
        }
    }

    fn subscription(selector: &str) -> Subscription {
        Subscription { space: QueueId(1), topic: "a/*".to_owned(), selector: selector.to_owned() }
    }

    #[test]
    fn messages_go_to_each_forward_target_that_takes_some() {
        let to = |names: &[&str]| Settings {
            forward_to: names.iter().map(|name| QueueName::new(name).unwrap()).collect(),
            ..Settings::default()
        };
        let of_space = DestinationKind::Subscription(subscription(""));
        let known = Known(vec![
            ("q", DestinationKind::Queue, to(&["news", "q", "mine", "gone", "news"])),
            ("news", DestinationKind::TopicSpace, Settings { time_to_live_ms: 7, ..Settings::default() }),
            ("mine", of_space.clone(), Settings::default()),
            ("own", of_space, Settings { time_to_live_ms: 9, ..Settings::default() }),
            ("r", DestinationKind::Queue, to(&["gone", "mine"])),
        ]);
        assert_eq!(known.forwarded(QueueId(0)), [QueueId(1), QueueId(0)]);
        assert_eq!(known.forwarded(QueueId(4)), [QueueId(4)], "itself if there is no other");
        assert_eq!([0, 1, 2, 3].map(|id| known.time_to_live_ms(QueueId(id))), [0, 7, 7, 9]);
    }

    #[test]
    fn a_subscription_wants_messages_of_its_topics_that_its_selector_selects() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.is_empty());
        subscriptions.insert(QueueId(2), &subscription(""));
        subscriptions.insert(QueueId(3), &subscription("kind = 'big'"));
        let message = |topic: &str, kind: &str| {
            let mut message = Message::new("x").with_topic(topic);
            message.headers.push(("kind".to_owned(), kind.to_owned()));
            message
        };
        assert_eq!(subscriptions.matches(&message("a/b", "big")), [QueueId(2), QueueId(3)]);
        assert_eq!(subscriptions.matches(&message("a/b", "small")), [QueueId(2)]);
        assert!(subscriptions.matches(&message("b", "big")).is_empty());
        subscriptions.remove(QueueId(3), &subscription("kind = 'big'"));
        assert_eq!(subscriptions.matches(&message("a/b", "big")), [QueueId(2)]);
    }
}
