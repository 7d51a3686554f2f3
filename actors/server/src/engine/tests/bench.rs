//! A bench for tables: one engine over the model, with the commits and reads that wait in the open.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_client::protocol::{
    ClientReply, ClientRequest, Delivery, EngineError, EngineReply, EngineRequest, EngineState, Opening,
};
use baton_domain::clock::BootTime;
use baton_domain::{Command, ConsumerId, Message, MessageId, ProducerId, QueueId, QueueName, SessionId};
use baton_replica::CommitError;

use super::model::Model;
use crate::engine::{CallId, Effect, EngineConfig, EngineView, EntryId, Input, Now, ReadId, Release, RequestId, State};

/// One engine, its store, and what came out and waits.
pub(in crate::engine::tests) struct Bench {
    pub(in crate::engine::tests) model: Model,
    pub(in crate::engine::tests) state: State,
    pub(in crate::engine::tests) now: BootTime,
    pub(in crate::engine::tests) lease_until: BootTime,
    /// The shell is paused before it lets anything leave.
    pub(in crate::engine::tests) paused: bool,
    pub(in crate::engine::tests) commits: VecDeque<(EntryId, Command)>,
    pub(in crate::engine::tests) reads: VecDeque<(ReadId, QueueId, MessageId, usize, usize)>,
    /// What was found of timers.
    looks: VecDeque<Input>,
    pub(in crate::engine::tests) replies: BTreeMap<RequestId, EngineReply>,
    pub(in crate::engine::tests) deliveries: VecDeque<(CallId, ConsumerId, Vec<Delivery>)>,
    pub(in crate::engine::tests) views: Vec<EngineView>,
    /// Prepared transactions whose time was over.
    pub(in crate::engine::tests) timed_out: Vec<String>,
    requests: u64,
}

/// Beyond all messages.
pub(in crate::engine::tests) const NEWEST: MessageId =
    MessageId { generation: u32::MAX >> 4, index: u64::MAX, position: 0 };

pub(in crate::engine::tests) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(in crate::engine::tests) fn producer(number: u8) -> ProducerId {
    ProducerId([number; 16])
}

pub(in crate::engine::tests) fn session(number: u8) -> SessionId {
    SessionId([number; 16])
}

pub(in crate::engine::tests) fn consumer(number: u8) -> ConsumerId {
    ConsumerId([number; 16])
}

pub(in crate::engine::tests) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|one| String::from_utf8(one.message.body.to_vec()).unwrap()).collect()
}

impl Bench {
    /// A started engine over a fresh store.
    pub(in crate::engine::tests) fn new(config: EngineConfig) -> Self {
        Self::over(Model::default(), config)
    }

    /// A started engine over what an earlier one left.
    pub(in crate::engine::tests) fn over(mut model: Model, config: EngineConfig) -> Self {
        let epoch = model.activate();
        let mut bench = Self {
            model,
            state: State::new(config),
            now: BootTime(1_000_000_000_000),
            lease_until: BootTime(u64::MAX),
            paused: false,
            commits: VecDeque::new(),
            reads: VecDeque::new(),
            looks: VecDeque::new(),
            replies: BTreeMap::new(),
            deliveries: VecDeque::new(),
            views: Vec::new(),
            timed_out: Vec::new(),
            requests: 0,
        };
        bench.step(Input::Start { epoch });
        let recorded = bench.model.recorded();
        bench.step(Input::Opened { epoch, recorded: Ok(recorded) });
        assert_eq!(bench.state.view().state, EngineState::Started);
        bench
    }

    /// One input, without a flush.
    pub(in crate::engine::tests) fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        let now = Now { boot: self.now, unix_ms: self.now.0 / 1_000_000, lease_until: self.lease_until };
        self.state.step(input, now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Open { .. } | Effect::FindIdleProducers { .. } => {}
                Effect::TransactionTimedOut { name, .. } => self.timed_out.push(name.to_string()),
                Effect::ReadQueues { request } => {
                    let queues = Ok(self.model.recorded().queues);
                    self.looks.push_back(Input::Queues { request, queues });
                }
                Effect::FindTimers { after, until_ms, .. } => {
                    let (due, next_ms) = self.model.timers(after, until_ms);
                    self.looks.push_back(Input::Timers { due: Ok(due), next_ms });
                }
                Effect::Commit { entry, command } => self.commits.push_back((entry, command)),
                Effect::ReadPage { read, queue, from, max_messages, max_bytes } => {
                    self.reads.push_back((read, queue, from, max_messages, max_bytes));
                }
                Effect::Refuse { request, reply } => self.replied(request, reply),
                Effect::View(view) => self.views.push(view),
            }
        }
        self.release();
        if let Some(running) = self.state.running() {
            running.assert_invariants();
        }
    }

    pub(in crate::engine::tests) fn release(&mut self) {
        while !self.paused
            && let Some(release) = self.state.release(self.now, self.lease_until)
        {
            match release {
                Release::Reply { request, reply } => self.replied(request, reply),
                Release::Deliver { call, request, .. } => {
                    let ClientRequest::Deliver { consumer, deliveries, .. } = request else { panic!("{request:?}") };
                    self.deliveries.push_back((call, consumer, deliveries));
                }
            }
        }
    }

    fn replied(&mut self, request: RequestId, reply: EngineReply) {
        assert!(self.replies.insert(request, reply).is_none(), "a request is answered once");
    }

    /// A request from a client, its link being number 1.
    pub(in crate::engine::tests) fn ask(&mut self, body: EngineRequest) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.step(Input::Request { request, from: "client".to_owned(), connection: Some(1), body });
        request
    }

    /// Commits and reports one entry.
    pub(in crate::engine::tests) fn commit_one(&mut self) -> bool {
        let Some((entry, command)) = self.commits.pop_front() else { return false };
        let committed = self.model.apply(&command);
        self.step(Input::Committed { entry, result: Ok(committed) });
        true
    }

    /// Reports an entry as failed.
    pub(in crate::engine::tests) fn fail_one(&mut self, error: CommitError) {
        let (entry, _) = self.commits.pop_front().unwrap();
        self.step(Input::Committed { entry, result: Err(error) });
    }

    pub(in crate::engine::tests) fn read_one(&mut self) -> bool {
        let Some((read, queue, from, max_messages, max_bytes)) = self.reads.pop_front() else { return false };
        let page = self.model.page(queue, from, max_messages, max_bytes);
        self.step(Input::Page { read, queue, result: Ok(page) });
        true
    }

    fn look_one(&mut self) -> bool {
        let Some(found) = self.looks.pop_front() else { return false };
        self.step(found);
        true
    }

    /// Flushes, commits and reads until nothing is left to do.
    pub(in crate::engine::tests) fn settle_down(&mut self) {
        for _ in 0..10_000 {
            self.step(Input::Flush);
            if !self.commit_one() && !self.read_one() && !self.look_one() {
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    /// A request and its answer.
    pub(in crate::engine::tests) fn call(&mut self, body: EngineRequest) -> EngineReply {
        let request = self.ask(body);
        self.settle_down();
        self.replies.remove(&request).expect("an answer")
    }

    pub(in crate::engine::tests) fn advance(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.step(Input::Tick);
    }

    /// A queue with an open producer.
    pub(in crate::engine::tests) fn open(&mut self, name: &str) {
        assert!(matches!(self.call(EngineRequest::CreateQueue { name: queue(name) }), EngineReply::Created { .. }));
        let request =
            EngineRequest::OpenProducer { producer: producer(1), queue: queue(name), opening: Opening::First };
        assert!(matches!(self.call(request), EngineReply::Producer { .. }));
    }

    pub(in crate::engine::tests) fn send(&mut self, first: u64, count: u64) -> RequestId {
        let messages = (first..first + count).map(|number| Message::new(number.to_string())).collect();
        self.ask(EngineRequest::Send { producer: producer(1), registration: 0, first, messages })
    }

    pub(in crate::engine::tests) fn attach(
        &mut self,
        number: u8,
        name: &str,
        credit: u32,
        unsettled: &[MessageId],
    ) -> EngineReply {
        let unsettled = unsettled.to_vec();
        self.call(EngineRequest::Attach {
            consumer: consumer(number),
            queue: queue(name),
            credit,
            unsettled,
            received: 0,
            groups: Vec::new(),
            selector: String::new(),
            temporary: None,
        })
    }

    /// Takes all deliveries that wait, in order; answers who got what.
    pub(in crate::engine::tests) fn take(&mut self) -> Vec<(ConsumerId, Delivery)> {
        let mut taken = Vec::new();
        while let Some((call, to, deliveries)) = self.deliveries.pop_front() {
            taken.extend(deliveries.into_iter().map(|one| (to, one)));
            self.step(Input::Delivered { call, answer: Some(ClientReply::Done) });
            self.settle_down();
        }
        taken
    }

    pub(in crate::engine::tests) fn acknowledge(&mut self, number: u8, ids: &[MessageId]) -> EngineReply {
        let acknowledged = ids.to_vec();
        self.call(EngineRequest::Settle {
            consumer: consumer(number),
            acknowledged,
            refused: Vec::new(),
            rejected: Vec::new(),
            released: Vec::new(),
            received: None,
        })
    }

    pub(in crate::engine::tests) fn error_of(&self, request: RequestId) -> Option<EngineError> {
        match self.replies.get(&request)? {
            EngineReply::Error(error) => Some(error.clone()),
            _ => None,
        }
    }
}
