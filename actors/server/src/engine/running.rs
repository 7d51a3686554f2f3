//! A started engine: its parts, and the way of a request to them.

mod browse;
mod changes;
mod choose;
mod complete;
mod consume;
mod delete;
mod deliver;
mod expire;
mod fetch;
mod in_doubt;
#[cfg(test)]
mod invariants;
mod lost;
mod manage;
mod once;
mod post;
mod produce;
mod propose;
mod report;
mod settle;
mod transact;

use baton_client::protocol::{EngineError, EngineReply, EngineRequest};
use baton_domain::clock::BootTime;
use baton_domain::{EngineOp, Epoch};

use super::context::Context;
use super::message::{Recorded, RequestId, Totals};
use super::parts::attach::Attach;
use super::parts::browsing::Browsing;
use super::parts::consumers::{Awaited, Consumers};
use super::parts::deliveries::Deliveries;
use super::parts::kept::KeptMessages;
use super::parts::memory::Memory;
use super::parts::producers::Producers;
use super::parts::proposals::Proposals;
use super::parts::purpose::Purpose;
use super::parts::queue::Settlement;
use super::parts::queues::Queues;
use super::parts::ready_memory::ReadyMemory;
use super::parts::timers::Timers;
use super::parts::transactions::{TransactionRequest, Transactions};

/// Each part owns its data, in its own file. What needs several of them is written as methods of this type, in a file for
/// each task.
#[derive(Debug)]
pub(in crate::engine) struct Running {
    pub(in crate::engine) epoch: Epoch,
    /// Set while it drains: until when.
    pub(in crate::engine) stopping: Option<BootTime>,
    pub(in crate::engine) queues: Queues,
    pub(in crate::engine) consumers: Consumers,
    pub(in crate::engine) producers: Producers,
    pub(in crate::engine) transactions: Transactions,
    pub(in crate::engine) proposals: Proposals,
    pub(in crate::engine) deliveries: Deliveries,
    pub(in crate::engine) ready_memory: ReadyMemory,
    /// Messages that are in no store.
    pub(in crate::engine) memory: Memory,
    pub(in crate::engine) kept: KeptMessages,
    pub(in crate::engine) timers: Timers,
    pub(in crate::engine) browsing: Browsing,
    /// Requests without an answer.
    pub(in crate::engine) pending: usize,
    pub(in crate::engine) totals: Totals,
}

impl Running {
    /// An engine that just started.
    pub(in crate::engine) fn new(epoch: Epoch, recorded: Recorded, cx: &mut Context<'_>) -> Self {
        let mut running = Self {
            epoch,
            stopping: None,
            queues: Queues::new(epoch),
            consumers: Consumers::new(cx.grace_ends()),
            producers: Producers::new(cx.config, cx.now),
            transactions: Transactions::default(),
            proposals: Proposals::default(),
            deliveries: Deliveries::default(),
            ready_memory: ReadyMemory::default(),
            memory: Memory::default(),
            kept: KeptMessages::default(),
            timers: Timers::new(cx.now),
            browsing: Browsing::default(),
            pending: 0,
            totals: Totals::default(),
        };
        for record in recorded.queues {
            running.queues.add(record);
        }
        for (order, (consumer, queue)) in (0..).zip(recorded.consumers) {
            if let Some(state) = running.queues.get_mut(queue) {
                state.awaited.insert(consumer);
                running.consumers.wait_for(consumer, Awaited { queue, order });
            }
        }
        for transaction in recorded.in_doubt {
            running.add_in_doubt(transaction, cx);
        }
        running.timers.look(cx.now, cx.effects);
        running
    }

    /// Takes a request on.
    pub(in crate::engine) fn request(
        &mut self,
        request: RequestId,
        from: String,
        connection: Option<u64>,
        body: EngineRequest,
        cx: &mut Context<'_>,
    ) {
        if self.pending + cx.gate.len() >= cx.config.pending_requests {
            return cx.refuse(request, EngineError::Busy);
        }
        match body {
            EngineRequest::CreateQueue { name } => self.create_queue(request, name, cx),
            EngineRequest::DeleteQueue { name } => self.delete_queue(request, name, cx),
            EngineRequest::Delete { name, if_empty, if_unused } => self.delete(request, name, if_empty, if_unused, cx),
            EngineRequest::ListQueues => self.list(request, cx),
            EngineRequest::OpenProducer { producer, queue, opening } => {
                self.open_producer(request, producer, queue, opening, cx);
            }
            EngineRequest::Send { producer, registration, first, messages } => {
                self.send(request, producer, (registration, first), messages, cx);
            }
            EngineRequest::Post { queue, reliability, messages } => {
                self.post(request, queue, reliability, messages, cx);
            }
            EngineRequest::CloseProducer { producer } => self.close_producer(request, producer),
            EngineRequest::Attach { consumer, queue, credit, unsettled, received, groups, selector, temporary } => {
                let client = from;
                let attach = Attach {
                    client,
                    connection,
                    consumer,
                    queue,
                    credit,
                    unsettled,
                    received,
                    groups,
                    selector,
                    temporary,
                };
                self.attach(request, attach, cx);
            }
            EngineRequest::Credit { consumer, credit, received } => {
                self.note_received(consumer, received);
                self.credit(request, consumer, credit, cx);
            }
            EngineRequest::Settle { consumer, acknowledged, refused, rejected, released, received } => {
                self.note_received(consumer, received);
                let settlement = Settlement { acknowledged, refused, rejected, released, request };
                self.settle(consumer, settlement, cx);
            }
            EngineRequest::Detach { consumer, untouched } => self.detach_asked(request, consumer, &untouched, cx),
            EngineRequest::Create { name, kind, settings } => self.create(request, name, kind, settings, cx),
            EngineRequest::Configure { name, patch, if_version } => {
                self.configure(request, name, patch, if_version, cx);
            }
            EngineRequest::OpenSession { session } => self.open_session(request, session),
            EngineRequest::Transact { session, number, sends, acknowledged } => {
                self.transact(request, TransactionRequest { session, number, sends, acknowledged, name: None }, cx);
            }
            EngineRequest::Prepare { name, session, number, sends, acknowledged } => {
                let name = Some(name);
                self.transact(request, TransactionRequest { session, number, sends, acknowledged, name }, cx);
            }
            EngineRequest::Resolve { name, commit } => self.decide(request, name, commit, cx),
            EngineRequest::ListInDoubt => self.list_in_doubt(request, cx),
            EngineRequest::Browse { queue, from, limit } => self.browse(request, &queue, from, limit, cx),
            EngineRequest::Replay { queue, messages } => self.replay(request, &queue, messages, cx),
            EngineRequest::Purge { queue, through } => self.purge(request, &queue, through, cx),
            EngineRequest::Once { change, again, request: asked } => self.once(request, change, again, asked, cx),
            EngineRequest::Several(_) => {
                cx.refuse(request, EngineError::BadRequest("nested batch of requests".to_owned()));
            }
            EngineRequest::ListConsumers { queue } => self.list_consumers(request, queue.as_ref(), cx),
        }
    }

    /// Proposes an operation of consumers or queues that a request waits for.
    pub(in crate::engine) fn control(&mut self, op: EngineOp, purpose: Purpose) {
        self.pending += 1;
        self.proposals.control(op, purpose);
    }

    /// Proposes an operation of a producer that a request waits for.
    pub(in crate::engine) fn produce(&mut self, op: EngineOp, purpose: Purpose, bytes: usize) {
        self.pending += 1;
        self.proposals.produce(op, purpose, bytes);
    }

    /// Answers a request that waited.
    pub(in crate::engine) fn answer(&mut self, request: RequestId, reply: EngineReply, cx: &mut Context<'_>) {
        self.pending -= 1;
        cx.reply(request, reply);
    }

    /// Refuses a request that waited.
    pub(in crate::engine) fn answer_error(&mut self, request: RequestId, error: EngineError, cx: &mut Context<'_>) {
        self.answer(request, EngineReply::Error(error), cx);
    }

    /// Takes back all that was not proposed; nothing more of this activation will be. The requests that waited for it.
    pub(in crate::engine) fn take_unproposed(&mut self) -> Vec<RequestId> {
        let mut requests = self.proposals.take_unproposed();
        for (_, queue) in self.queues.iter_mut() {
            requests.extend(queue.settlements.drain(..).map(|settlement| settlement.request));
        }
        requests.extend(self.browsing.take_all());
        self.pending -= requests.len();
        requests
    }

    /// Serves the queues in which something changed since the last flush, and proposes what waits.
    pub(in crate::engine) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.stopping.is_none() {
            self.serve_active(cx);
            self.propose(cx);
        }
    }

    /// The first time at which something is due.
    pub(in crate::engine) fn deadline(&self) -> BootTime {
        if let Some(until) = self.stopping {
            return until;
        }
        let parts = [
            self.consumers.deadline(),
            self.timers.deadline(),
            self.kept.deadline(),
            self.transactions.deadline(),
            self.memory.deadline(),
        ];
        parts.into_iter().flatten().fold(self.producers.deadline(), BootTime::min)
    }

    /// A deadline passed.
    pub(in crate::engine) fn tick(&mut self, cx: &mut Context<'_>) {
        if self.stopping.is_some() {
            return;
        }
        self.give_up_awaited(cx.now);
        while let Some(consumer) = self.consumers.next_given_up(cx.now.boot) {
            self.detach_lost(consumer, cx.now);
        }
        self.tick_kept(cx);
        self.timers.look(cx.now, cx.effects);
        self.time_out_in_doubt(cx);
        self.tick_memory(cx);
        self.producers.tick(cx.config, cx.now, cx.effects);
    }
}
