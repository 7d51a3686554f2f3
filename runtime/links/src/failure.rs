//! Failures of a handshake.

use std::io;

use super::preamble::GenerationMismatch;
use super::refusal::RefusalNotice;

/// Reasons for a handshake without a link.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection broke, or nobody answered.
    Broken(io::Error),
    /// This process refused the other side.
    RefusedByUs(RefusalNotice),
    /// The other side refuses this process. It has proved nothing, so the refusal is shown to people, and its only
    /// effect is a later redial.
    RefusedByPeer(RefusalNotice),
    /// Both sides proved that they are servers, and their stores are of different generations.
    Generation(GenerationMismatch),
}

impl From<GenerationMismatch> for Failure {
    fn from(mismatch: GenerationMismatch) -> Self {
        Self::Generation(mismatch)
    }
}

impl From<RefusalNotice> for Failure {
    fn from(refused: RefusalNotice) -> Self {
        Self::RefusedByUs(refused)
    }
}
