//! Kinds of destinations: by name, as clients know them, and by number, as the store does.

use baton_client::protocol::{EngineError, Kind};
use baton_domain::{
    DestinationKind, Destinations, ExceptionDestination, QueueName, Selector, SelectorError, Settings, Subscription,
    topic,
};

use super::queues::Queues;

impl Queues {
    /// A kind as the store knows it.
    pub(in crate::engine) fn kind_by_number(&self, kind: Kind) -> Result<DestinationKind, EngineError> {
        Ok(match kind {
            Kind::Queue => DestinationKind::Queue,
            Kind::TopicSpace => DestinationKind::TopicSpace,
            Kind::Subscription { space, topic, selector } => {
                topic::check_pattern(&topic).map_err(|error| EngineError::Refused(error.to_string()))?;
                if !selector.is_empty() {
                    let refused = |error: SelectorError| EngineError::Refused(format!("invalid selector: {error}"));
                    Selector::parse(&selector).map_err(refused)?;
                }
                let Some(number) = self.id(&space).filter(|id| self.is_topic_space(*id)) else {
                    let words = format!("there is no topic space {space}: create it with `baton topic create {space}`");
                    return Err(EngineError::Refused(words));
                };
                DestinationKind::Subscription(Subscription { space: number, topic, selector })
            }
        })
    }

    /// A kind as clients know it.
    pub(in crate::engine) fn kind_by_name(&self, kind: &DestinationKind) -> Kind {
        match kind {
            DestinationKind::Queue => Kind::Queue,
            DestinationKind::TopicSpace => Kind::TopicSpace,
            DestinationKind::Subscription(Subscription { space, topic, selector }) => match self.get(*space) {
                Some(space) => {
                    let (topic, selector) = (topic.clone(), selector.clone());
                    Kind::Subscription { space: space.name.clone(), topic, selector }
                }
                // A space outlives its subscriptions.
                None => Kind::Queue,
            },
        }
    }

    /// The reason why a destination of that kind cannot behave as these settings say.
    pub(in crate::engine) fn cannot_behave(
        &self,
        name: &QueueName,
        kind: &DestinationKind,
        settings: &Settings,
    ) -> Option<String> {
        let exception = match &settings.exception {
            ExceptionDestination::Queue(exception) if exception == name => Some(format!(
                "{name} cannot be its own exception destination: use `none` to keep messages in the queue"
            )),
            ExceptionDestination::Queue(exception) => {
                let what = match self.named(exception).map(|known| &known.kind) {
                    None | Some(DestinationKind::Queue) => None,
                    Some(DestinationKind::TopicSpace) => Some("topic space"),
                    Some(DestinationKind::Subscription(_)) => Some("subscription"),
                };
                what.map(|what| format!("{exception} is a {what}: an exception destination must be a queue"))
            }
            ExceptionDestination::System | ExceptionDestination::None => None,
        };
        exception.or_else(|| self.cannot_forward(name, kind, settings))
    }
}
