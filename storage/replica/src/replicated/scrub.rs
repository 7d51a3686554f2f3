//! Reads the state as it lies on disk, slowly and again and again, so that a block that rots where nobody looks is
//! found while other replicas still have it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::damage;
use crate::disk::{Pace, Reading};
use crate::failure::Failure;
use crate::replicated::SharedState;

/// Slow enough to go unnoticed beside messages: 100 GB take less than two hours.
const PACE: Pace = Pace { bytes_per_second: 16 * 1024 * 1024 };
/// The first pass after a start begins after so long at the latest: who restarts each day has its disk read, too.
const FIRST: Duration = Duration::from_secs(600);
/// After a pass that was asked for none is for so long.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// Scrubs until damage is found or the store is closed.
pub(crate) struct Scrub {
    pub(crate) dir: PathBuf,
    pub(crate) state: Arc<SharedState>,
    pub(crate) failure: Failure,
    /// From the end of one pass to the beginning of the next; zero: only when asked.
    pub(crate) every: Duration,
    /// Asks for a pass at once: another replica says that it got damaged blocks from here.
    pub(crate) asked: Arc<Notify>,
}

impl Scrub {
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
                    let error = damage::found(&self.dir, &format!("its state: {error}"), &self.failure);
                    tracing::error!(%error, "scrub found damage");
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot finish the scrub"),
            }
            if asked {
                // What was sent may be older than the state, and of files that are replaced by now.
                let state = self.state.clone();
                let made = tokio::task::spawn_blocking(move || state.make_snapshot()).await;
                if let Err(error) = made.map_err(io::Error::other).and_then(|made| made) {
                    tracing::warn!(%error, "cannot replace a damaged snapshot");
                }
                tokio::time::sleep(ASKED_AGAIN).await;
            }
        }
    }

    /// Reads all of the state; as fast as the disk allows if somebody waits for it. Returns how many bytes it was.
    async fn pass(&self, hurry: bool) -> io::Result<u64> {
        let (mut reading, mut total) = (Reading::default(), 0);
        loop {
            // Anew for each slice: a snapshot may have taken the state's place.
            let db = self.state.db()?;
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
