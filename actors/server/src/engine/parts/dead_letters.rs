//! Exception destinations, as far as the engine has to know them before the store says it.

use baton_domain::{
    DeadLetterOverflow, DestinationKind, Destinations, ExceptionDestination, Expired, QueueId, QueueName,
    SYSTEM_EXCEPTION_QUEUE,
};

use super::queues::Queues;
use crate::engine::message::Now;

/// The state of a queue's exception destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum DeadLetters {
    Taken,
    /// It is full.
    Wait,
    /// There is none.
    Stay,
}

impl Queues {
    /// The state of the exception destination of a queue. Dead letters that are in no store may leave their place only if
    /// they are taken.
    pub(in crate::engine) fn dead_letters(&self, of: QueueId, now: Now) -> DeadLetters {
        let Some(state) = self.get(of) else { return DeadLetters::Stay };
        // The store alone knows how many bytes are there: its last word counts for a while.
        if state.dead_letters_wait.is_some_and(|until| now.boot < until) {
            return DeadLetters::Wait;
        }
        let named = match &state.settings.exception {
            ExceptionDestination::None => return DeadLetters::Stay,
            ExceptionDestination::Queue(name) => self.id(name),
            ExceptionDestination::System => None,
        };
        let is_queue = |id: &QueueId| self.get(*id).is_some_and(|state| state.kind == DestinationKind::Queue);
        let system = || self.id(&QueueName::new(SYSTEM_EXCEPTION_QUEUE).ok()?);
        // The system's is made when it is first needed.
        let Some(target) = named.filter(is_queue).or_else(system) else { return DeadLetters::Taken };
        let Some(into) = self.get(target).filter(|_| target != of) else { return DeadLetters::Stay };
        let most = into.settings.max_messages;
        let full = most > 0 && into.all_messages() >= most;
        match into.settings.dead_letter_overflow {
            DeadLetterOverflow::Wait if full => DeadLetters::Wait,
            DeadLetterOverflow::Wait | DeadLetterOverflow::DropOldest => DeadLetters::Taken,
        }
    }

    /// True if expired messages of a queue stay for now: they would go to an exception destination that is full.
    pub(in crate::engine) fn expiry_waits(&self, queue: QueueId, now: Now) -> bool {
        self.expires_to_exception(queue) && self.dead_letters(queue, now) == DeadLetters::Wait
    }

    pub(in crate::engine) fn expires_to_exception(&self, queue: QueueId) -> bool {
        self.get(queue).is_some_and(|state| state.settings.expired == Expired::Exception)
    }
}
