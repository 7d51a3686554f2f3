//! Tasks that end with whoever holds them.

use tokio::task::AbortHandle;

/// A task that ends with whoever holds this.
#[derive(Debug)]
pub(super) struct Tether(AbortHandle);

impl Tether {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        let handle = tokio::spawn(task);
        Self(handle.abort_handle())
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.abort();
    }
}
