//! The state that a store's commands lead to, whatever orders them: applied in batches, read, scrubbed, copied as
//! snapshots, and freed of what is consumed. Knows neither consensus nor a log.

mod apply;
mod apply_error;
mod command;
mod entry;
mod open;
mod read;
mod scrub;
mod shared_state;
mod snapshot_files;
mod snapshots;
mod upkeep;

pub(crate) use apply::{Applier, BATCH_BYTES, BATCH_ENTRIES};
pub(crate) use apply_error::ApplyError;
pub(crate) use command::{decode_command, encode_command};
pub(crate) use entry::{LoggedEntry, Record};
pub(crate) use open::StoreFiles;
pub(crate) use read::read_queues;
pub(crate) use scrub::Scrub;
pub(crate) use shared_state::SharedState;
pub(crate) use snapshot_files::SnapshotFiles;
pub(crate) use snapshots::Snapshots;
pub(crate) use upkeep::Upkeep;
