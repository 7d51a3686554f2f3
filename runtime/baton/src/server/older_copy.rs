//! A server whose store was put back from an older copy: it does not open the store, which would break what its
//! replica promised. It stays up, says how it is rebuilt, and goes on once `baton rebuild` has set the store aside.

use std::time::Duration;

use baton_replica::older_copy;

use super::waiting::Waiting;
use crate::config::ServerConfig;

/// How often it is looked whether the store was set aside.
const LOOK: Duration = Duration::from_millis(500);

/// Waits until the server's store is not known to be an older copy.
pub(super) async fn wait(config: &ServerConfig, waiting: &Waiting) {
    let ServerConfig { dir, file, .. } = config;
    let Some(lacks) = older_copy(dir) else { return };
    let why = format!(
        "the store at {} was put back from an older copy ({lacks}): this server serves nothing; run: baton rebuild {}, \
         which gets it a new replica from the other servers",
        dir.display(),
        file.display()
    );
    tracing::error!("{why}");
    waiting.waits_for(&why);
    while older_copy(dir).is_some() {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!("the older copy was set aside");
}
