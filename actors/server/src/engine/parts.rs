//! The parts of a started engine: each owns its data, and none knows [`super::running`].

mod accept;
pub(super) mod attach;
pub(super) mod browsing;
pub(super) mod cache;
pub(super) mod consumers;
pub(super) mod dead_letters;
pub(super) mod deliveries;
mod forward;
pub(super) mod groups;
pub(super) mod hold;
pub(super) mod kept;
mod kinds;
pub(super) mod memory;
pub(super) mod nonpersistent;
pub(super) mod producers;
pub(super) mod progress;
pub(super) mod proposals;
pub(super) mod purpose;
pub(super) mod queue;
pub(super) mod queues;
pub(super) mod ready;
pub(super) mod ready_memory;
pub(super) mod timers;
pub(super) mod transactions;
pub(super) mod turns;
pub(super) mod window;
