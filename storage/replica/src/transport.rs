//! The store's network, as a trait: frames to another replica, answered one by one.

use std::time::Duration;

use baton_domain::ReplicaId;
use futures::future::BoxFuture;

/// The reason why a frame got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no link to that replica.
    #[error("no link to the replica")]
    Unreachable,
    /// No answer in time; the frame may have arrived.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Carries the store's frames. Frames to one replica arrive in the order in which their futures were first polled.
pub trait Transport: Send + Sync + 'static {
    /// Sends one frame and resolves to its answer.
    fn call(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>>;

    /// The same for a small frame that should not wait behind large ones. It may overtake what [`Transport::call`]
    /// sent.
    fn call_ahead(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        self.call(to, frame, timeout)
    }
}
