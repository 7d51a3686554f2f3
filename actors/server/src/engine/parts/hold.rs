//! The state of a message that is neither ready nor returned.

use baton_domain::ConsumerId;

/// Its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Hold {
    /// A consumer has it.
    With {
        /// The consumer.
        consumer: ConsumerId,
        /// Number of its failed deliveries.
        redeliveries: u32,
        /// Its place among all that the consumer was handed.
        order: u64,
    },
    /// It was acknowledged, expired or is being moved elsewhere; that is being committed.
    Settling,
    /// A transaction that is prepared and not decided takes it.
    InDoubt,
    /// It is to leave with other things, or to stay with them: until that is known, it is still here.
    Leaving,
    /// It was handed back; the higher count is being committed.
    Returning {
        /// Number of its failed deliveries, this one included.
        redeliveries: u32,
    },
    /// No exception destination takes it: it waits a while before it is delivered again.
    Kept {
        /// Number of its failed deliveries.
        redeliveries: u32,
    },
}

/// A message that a consumer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Having {
    /// Number of its failed deliveries.
    pub(in crate::engine) redeliveries: u32,
    /// Its place among all that the consumer was handed.
    pub(in crate::engine) order: u64,
}

impl Hold {
    pub(in crate::engine) fn is_with(self, who: ConsumerId) -> Option<Having> {
        match self {
            Self::With { consumer, redeliveries, order } if consumer == who => Some(Having { redeliveries, order }),
            Self::With { .. }
            | Self::Settling
            | Self::InDoubt
            | Self::Leaving
            | Self::Returning { .. }
            | Self::Kept { .. } => None,
        }
    }
}
