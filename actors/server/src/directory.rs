//! The directory actor: tells clients and other servers where the engine is and how the cluster is, and takes an
//! operator's wishes to the storage leader. Runs on every server, with and without a quorum.

mod arguments;
mod checks;
mod shell;
mod status;
mod tasks;

pub use arguments::{DirectoryArguments, log_trouble};
pub use shell::{Directory, DirectoryMessage};
pub use status::{StatusInput, compose_status};
pub use tasks::gather_status;
