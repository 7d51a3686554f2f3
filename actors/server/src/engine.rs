//! The messaging engine actor.
//!
//! Every server has an instance; the one that a committed activation names, on the storage leader, is started. It
//! owns what is in memory of the queues: what is ready, who holds what, what is on its way through the log. It promises
//! that it confirms only what is committed and applied, that it delivers only what the store recorded as dispatched,
//! and that nothing leaves it without a lease that holds at that moment.
//!
//! Reading order: [`Input`] and [`Effect`]; [`State`], the life of an instance; `parts`, the data of a started engine, each
//! part in its own file; `running`, its tasks, a file for each; then the shell [`Engine`].

mod config;
mod context;
mod gate;
mod message;
mod parts;
mod quarantine;
mod running;
mod shell;
mod state;
mod store;

pub use config::EngineConfig;
pub use message::{CallId, Effect, EngineView, EntryId, Input, Now, ReadId, Recorded, Release, RequestId, Totals};
pub use quarantine::Quarantine;
pub use shell::{Engine, EngineArguments, EngineMessage, EngineOwn, Shell};
pub use state::State;
pub use store::EngineStore;

#[cfg(test)]
mod tests;
