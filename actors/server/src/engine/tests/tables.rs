//! The engine's rules, one by one.

mod choice;
mod consume;
mod destinations;
mod forward;
mod in_doubt;
mod levels;
mod life;
mod lost;
mod once;
mod paging;
mod produce;
mod report;
mod topics;
mod transactions;

use std::time::Duration;

use baton_client::protocol::{
    ClientReply, Delivery, EngineError, EngineReply, EngineRequest, EngineState, QueueStatus,
};
use baton_domain::{Command, EngineOp, Message, MessageId, Settings};
use baton_replica::CommitError;

use super::bench::{Bench, NEWEST, bodies, consumer, producer, queue, session};
use crate::engine::{EngineConfig, Input, RequestId};

fn deliveries(taken: &[(baton_domain::ConsumerId, Delivery)]) -> Vec<Delivery> {
    taken.iter().map(|(_, one)| one.clone()).collect()
}

fn ids(taken: &[(baton_domain::ConsumerId, Delivery)]) -> Vec<MessageId> {
    taken.iter().map(|(_, one)| one.id).collect()
}

fn started() -> Bench {
    let mut bench = Bench::new(EngineConfig::default());
    bench.open("q");
    bench
}

fn text(text: &str) -> Message {
    Message::new(text.as_bytes().to_vec())
}

fn configure(bench: &mut Bench, settings: Settings) -> EngineReply {
    bench.call(EngineRequest::Configure {
        name: queue("q"),
        patch: Box::new(settings.clone().into()),
        if_version: None,
    })
}

fn status(bench: &mut Bench) -> QueueStatus {
    let EngineReply::Queues(queues) = bench.call(EngineRequest::ListQueues) else { panic!() };
    queues.into_iter().find(|status| status.name == queue("q")).unwrap()
}

fn taken(bench: &mut Bench) -> Vec<String> {
    bodies(&deliveries(&bench.take()))
}

fn send(bench: &mut Bench, first: u64, messages: Vec<Message>) -> RequestId {
    let request =
        bench.ask(EngineRequest::Send { producer: producer(1), registration: 0, first, messages: messages.into() });
    bench.settle_down();
    request
}

fn take_from(bench: &mut Bench, number: u8) -> Vec<String> {
    let taken = bench.take();
    let mine = taken.iter().filter(|(to, _)| *to == consumer(number)).map(|(_, one)| one.clone());
    bodies(&mine.collect::<Vec<_>>())
}

fn is_not_started(error: Option<EngineError>) -> bool {
    matches!(error, Some(EngineError::NotStarted { .. }))
}
