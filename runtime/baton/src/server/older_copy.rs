//! A server whose store was replaced by an older copy: it does not open the store, which would break the promises of its
//! replica. It stays up, reports the remedy, and goes on once `baton rebuild` has set the store aside.

use std::time::Duration;

use baton_replica::older_copy;

use super::waiting::Waiting;
use crate::config::ServerConfig;

/// Interval of the check that the store was set aside.
const LOOK: Duration = Duration::from_millis(500);

/// Waits until the server's store is not known to be an older copy.
pub(super) async fn wait(config: &ServerConfig, waiting: &Waiting) {
    let ServerConfig { dir, file, .. } = config;
    let Some(lacks) = older_copy(dir) else { return };
    let remedy = match file {
        Some(file) => format!("run `baton rebuild {}`", file.display()),
        None => "move the store away".to_owned(),
    };
    let why = format!(
        "the store at {} is an older copy of itself ({lacks}): this server serves nothing; {remedy} to restore this \
         replica from its peers",
        dir.display()
    );
    tracing::error!("{why}");
    waiting.waits_for(&why);
    while older_copy(dir).is_some() {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!("the older copy was set aside");
}
