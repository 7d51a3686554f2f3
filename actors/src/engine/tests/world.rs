//! A world for random histories: an engine, the store's model, producers and consumers that keep the protocol, links
//! that drop, commits and reads that take their time, and engines that end in every way there is.
//!
//! It keeps the account that invariants 2 to 5 ask for while it runs; see the assertions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use baton_storage::clock::BootTime;
use baton_storage::{
    Applied, Command, CommitError, Committed, ConsumerId, Epoch, Message, MessageId, ProducerId, QueueId, StoredMessage,
};

use super::bench::queue;
use super::model::Model;
use crate::engine::{CallId, Effect, EngineConfig, EntryId, Input, Now, ReadId, Release, RequestId, State};
use crate::protocol::{ClientReply, ClientRequest, Delivery, EngineError, EngineReply, EngineRequest, EngineState};

const QUEUES: [&str; 2] = ["a", "b"];

/// How an activation ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Drain,
    AtOnce,
    Crash,
    Unknown,
    NotLeader,
    Fenced,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Send { producer: usize, count: u8 },
    Acknowledge { consumer: usize, most: u8 },
    Refuse { consumer: usize },
    Detach { consumer: usize, untouched: bool },
    Die { consumer: usize },
    DropLink { consumer: usize, late: bool },
    Attach { consumer: usize },
    Credit { consumer: usize, credit: u32 },
    Flush,
    Apply,
    Report,
    Read,
    Page,
    Frame { consumer: usize },
    News,
    Lease { holds: bool },
    Space { full: bool },
    Advance { ms: u64 },
    End { how: End, applied: usize, late: bool },
}

/// What a read of the store found.
type Page = Vec<(MessageId, StoredMessage)>;

#[derive(Debug)]
struct Producer {
    id: ProducerId,
    queue: usize,
    open: bool,
    opening: bool,
    known: bool,
    next: u64,
    confirmed: u64,
}

#[derive(Debug)]
struct Consumer {
    id: ConsumerId,
    client: String,
    queue: usize,
    connection: u64,
    credit: u32,
    attached: bool,
    epoch: Epoch,
    /// Delivered and not settled.
    holding: BTreeSet<MessageId>,
    /// Processed, the settlement without an answer.
    acking: BTreeSet<MessageId>,
    refusing: BTreeSet<MessageId>,
}

#[derive(Debug)]
enum Ask {
    Open(usize),
    Send {
        producer: usize,
    },
    Attach(ConsumerId),
    Settle {
        consumer: ConsumerId,
        acknowledged: Vec<MessageId>,
        refused: Vec<MessageId>,
    },
    /// Its process ends if that is refused.
    Detach {
        client: String,
        connection: u64,
    },
    Other,
}

#[derive(Debug)]
struct Frame {
    /// `None`: the process that sent it is gone.
    call: Option<CallId>,
    consumer: ConsumerId,
    connection: u64,
    epoch: Epoch,
    deliveries: Vec<Delivery>,
}

/// What may be and what was received of one message.
#[derive(Debug)]
struct Account {
    taken: u32,
    allowed: u32,
    must_flag: bool,
}

#[derive(Debug)]
pub(super) struct World {
    model: Model,
    state: State,
    config: EngineConfig,
    now: BootTime,
    lease: bool,
    full: bool,
    proposed: VecDeque<(EntryId, Command)>,
    outcomes: VecDeque<(EntryId, Committed)>,
    reads: VecDeque<(ReadId, QueueId, MessageId, usize, usize)>,
    pages: VecDeque<(ReadId, QueueId, Page)>,
    news: VecDeque<Input>,
    frames: VecDeque<Frame>,
    waiting: BTreeMap<RequestId, Ask>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    accounts: BTreeMap<MessageId, Account>,
    bodies: BTreeMap<MessageId, String>,
    /// The last number of each producer that was released for the first time.
    released: BTreeMap<String, u64>,
    released_ids: BTreeSet<MessageId>,
    acknowledged: BTreeSet<String>,
    /// What each queue had dispatched when the engine started.
    flagged: BTreeMap<QueueId, MessageId>,
    counter: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let config = EngineConfig {
            message_bytes: 100,
            pending_requests: 16,
            pending_bytes: 2_000,
            entries_in_flight: 3,
            entry_bytes: 400,
            bytes_in_flight: 1_000,
            ready_messages: 8,
            ready_bytes: 1_000,
            ready_total_bytes: 1_400,
            page_messages: 4,
            page_bytes: 500,
            dispatch_ahead: 4,
            deliver_messages: 3,
            deliver_calls: 2,
            deliver_total_bytes: 1_500,
            ..EngineConfig::default()
        };
        let mut world = Self {
            model: Model::default(),
            state: State::new(config.clone()),
            config,
            now: BootTime(1_000_000_000_000),
            lease: true,
            full: false,
            proposed: VecDeque::new(),
            outcomes: VecDeque::new(),
            reads: VecDeque::new(),
            pages: VecDeque::new(),
            news: VecDeque::new(),
            frames: VecDeque::new(),
            waiting: BTreeMap::new(),
            producers: Vec::new(),
            consumers: Vec::new(),
            accounts: BTreeMap::new(),
            bodies: BTreeMap::new(),
            released: BTreeMap::new(),
            released_ids: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            flagged: BTreeMap::new(),
            counter: 0,
        };
        world.activate();
        for name in QUEUES {
            world.ask(EngineRequest::CreateQueue { name: queue(name) }, Ask::Other);
        }
        world.work();
        for number in 0..3 {
            let (id, queue) = (ProducerId([number; 16]), usize::from(number) % 2);
            let (open, opening, known) = (false, false, false);
            world.producers.push(Producer { id, queue, open, opening, known, next: 1, confirmed: 0 });
        }
        for slot in 0..4 {
            let consumer = world.new_consumer(slot);
            world.consumers.push(consumer);
        }
        world
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn new_consumer(&mut self, slot: usize) -> Consumer {
        let number = self.count();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Consumer {
            id: ConsumerId(id),
            client: format!("client{number}"),
            queue: slot % 2,
            connection: number,
            credit: 3,
            attached: false,
            epoch: Epoch::default(),
            holding: BTreeSet::new(),
            acking: BTreeSet::new(),
            refusing: BTreeSet::new(),
        }
    }

    fn lease_until(&self) -> BootTime {
        if self.lease { self.now + Duration::from_millis(300) } else { self.now }
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        let now = Now { boot: self.now, unix_ms: self.now.0 / 1_000_000, lease_until: self.lease_until() };
        self.state.step(input, now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Open { .. } | Effect::FindIdleProducers { .. } | Effect::View(_) => {}
                Effect::Commit { entry, command } => self.proposed.push_back((entry, command)),
                Effect::ReadPage { read, queue, from, max_messages, max_bytes } => {
                    self.reads.push_back((read, queue, from, max_messages, max_bytes));
                }
                Effect::Refuse { request, reply } => self.replied(request, reply),
            }
        }
        while let Some(release) = self.state.release(self.now, self.lease_until()) {
            let state = self.state.view().state;
            assert!(self.lease, "nothing leaves without a lease (invariant 2)");
            assert!(
                matches!(state, EngineState::Started | EngineState::Stopping),
                "nothing leaves a stopped engine (invariant 2)"
            );
            match release {
                Release::Reply { request, reply } => self.replied(request, reply),
                Release::Deliver { call, connection, request, .. } => self.released(call, connection, request),
            }
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let Some(running) = self.state.running() else { return };
        // One page may be a message over, and a message's own memory is not counted by the store.
        let slack = 4 * (100 + 96);
        assert!(running.ready_bytes <= self.config.ready_total_bytes + slack, "{} bytes ready", running.ready_bytes);
        let mut held_by_consumers = 0;
        let mut ready_bytes = 0;
        for queue in running.queues.values() {
            let (ready, returned, held) = queue.sizes();
            assert!(ready <= self.config.ready_messages + self.config.page_messages, "{ready} ready");
            assert!(returned + held <= 200, "{returned} returned, {held} held");
            held_by_consumers += queue.in_flight;
            ready_bytes += queue.ready_bytes() + queue.reading.as_ref().map_or(0, |reading| reading.reserved_bytes);
        }
        assert_eq!(running.ready_bytes, ready_bytes, "memory is counted right");
        let counted: u64 = running.consumers.values().map(|consumer| u64::from(consumer.held)).sum();
        assert_eq!(counted, held_by_consumers, "credit is counted right");
        assert!(running.calls.len() <= 2 * running.consumers.len() + 8 && running.pending <= 16);
    }

    fn ask(&mut self, body: EngineRequest, ask: Ask) {
        self.ask_from("client0".to_owned(), 0, body, ask);
    }

    fn ask_from(&mut self, from: String, connection: u64, body: EngineRequest, ask: Ask) {
        let request = RequestId(self.count());
        self.waiting.insert(request, ask);
        self.step(Input::Request { request, from, connection: Some(connection), body });
    }

    fn replied(&mut self, request: RequestId, reply: EngineReply) {
        let ask = self.waiting.remove(&request).expect("a request is answered once");
        let ok = !matches!(reply, EngineReply::Error(_));
        match (ask, reply) {
            (Ask::Open(at), EngineReply::Producer { next, .. }) => {
                let producer = &mut self.producers[at];
                assert!(next > producer.confirmed, "a confirmed message is numbered in the store (invariant 3)");
                (producer.open, producer.opening, producer.known) = (true, false, true);
                (producer.next, producer.confirmed) = (next, next - 1);
            }
            (Ask::Open(at), EngineReply::Error(error)) => {
                assert_ne!(error, EngineError::ProducerUnknown, "nobody forgot it (invariant 4)");
                self.producers[at].opening = false;
            }
            (Ask::Send { producer }, EngineReply::Sent { through }) => {
                let producer = &mut self.producers[producer];
                producer.confirmed = producer.confirmed.max(through);
            }
            (Ask::Send { producer }, EngineReply::Error(error)) => {
                let producer = &mut self.producers[producer];
                match error {
                    EngineError::Gap { expected } => producer.next = expected,
                    EngineError::Busy | EngineError::StoreFull { .. } => producer.next = producer.confirmed + 1,
                    EngineError::NotStarted { .. } | EngineError::Unknown => producer.open = false,
                    other => panic!("{other:?} to a send"),
                }
            }
            (Ask::Attach(id), _) => {
                if let Some(consumer) = self.consumers.iter_mut().find(|consumer| consumer.id == id) {
                    consumer.attached &= ok;
                }
            }
            (Ask::Settle { consumer, acknowledged, refused }, _) => {
                let Some(consumer) = self.consumers.iter_mut().find(|other| other.id == consumer) else { return };
                for id in acknowledged {
                    consumer.acking.remove(&id);
                    if !ok {
                        consumer.holding.insert(id);
                    }
                }
                for id in refused {
                    consumer.refusing.remove(&id);
                    if !ok {
                        consumer.holding.insert(id);
                    }
                }
            }
            (Ask::Detach { client, connection }, _) => {
                if !ok {
                    self.news.push_back(Input::PeerDown { name: client, connection });
                }
            }
            (Ask::Other, _) => {}
            (ask, reply) => panic!("{reply:?} to {ask:?}"),
        }
    }

    fn released(&mut self, call: CallId, connection: u64, request: ClientRequest) {
        let ClientRequest::Deliver { consumer, epoch, deliveries } = request else { panic!("{request:?}") };
        assert_eq!(Some(epoch), self.state.view().epoch);
        for delivery in &deliveries {
            let id = delivery.id;
            let body = String::from_utf8(delivery.message.body.to_vec()).unwrap();
            let (name, number) = body.split_once(':').unwrap();
            let (name, number): (String, u64) = (name.to_owned(), number.parse().unwrap());
            let place = &self.producers[name.parse::<usize>().unwrap()].queue;
            let (queue_id, stored) =
                self.model.queues.iter().find(|(_, other)| other.name == queue(QUEUES[*place])).unwrap();
            let flagged = self.flagged.get(queue_id).copied().unwrap_or_default();
            assert!(id <= stored.dispatched, "{id} is delivered beyond the committed {}", stored.dispatched);
            assert!(delivery.redelivered || id > flagged, "{id} may have been delivered before");
            if self.released_ids.insert(id) {
                let last = self.released.insert(name, number).unwrap_or(0);
                assert!(last < number, "{number} after {last} (invariant 5)");
            }
            self.bodies.insert(id, body);
        }
        self.frames.push_back(Frame { call: Some(call), consumer, connection, epoch, deliveries });
    }

    fn answer(&mut self, call: Option<CallId>, answer: Option<ClientReply>) {
        if let Some(call) = call {
            self.step(Input::Delivered { call, answer });
        }
    }

    /// A consumer takes the next frame of its link.
    fn frame(&mut self, at: usize) {
        let id = self.consumers[at].id;
        let Some(place) = self.frames.iter().position(|frame| frame.consumer == id) else { return };
        let Some(frame) = self.frames.remove(place) else { return };
        let consumer = &mut self.consumers[at];
        if frame.connection != consumer.connection {
            return self.answer(frame.call, None);
        }
        if frame.epoch < consumer.epoch {
            return self.answer(frame.call, Some(ClientReply::Stale));
        }
        for delivery in frame.deliveries {
            let account =
                self.accounts.entry(delivery.id).or_insert(Account { taken: 0, allowed: 1, must_flag: false });
            account.taken += 1;
            assert!(account.taken <= account.allowed, "{} came twice to living consumers (invariant 3)", delivery.id);
            assert!(delivery.redelivered || !account.must_flag, "{} was delivered before", delivery.id);
            account.must_flag = true;
            assert!(consumer.holding.insert(delivery.id), "{} is held already", delivery.id);
        }
        self.answer(frame.call, Some(ClientReply::Done));
    }

    /// Frames to consumers that are no more.
    fn stray_frames(&mut self) {
        let alive: Vec<_> = self.consumers.iter().map(|consumer| consumer.id).collect();
        let (kept, stray): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.frames).into_iter().partition(|frame| alive.contains(&frame.consumer));
        self.frames = kept.into();
        for frame in stray {
            self.answer(frame.call, Some(ClientReply::ConsumerUnknown));
        }
    }

    fn attach(&mut self, at: usize) {
        let Some(epoch) = self.state.view().epoch else { return };
        let consumer = &mut self.consumers[at];
        if consumer.attached {
            return;
        }
        if consumer.epoch < epoch {
            // Handing back was not answered: the new engine may not know of it.
            consumer.holding.append(&mut consumer.refusing);
        }
        // From here on it drops what an older engine sent.
        (consumer.attached, consumer.epoch) = (true, epoch);
        let unsettled = consumer.holding.union(&consumer.acking).copied().collect();
        let (id, client, connection) = (consumer.id, consumer.client.clone(), consumer.connection);
        let (queue, credit) = (queue(QUEUES[consumer.queue]), consumer.credit);
        self.ask_from(
            client,
            connection,
            EngineRequest::Attach { consumer: id, queue, credit, unsettled },
            Ask::Attach(id),
        );
    }

    fn settle(&mut self, at: usize, most: usize, refuse: bool) {
        let consumer = &mut self.consumers[at];
        let ids: Vec<_> = consumer.holding.iter().take(most).copied().collect();
        consumer.holding.retain(|id| !ids.contains(id));
        let (acknowledged, refused) = if refuse { (Vec::new(), ids) } else { (ids, Vec::new()) };
        consumer.acking.extend(&acknowledged);
        consumer.refusing.extend(&refused);
        for id in &refused {
            self.accounts.get_mut(id).unwrap().allowed += 1;
        }
        self.acknowledged.extend(acknowledged.iter().map(|id| self.bodies[id].clone()));
        let (id, client, connection) = (consumer.id, consumer.client.clone(), consumer.connection);
        let ask = Ask::Settle { consumer: id, acknowledged: acknowledged.clone(), refused: refused.clone() };
        self.ask_from(client, connection, EngineRequest::Settle { consumer: id, acknowledged, refused }, ask);
    }

    /// The consumer of a slot is gone, and another one takes its place.
    fn replace(&mut self, at: usize) -> Consumer {
        let fresh = self.new_consumer(at);
        let old = std::mem::replace(&mut self.consumers[at], fresh);
        for id in old.holding.iter().chain(&old.acking).chain(&old.refusing) {
            self.accounts.get_mut(id).unwrap().allowed += 1;
        }
        old
    }

    fn send(&mut self, at: usize, count: u64) {
        let producer = &mut self.producers[at];
        let (id, name) = (producer.id, queue(QUEUES[producer.queue]));
        if !producer.open {
            if !std::mem::replace(&mut producer.opening, true) {
                let known = producer.known;
                self.ask(EngineRequest::OpenProducer { producer: id, queue: name, known }, Ask::Open(at));
            }
            return;
        }
        let count = count.min((producer.confirmed + 12).saturating_sub(producer.next - 1));
        if count == 0 {
            return;
        }
        let first = producer.next;
        producer.next += count;
        let messages = (first..first + count).map(|number| Message::new(format!("{at}:{number}"))).collect();
        self.ask(EngineRequest::Send { producer: id, first, messages }, Ask::Send { producer: at });
    }

    fn apply(&mut self) -> bool {
        let Some((entry, command)) = self.proposed.pop_front() else { return false };
        let committed = self.model.apply(&command);
        self.outcomes.push_back((entry, committed));
        true
    }

    fn report(&mut self) -> bool {
        let Some((entry, committed)) = self.outcomes.pop_front() else { return false };
        self.step(Input::Committed { entry, result: Ok(committed) });
        true
    }

    fn read(&mut self) -> bool {
        let Some((read, queue, from, max_messages, max_bytes)) = self.reads.pop_front() else { return false };
        self.pages.push_back((read, queue, self.model.page(queue, from, max_messages, max_bytes)));
        true
    }

    fn page(&mut self) -> bool {
        let Some((read, queue, page)) = self.pages.pop_front() else { return false };
        self.step(Input::Page { read, queue, result: Ok(page) });
        true
    }

    fn tell_news(&mut self) -> bool {
        let Some(input) = self.news.pop_front() else { return false };
        self.step(input);
        true
    }

    /// A new activation here, of a new instance or of the one that stopped.
    fn activate(&mut self) {
        let epoch = self.model.activate();
        self.step(Input::Start { epoch });
        let recorded = self.model.recorded();
        self.flagged = recorded.queues.iter().map(|queue| (queue.id, queue.dispatched)).collect();
        self.step(Input::Opened { epoch, recorded: Ok(recorded) });
        self.consumers.iter_mut().for_each(|consumer| consumer.attached = false);
        self.producers.iter_mut().for_each(|producer| (producer.open, producer.opening) = (false, false));
    }

    /// Ends the activation, with so many of its entries applied, and starts another.
    fn end(&mut self, how: End, applied: usize, late: bool) {
        let mut left = self.proposed.len().saturating_sub(applied);
        match how {
            End::Drain => {
                self.step(Input::Stop { drain: true, why: "moved".to_owned() });
                while self.apply() {}
                while self.report() {}
                if !self.lease {
                    self.now = self.now + Duration::from_millis(self.config.drain_ms);
                    self.step(Input::Tick);
                }
                self.step(Input::Flush);
            }
            End::AtOnce => self.step(Input::Stop { drain: false, why: "lease".to_owned() }),
            End::Crash => {
                self.state = State::new(self.config.clone());
                self.reads.clear();
                self.pages.clear();
                self.outcomes.clear();
                self.news.clear();
                self.frames.iter_mut().for_each(|frame| frame.call = None);
                let waiting: Vec<_> = self.waiting.keys().copied().collect();
                waiting.into_iter().for_each(|request| self.replied(request, EngineReply::Error(EngineError::Unknown)));
            }
            End::Unknown | End::NotLeader => {
                let error = if matches!(how, End::Unknown) {
                    CommitError::Unknown
                } else {
                    CommitError::NotLeader { leader: None }
                };
                // Not written means that none of those after it is either.
                let (kept, failed) = match how {
                    End::NotLeader => (0, self.proposed.front().map(|(entry, _)| *entry)),
                    _ => (self.proposed.len() - left, self.proposed.front().map(|(entry, _)| *entry)),
                };
                while self.report() {}
                match failed {
                    Some(entry) => self.step(Input::Committed { entry, result: Err(error) }),
                    None => self.step(Input::Stop { drain: false, why: "lost".to_owned() }),
                }
                self.proposed.truncate(kept);
                left = 0;
            }
            End::Fenced => {
                while self.proposed.len() > left {
                    self.apply();
                }
                self.model.activate();
                self.ask(EngineRequest::ListQueues, Ask::Other);
                self.ask(EngineRequest::CreateQueue { name: queue(QUEUES[0]) }, Ask::Other);
                self.step(Input::Flush);
                while self.apply() {}
                while self.report() {}
                if self.state.view().state != EngineState::Standby {
                    // A full engine had taken no write.
                    self.step(Input::Stop { drain: false, why: "lost".to_owned() });
                }
            }
        }
        self.after_end(left, late, matches!(how, End::Crash));
    }

    /// The entries of an engine that ended: some are applied, the others fenced or lost; late news finds nobody.
    fn after_end(&mut self, left: usize, late: bool, crashed: bool) {
        assert_eq!(self.state.view().state, EngineState::Standby);
        assert!(self.waiting.is_empty(), "a stopped engine answered everything: {:?}", self.waiting);
        while self.proposed.len() > left {
            self.apply();
        }
        self.activate();
        for (entry, command) in std::mem::take(&mut self.proposed) {
            let committed = self.model.apply(&command);
            assert!(matches!(committed.applied, Applied::Fenced { .. }));
            self.outcomes.push_back((entry, committed));
        }
        if late && !crashed {
            while self.report() || self.page() {}
        }
        self.outcomes.clear();
        self.pages.clear();
        assert_eq!(self.state.view().state, EngineState::Started, "late news of an earlier activation changes nothing");
        while self.read() {}
        while self.page() {}
        if !late {
            // What was on the network is lost.
            self.frames.clear();
        }
    }

    pub(super) fn act(&mut self, action: &Action) {
        match *action {
            Action::Send { producer, count } => self.send(producer, u64::from(count)),
            Action::Acknowledge { consumer, most } => self.settle(consumer, usize::from(most), false),
            Action::Refuse { consumer } => self.settle(consumer, 1, true),
            Action::Detach { consumer, untouched } => {
                let old = self.replace(consumer);
                let untouched: Vec<_> = old.holding.iter().filter(|_| untouched).copied().collect();
                for id in &untouched {
                    self.accounts.get_mut(id).unwrap().must_flag = false;
                }
                let ask = Ask::Detach { client: old.client, connection: old.connection };
                self.ask(EngineRequest::Detach { consumer: old.id, untouched }, ask);
                self.stray_frames();
            }
            Action::Die { consumer } => {
                let old = self.replace(consumer);
                self.step(Input::PeerDown { name: old.client, connection: old.connection });
                self.stray_frames();
            }
            Action::DropLink { consumer, late } => {
                let connection = self.count();
                let state = &mut self.consumers[consumer];
                let old = std::mem::replace(&mut state.connection, connection);
                state.attached = false;
                let down = Input::PeerDown { name: state.client.clone(), connection: old };
                let up = Input::PeerUp { name: state.client.clone(), connection };
                self.news.extend([down, up]);
                if !late {
                    while self.tell_news() {}
                }
            }
            Action::Attach { consumer } => self.attach(consumer),
            Action::Credit { consumer, credit } => {
                let state = &mut self.consumers[consumer];
                state.credit = credit;
                let id = state.id;
                self.ask(EngineRequest::Credit { consumer: id, credit }, Ask::Other);
            }
            Action::Flush => self.step(Input::Flush),
            Action::Apply => drop(self.apply()),
            Action::Report => drop(self.report()),
            Action::Read => drop(self.read()),
            Action::Page => drop(self.page()),
            Action::Frame { consumer } => self.frame(consumer),
            Action::News => drop(self.tell_news()),
            Action::Lease { holds } => self.lease = holds,
            Action::Space { full } => {
                self.full = full;
                self.step(Input::Space { free_bytes: if full { 0 } else { u64::MAX } });
            }
            Action::Advance { ms } => self.advance(ms),
            Action::End { how, applied, late } => self.end(how, applied, late),
        }
        if self.state.view().state == EngineState::Standby {
            self.after_end(0, false, false);
        }
    }

    /// Time passes. A living consumer attaches again before its grace is over.
    fn advance(&mut self, ms: u64) {
        while self.tell_news() {}
        for at in 0..self.consumers.len() {
            self.attach(at);
        }
        if self.consumers.iter().all(|consumer| consumer.attached) {
            self.now = self.now + Duration::from_millis(ms);
            self.step(Input::Tick);
        }
    }

    /// All that is under way comes to its end. Answers whether there was anything.
    fn work(&mut self) -> bool {
        let mut worked = false;
        loop {
            self.step(Input::Flush);
            if !(self.apply() | self.report() | self.read() | self.page() | self.tell_news()) {
                return worked;
            }
            worked = true;
        }
    }

    /// Lets the world come to rest: all is sent, confirmed, received and acknowledged.
    pub(super) fn come_to_rest(&mut self) {
        self.lease = true;
        self.act(&Action::Space { full: false });
        for round in 0.. {
            assert!(round < 2_000, "the world never comes to rest");
            self.work();
            for at in 0..self.producers.len() {
                self.send(at, 1);
            }
            self.work();
            for at in 0..self.consumers.len() {
                self.consumers[at].credit = 3;
                self.attach(at);
                self.work();
                let id = self.consumers[at].id;
                self.ask(EngineRequest::Credit { consumer: id, credit: 3 }, Ask::Other);
                while self.frames.iter().any(|frame| frame.consumer == id) {
                    self.frame(at);
                }
                if !self.consumers[at].holding.is_empty() {
                    self.settle(at, usize::MAX, false);
                }
            }
            self.stray_frames();
            self.work();
            if round > 30 {
                self.producers.iter_mut().for_each(|producer| producer.open = false);
            }
            if round % 8 == 7 {
                self.advance(400);
            }
            let empty = self.model.queues.values().all(|queue| queue.messages.is_empty());
            if round > 60 && empty && self.waiting.is_empty() && self.frames.is_empty() {
                break;
            }
        }
        for (at, producer) in self.producers.iter().enumerate() {
            for number in 1..=producer.confirmed {
                assert!(self.acknowledged.contains(&format!("{at}:{number}")), "{at}:{number} is lost (invariant 3)");
            }
        }
    }
}
