//! A world for random histories: an engine, the store's model, producers and consumers that keep the protocol, links
//! that drop, commits and reads that take their time, and engines that end in every way there is.
//!
//! It keeps the account that invariants 2 to 5 ask for while it runs; see the assertions.

mod actions;
mod bounds;
mod clients;
mod ends;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use baton_client::protocol::{
    ClientReply, ClientRequest, Delivery, EngineError, EngineReply, EngineRequest, EngineState,
};
use baton_domain::clock::BootTime;
use baton_domain::{
    Applied, Command, Committed, ConsumerId, Epoch, Lane, MessageId, ProducerId, QueueId, StoredMessage,
};
use baton_replica::CommitError;

use super::bench::queue;
use super::model::Model;
use crate::engine::{CallId, Effect, EngineConfig, EntryId, Input, Now, ReadId, Release, RequestId, State};

pub(super) use actions::{Action, End};

type Page = Vec<(MessageId, StoredMessage)>;

const QUEUES: [&str; 2] = ["a", "b"];

/// The priority that a producer gives to its message of that number.
fn priority(number: u64) -> u8 {
    [4, 4, 4, 9, 0][number as usize % 5]
}

/// The group of a producer's messages: in the second queue each producer has its own.
fn group(producer: usize, queue: usize) -> String {
    if queue == 1 { format!("p{producer}") } else { String::new() }
}

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
        connection: u64,
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
    /// The last number of each producer and priority that was released for the first time.
    released: BTreeMap<(String, u8), u64>,
    released_ids: BTreeSet<MessageId>,
    acknowledged: BTreeSet<String>,
    /// What consumers said that they hold when they attached.
    claimed: BTreeSet<MessageId>,
    /// What each queue had dispatched when the engine started.
    flagged: BTreeMap<(QueueId, Lane), MessageId>,
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
            claimed: BTreeSet::new(),
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
                Effect::Open { .. }
                | Effect::FindIdleProducers { .. }
                | Effect::TransactionTimedOut { .. }
                | Effect::FindTimers { .. }
                | Effect::ReadQueues { .. }
                | Effect::View(_) => {}
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

    fn ask(&mut self, body: EngineRequest, ask: Ask) {
        self.ask_from("client0".to_owned(), 0, body, ask);
    }

    fn ask_from(&mut self, from: String, connection: u64, body: EngineRequest, ask: Ask) {
        let request = RequestId(self.count());
        self.waiting.insert(request, ask);
        self.step(Input::Request { request, from, connection: Some(connection), body });
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
            assert_eq!(id.lane().priority(), priority(number));
            let flagged = self.flagged.get(&(*queue_id, id.lane())).copied();
            let dispatched = stored.dispatched(id);
            assert!(id <= dispatched, "{id} is delivered beyond the committed {dispatched}");
            let may_have_been = flagged.is_some_and(|flagged| id <= flagged);
            assert!(delivery.redelivered || !may_have_been, "{id} may have been delivered before");
            if self.released_ids.insert(id) {
                let last = self.released.insert((name, priority(number)), number).unwrap_or(0);
                assert!(last < number, "{number} after {last} (invariant 5)");
            }
            self.bodies.insert(id, body);
        }
        self.frames.push_back(Frame { call: Some(call), consumer, connection, epoch, deliveries });
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

    /// All that is under way comes to its end. Answers whether there was anything.
    fn work(&mut self) -> bool {
        let mut worked = false;
        for round in 0.. {
            assert!(round < 10_000, "the engine works for ever on nothing");
            self.step(Input::Flush);
            if !(self.apply() | self.report() | self.read() | self.page() | self.tell_news()) {
                return worked;
            }
            worked = true;
        }
        worked
    }
}
