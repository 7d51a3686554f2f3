//! The messaging engine actor.
//!
//! Every server has an instance; the one that a committed activation names, on the storage leader, is started. It
//! owns what is in memory of the queues: what is ready, who holds what, what is on its way through the log. It promises
//! that it confirms only what is committed and applied, that it delivers only what the store recorded as dispatched,
//! and that nothing leaves it without a lease that holds at that moment.
//!
//! Reading order: [`Input`] and [`Effect`], [`State`], then what a started engine does (`running`, `produce`, `consume`,
//! `deliver`, `choose`, `fetch`, `timers`, `post`, `propose`, `in_doubt`, `manage`, `delete`, `complete`), then the shell [`Engine`].

mod choose;
mod complete;
mod config;
mod consume;
mod delete;
mod deliver;
mod fetch;
mod forward;
mod gate;
mod groups;
mod in_doubt;
mod lost;
mod manage;
mod message;
mod nonpersistent;
mod once;
mod post;
mod produce;
mod propose;
mod queue;
mod report;
mod running;
mod shell;
mod state;
mod store;
mod timers;
mod transact;
mod turns;
mod window;
mod writer;

pub use config::EngineConfig;
pub use message::{CallId, Effect, EngineView, EntryId, Input, Now, ReadId, Recorded, Release, RequestId, Totals};
pub use shell::{Came, Engine, EngineArguments, EngineMessage, Shell};
pub use state::State;
pub use store::EngineStore;

#[cfg(test)]
mod tests;
