//! Effects of the policy, and their outcomes.

use baton_domain::{ActivationReason, ReplicaId, ServerName};

use super::membership::MembershipStep;

/// An effect for the shell to perform. One of the first three is in progress at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Commit an activation for this server and start the instance.
    Activate {
        /// The reason.
        reason: ActivationReason,
    },
    /// Stop the engine here if it runs, and hand leadership over.
    HandOver {
        /// The next leader.
        to: ServerName,
        /// Its replica.
        replica: ReplicaId,
        /// The reason.
        reason: ActivationReason,
    },
    /// Stop the engine here, on purpose.
    StopEngine {
        /// The reason, as text.
        why: String,
    },
    /// Stop the engine here at once: this server does not lead.
    Fence,
    /// Change the voters or the learners.
    Membership(MembershipStep),
}

/// The outcome of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or is no longer needed.
    Done,
    /// The hand-over failed: try another way for a while.
    HandOverFailed {
        /// The server that did not take over.
        to: ServerName,
    },
    /// The engine instance could not start here.
    EngineFailed {
        /// The cause, as text.
        why: String,
    },
}
