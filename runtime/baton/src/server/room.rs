//! A server whose disk is full does not open its store, which would fail: it waits for space, and reports so.

use std::time::Duration;

use baton_replica::free_bytes;

use super::waiting::Waiting;
use crate::config::ServerConfig;

/// Interval of the check for space.
const LOOK: Duration = Duration::from_millis(500);
/// Part of the reserve below which the store is not opened.
pub(super) const LEAST_PART: u64 = 4;

/// True if fewer bytes than that are free on the disk of the store's directory.
pub(super) fn is_short(config: &ServerConfig, bytes: u64) -> bool {
    let there = config.dir.ancestors().find(|dir| dir.is_dir());
    free_bytes(there.unwrap_or(&config.dir)) < bytes
}

/// Waits until `least` bytes are free on the store's disk.
pub(super) async fn wait(config: &ServerConfig, least: u64, waiting: &Waiting) {
    if !is_short(config, least) {
        return;
    }
    let why = format!(
        "the disk at {} is full: the server starts once {} MiB are free there",
        config.dir.display(),
        least.div_ceil(1024 * 1024)
    );
    tracing::error!("{why}");
    waiting.waits_for(&why);
    while is_short(config, least) {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!("the disk has space again");
}
