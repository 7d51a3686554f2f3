//! What the policy asks its shell to do, and what came of it.

use baton_domain::{ActivationReason, ReplicaId, ServerName};

use super::membership::MembershipStep;

/// What the policy asks its shell to do. One of the first three is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Commit an activation for this server and start the instance.
    Activate {
        /// Why.
        reason: ActivationReason,
    },
    /// Stop the engine here if it runs, and hand leadership over.
    HandOver {
        /// Where to.
        to: ServerName,
        /// Its replica.
        replica: ReplicaId,
        /// Why.
        reason: ActivationReason,
    },
    /// Stop the engine here, on purpose.
    StopEngine {
        /// Why, in words.
        why: String,
    },
    /// Stop the engine here at once: this server does not lead.
    Fence,
    /// Change who votes.
    Membership(MembershipStep),
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or is no longer asked for.
    Done,
    /// The hand-over failed: try another way for a while.
    HandOverFailed {
        /// To whom.
        to: ServerName,
    },
    /// The engine instance could not start here.
    EngineFailed {
        /// Why, in words.
        why: String,
    },
}
