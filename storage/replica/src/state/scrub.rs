//! Reads the whole state from disk, slowly and repeatedly, so that a damaged block in a part that is never read is
//! found while other replicas still have it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::entry::Record;
use super::snapshots::Snapshots;
use crate::disk::{Pace, Reading};

/// Slow enough not to disturb messages: 100 GB take less than two hours.
const PACE: Pace = Pace { bytes_per_second: 16 * 1024 * 1024 };
/// Maximum wait for the first pass after a start: a server that restarts each day has its disk read, too.
const FIRST: Duration = Duration::from_secs(600);
/// Pause after a pass that was requested.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// Scrubs until damage is found or the store is closed.
pub(crate) struct Scrub<R> {
    pub(crate) snapshots: Arc<Snapshots<R>>,
    /// From the end of one pass to the beginning of the next; zero: only when asked.
    pub(crate) every: Duration,
    /// Requests a pass at once: another replica got damaged blocks from here.
    pub(crate) asked: Arc<Notify>,
}

impl<R: Record> Scrub<R> {
    pub(crate) async fn run(self) {
        let mut pause = self.every.min(FIRST);
        loop {
            let due = async {
                if self.every.is_zero() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(pause).await;
            };
            let asked = tokio::select! {
                () = due => false,
                () = self.asked.notified() => true,
            };
            pause = self.every;
            let begun = crate::clock::boot_time();
            match self.pass(asked).await {
                Ok(bytes) => {
                    tracing::info!(bytes, took = ?crate::clock::boot_time().since(begun), "scrub finished: no damage");
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let error = self.snapshots.state().damaged(&format!("its state: {error}"));
                    tracing::error!(%error, "scrub found damage");
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot finish the scrub"),
            }
            if asked {
                // The snapshot may be older than the state, and of files that are replaced by now.
                let snapshots = self.snapshots.clone();
                let made = tokio::task::spawn_blocking(move || snapshots.make()).await;
                if let Err(error) = made.map_err(io::Error::other).and_then(|made| made) {
                    tracing::warn!(%error, "cannot replace a damaged snapshot");
                }
                tokio::time::sleep(ASKED_AGAIN).await;
            }
        }
    }

    /// Reads all of the state; at full speed if a pass was requested. Returns its bytes.
    async fn pass(&self, hurry: bool) -> io::Result<u64> {
        let (mut reading, mut total) = (Reading::default(), 0);
        loop {
            // Opened for each slice: a snapshot may have replaced the state.
            let db = self.snapshots.state().db()?;
            let read = tokio::task::spawn_blocking(move || {
                let slice = reading.slice(&db);
                (reading, slice)
            });
            let slice;
            (reading, slice) = read.await.map_err(io::Error::other)?;
            let Some(bytes) = slice? else { return Ok(total) };
            total += bytes as u64;
            if !hurry {
                tokio::time::sleep(PACE.rest(bytes)).await;
            }
        }
    }
}
