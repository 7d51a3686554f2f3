//! A started engine: what it knows, and what it does with a request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply, EngineRequest, Limits};
use baton_domain::clock::BootTime;
use baton_domain::message_batch::Encoded;
use baton_domain::topic::TopicTree;
use baton_domain::{
    ConsumerId, DestinationKind, EngineOp, Epoch, InDoubt, MessageId, ProducerId, QueueId, QueueName, Selector,
    SessionId, Subscription, TransactionName,
};
use baton_replica::QueueRecord;

use super::EngineConfig;
use super::consume::Attach;
use super::fetch::Starved;
use super::gate::Gate;
use super::lost::Retry;
use super::message::{CallId, Effect, Now, ReadId, Recorded, Release, RequestId, Totals};
use super::post::Memory;
use super::queue::{Queue, Settlement};
use super::report::Progress;
use super::timers::Timers;
use super::transact::Transaction;
use super::turns::Turns;
use super::writer::{Then, Writer};

/// Numbers that are never used twice, also not by a later activation: late answers find nobody.
#[derive(Debug, Default)]
pub(super) struct Ids(u64);

impl Ids {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// What a step works with besides the engine itself.
pub(super) struct Context<'a> {
    pub(super) config: &'a EngineConfig,
    pub(super) now: Now,
    pub(super) ids: &'a mut Ids,
    pub(super) gate: &'a mut Gate,
    pub(super) effects: &'a mut Vec<Effect>,
    /// Free bytes at the fullest replica that a majority needs.
    pub(super) free_bytes: u64,
}

impl Context<'_> {
    /// Refuses a request: nothing was done.
    pub(super) fn refuse(&mut self, request: RequestId, error: EngineError) {
        self.effects.push(Effect::Refuse { request, reply: EngineReply::Error(error) });
    }

    /// Answers a request as soon as the lease allows.
    pub(super) fn reply(&mut self, request: RequestId, reply: EngineReply) {
        self.gate.push(Release::Reply { request, reply }, self.now);
    }

    /// Why these messages are not taken, if one of them is too large. What an exception destination put on does not count.
    pub(super) fn too_large<'m>(&self, messages: impl Iterator<Item = Encoded<'m>>) -> Option<EngineError> {
        let limit = self.config.message_bytes;
        let large = messages.filter(|message| message.size() as u64 > limit);
        let size = large.map(|message| message.message().limited_size()).max().unwrap_or(0) as u64;
        (size > limit).then_some(EngineError::MessageTooLarge { size, limit })
    }

    /// Why nothing is taken that is to be stored, if there is no room for it.
    pub(super) fn store_full(&self) -> Option<EngineError> {
        let (free_bytes, reserve_bytes) = (self.free_bytes, self.config.reserve_bytes);
        (free_bytes < reserve_bytes).then_some(EngineError::StoreFull { free_bytes, reserve_bytes })
    }

    /// Why there is no further queue.
    pub(super) fn too_many_queues(&self) -> EngineError {
        EngineError::Refused(format!(
            "the engine has {} queues and subscriptions, temporary ones included, the limit of max_queues: raise it \
             under [limits] in the servers' files, or delete some",
            self.config.queues
        ))
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            message_bytes: self.config.message_bytes,
            consumer_credit: self.config.consumer_credit,
            frame_min_bytes: self.config.frame_min_bytes,
            frame_max_bytes: self.config.frame_max_bytes,
        }
    }

    pub(super) fn grace_ends(&self) -> BootTime {
        self.now.boot + Duration::from_millis(self.config.reattach_grace_ms)
    }
}

/// Remembers a value. What a map of `most` remembers is forgotten for one more: the store knows all of it.
pub(super) fn remember<K: Eq + Hash, V>(known: &mut HashMap<K, V>, key: K, value: V, most: usize) {
    if known.len() >= most && !known.contains_key(&key) {
        known.clear();
    }
    known.insert(key, value);
}

/// How a consumer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Over this link.
    Up(u64),
    /// It attached before its link was in the table of links.
    Unknown,
    /// Its link is gone, or a delivery got no answer: it has to attach again.
    Lost,
}

/// A consumer that an earlier engine knew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    pub(super) queue: QueueId,
    pub(super) order: u64,
}

/// Before it come all consumers that an earlier engine knew.
pub(super) const NEW_CONSUMERS: u64 = 1 << 32;

/// An attached consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) queue: QueueId,
    /// Its place among the consumers of its queue: who attached earlier comes first.
    pub(super) order: u64,
    pub(super) client: String,
    pub(super) link: Link,
    /// How many messages it takes before it settles some.
    pub(super) credit: u32,
    /// How many it holds.
    pub(super) held: u32,
    pub(super) progress: Progress,
    /// How many messages it was handed so far. Counted by [`Consumer::next_place`] alone.
    pub(super) handed: u64,
    /// How many of these its user received at least, as it said.
    pub(super) received: u64,
    /// Deliveries without an answer.
    pub(super) calls: u32,
    /// Whether its attachment is committed: before, nothing is delivered to it.
    pub(super) recorded: bool,
    /// Names this entry of the table.
    pub(super) instance: u64,
    /// Names its last attaching.
    pub(super) attachment: u64,
    /// When it is given up, unless it attaches before.
    pub(super) gone: Option<BootTime>,
    /// Which messages it wants; none: all.
    pub(super) selector: Option<Selector>,
}

impl Consumer {
    /// The place of one more message among all that it is handed, from 1.
    pub(super) fn next_place(&mut self) -> u64 {
        self.handed += 1;
        self.handed
    }

    /// Whether it has credit.
    pub(super) fn has_credit(&self) -> bool {
        self.recorded && matches!(self.link, Link::Up(_)) && self.held < self.credit
    }

    /// Whether a delivery can go to it now.
    pub(super) fn can_take(&self, config: &EngineConfig) -> bool {
        self.has_credit() && self.calls < config.deliver_calls
    }
}

/// A delivery without an answer.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) consumer: ConsumerId,
    pub(super) instance: u64,
    pub(super) attachment: u64,
    /// What goes back if it did not arrive.
    pub(super) messages: Vec<MessageId>,
    pub(super) bytes: usize,
}

/// What is remembered of a producer, to save work; the store judges.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) queue: QueueId,
    pub(super) used_ms: u64,
}

/// The engine came to an end in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Halt {
    pub(super) why: String,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) epoch: Epoch,
    /// Set while it drains: until when.
    pub(super) stopping: Option<BootTime>,
    pub(super) queues: BTreeMap<QueueId, Queue>,
    pub(super) names: BTreeMap<QueueName, QueueId>,
    pub(super) consumers: HashMap<ConsumerId, Consumer>,
    pub(super) producers: HashMap<ProducerId, Producer>,
    pub(super) writer: Writer,
    /// Requests in the writer and in settlements.
    pub(super) pending: usize,
    pub(super) calls: HashMap<CallId, Call>,
    pub(super) call_bytes: usize,
    /// What all queues have in memory, with what reads under way may bring.
    pub(super) ready_bytes: usize,
    /// Queues to look at with the next flush.
    pub(super) active: BTreeSet<QueueId>,
    /// Queues for which a read brought something since.
    pub(super) brought: BTreeSet<QueueId>,
    pub(super) starved: Starved,
    /// Queues with settlements.
    pub(super) settling: Turns,
    /// Consumers that an earlier engine knew, and until when they are awaited.
    pub(super) awaited: HashMap<ConsumerId, Awaited>,
    pub(super) awaited_until: BootTime,
    /// Consumers that lost their links, by the time at which they are given up.
    pub(super) gone: BTreeSet<(BootTime, ConsumerId)>,
    pub(super) producers_checked: BootTime,
    pub(super) timers: Timers,
    /// Dead letters that wait because no exception destination takes them: until when, and what is done then.
    pub(super) kept: BTreeMap<(BootTime, QueueId, MessageId), Retry>,
    /// What is in no store.
    pub(super) memory: Memory,
    /// The subscriptions of each topic space.
    pub(super) topics: HashMap<QueueId, TopicTree>,
    /// The last transaction of each session that this engine did. Its messages are with nobody any more: asked for again,
    /// as its answer was lost, it would seem one that cannot be done.
    pub(super) sessions: HashMap<SessionId, u64>,
    /// Transactions that are prepared and not decided.
    pub(super) in_doubt: BTreeMap<TransactionName, InDoubt>,
    /// When they are rolled back, if they are at some time.
    pub(super) in_doubt_due: BTreeSet<(BootTime, TransactionName)>,
    /// Reads for those who browse, from where on.
    pub(super) browses: HashMap<ReadId, (RequestId, MessageId)>,
    /// Who waits for a list that takes a look at the store.
    pub(super) lists: BTreeSet<RequestId>,
    pub(super) totals: Totals,
}

impl Running {
    /// An engine that just started.
    pub(super) fn new(epoch: Epoch, recorded: Recorded, cx: &mut Context<'_>) -> Self {
        let mut running = Self {
            epoch,
            stopping: None,
            queues: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: HashMap::new(),
            producers: HashMap::new(),
            writer: Writer::default(),
            pending: 0,
            calls: HashMap::new(),
            call_bytes: 0,
            ready_bytes: 0,
            active: BTreeSet::new(),
            brought: BTreeSet::new(),
            starved: Starved::default(),
            settling: Turns::default(),
            awaited: HashMap::new(),
            awaited_until: cx.grace_ends(),
            gone: BTreeSet::new(),
            producers_checked: cx.now.boot + Duration::from_millis(cx.config.producer_check_ms),
            timers: Timers::new(cx.now),
            kept: BTreeMap::new(),
            memory: Memory::default(),
            topics: HashMap::new(),
            sessions: HashMap::new(),
            in_doubt: BTreeMap::new(),
            in_doubt_due: BTreeSet::new(),
            browses: HashMap::new(),
            lists: BTreeSet::new(),
            totals: Totals::default(),
        };
        for record in recorded.queues {
            running.add_queue(record);
        }
        for (order, (consumer, queue)) in (0..).zip(recorded.consumers) {
            if let Some(queue_state) = running.queues.get_mut(&queue) {
                queue_state.awaited.insert(consumer);
                running.awaited.insert(consumer, Awaited { queue, order });
            }
        }
        for transaction in recorded.in_doubt {
            running.add_in_doubt(transaction, cx);
        }
        running.timers.look(cx.now, cx.effects);
        running
    }

    /// How long messages of a destination live that do not say it themselves; 0: for ever. As the store has it.
    pub(super) fn time_to_live_ms(&self, queue: QueueId) -> u64 {
        let Some(state) = self.queues.get(&queue) else { return 0 };
        match &state.kind {
            DestinationKind::Subscription(Subscription { space, .. }) if state.settings.time_to_live_ms == 0 => {
                self.queues.get(space).map_or(0, |space| space.settings.time_to_live_ms)
            }
            _ => state.settings.time_to_live_ms,
        }
    }

    pub(super) fn add_queue(&mut self, record: QueueRecord) {
        self.names.insert(record.name.clone(), record.id);
        match &record.kind {
            DestinationKind::Queue => {}
            DestinationKind::TopicSpace => drop(self.topics.entry(record.id).or_default()),
            DestinationKind::Subscription(Subscription { space, topic, .. }) => {
                self.topics.entry(*space).or_default().insert(topic, record.id);
            }
        }
        self.queues.insert(record.id, Queue::recorded(record, self.epoch));
    }

    /// Takes a request on.
    pub(super) fn request(
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
            EngineRequest::CreateQueue { name } => {
                if self.queues.len() >= cx.config.queues && !self.names.contains_key(&name) {
                    return cx.refuse(request, cx.too_many_queues());
                }
                self.control(EngineOp::CreateQueue { name: name.clone() }, Then::CreateQueue { request, name });
            }
            EngineRequest::DeleteQueue { name } => {
                if let Some(error) = self.waits_for_decision(&name) {
                    return cx.refuse(request, error);
                }
                self.control(EngineOp::DeleteQueue { name: name.clone() }, Then::DeleteQueue { request, name });
            }
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
                self.transact(request, Transaction { session, number, sends, acknowledged, name: None }, cx);
            }
            EngineRequest::Prepare { name, session, number, sends, acknowledged } => {
                let name = Some(name);
                self.transact(request, Transaction { session, number, sends, acknowledged, name }, cx);
            }
            EngineRequest::Resolve { name, commit } => self.resolve_transaction(request, name, commit, cx),
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

    /// Puts a write of a request in the first lane.
    pub(super) fn control(&mut self, op: EngineOp, then: Then) {
        self.pending += 1;
        self.writer.control(op, then);
    }

    /// Proposes, reads, delivers: all that the inputs since the last flush allow.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.stopping.is_some() {
            return;
        }
        self.serve_active(cx);
        self.propose(cx);
    }

    /// The first time at which something is due.
    pub(super) fn deadline(&self) -> BootTime {
        if let Some(until) = self.stopping {
            return until;
        }
        let awaited = (!self.awaited.is_empty()).then_some(self.awaited_until);
        let gone = self.gone.first().map(|(when, _)| *when);
        let due = self.timers.deadline();
        let kept = self.kept.first_key_value().map(|((until, ..), _)| *until);
        let undecided = self.in_doubt_due.first().map(|(due, _)| *due);
        [awaited, gone, due, kept, undecided, self.memory.deadline()]
            .into_iter()
            .flatten()
            .fold(self.producers_checked, BootTime::min)
    }

    /// A deadline passed.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) {
        if self.stopping.is_some() {
            return;
        }
        if cx.now.boot >= self.awaited_until && !self.awaited.is_empty() {
            self.give_up_awaited();
        }
        while let Some((when, consumer)) = self.gone.first().copied()
            && when <= cx.now.boot
        {
            self.gone.pop_first();
            if self.consumers.get(&consumer).is_some_and(|state| state.gone == Some(when)) {
                self.detach_lost(consumer, cx.now);
            }
        }
        self.tick_kept(cx);
        self.timers.look(cx.now, cx.effects);
        self.time_out_in_doubt(cx);
        self.tick_memory(cx);
        if cx.now.boot >= self.producers_checked {
            self.producers_checked = cx.now.boot + Duration::from_millis(cx.config.producer_check_ms);
            let before_ms = cx.now.unix_ms.saturating_sub(cx.config.producer_idle_ms);
            cx.effects.push(Effect::FindIdleProducers { before_ms, limit: cx.config.producer_check_limit });
        }
    }
}
