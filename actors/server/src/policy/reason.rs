//! Why the engine was placed or stopped, in words.

use baton_domain::ActivationReason;

/// The word under which a planned stop records where the engine is going: the same as in JSON.
#[must_use]
pub fn reason_word(reason: ActivationReason) -> &'static str {
    match reason {
        ActivationReason::Start => "start",
        ActivationReason::FailOver => "fail-over",
        ActivationReason::FailBack => "fail-back",
        ActivationReason::Move => "move",
        ActivationReason::PolicyChange => "policy-change",
        ActivationReason::HandOver => "hand-over",
        ActivationReason::EngineFailed => "engine-failed",
    }
}

/// The reason that a planned stop recorded. Other words are those of an engine that was stopped because the policy allows
/// no server that is there.
pub(super) fn stop_reason(word: &str) -> ActivationReason {
    [
        ActivationReason::FailOver,
        ActivationReason::FailBack,
        ActivationReason::Move,
        ActivationReason::PolicyChange,
        ActivationReason::HandOver,
    ]
    .into_iter()
    .find(|reason| reason_word(*reason) == word)
    .unwrap_or(ActivationReason::PolicyChange)
}
