//! The engine's rules, one by one.

mod consume;
mod destinations;
mod forward;
mod life;
mod paging;
mod produce;
mod report;

use std::time::Duration;

use baton_storage::{Command, CommitError, EngineOp, Message, MessageId};

use super::bench::{Bench, bodies, consumer, producer, queue};
use crate::engine::{EngineConfig, Input, RequestId};
use crate::protocol::{ClientReply, Delivery, EngineError, EngineReply, EngineRequest, EngineState};

fn deliveries(taken: &[(baton_storage::ConsumerId, Delivery)]) -> Vec<Delivery> {
    taken.iter().map(|(_, one)| one.clone()).collect()
}

fn ids(taken: &[(baton_storage::ConsumerId, Delivery)]) -> Vec<MessageId> {
    taken.iter().map(|(_, one)| one.id).collect()
}

fn started() -> Bench {
    let mut bench = Bench::new(EngineConfig::default());
    bench.open("q");
    bench
}

fn is_not_started(error: Option<EngineError>) -> bool {
    matches!(error, Some(EngineError::NotStarted { .. }))
}
