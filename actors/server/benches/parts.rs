//! What the cores of engine and policy cost: `make bench-parts`. No network, no disk; a store that answers at once.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use baton_client::protocol::{ClientReply, ClientRequest, Delivery, EngineReply, EngineRequest, EngineState, Opening};
use baton_domain::clock::BootTime;
use baton_domain::{
    Applied, Assistance, Command, Committed, ConsumerId, EngineOp, Epoch, Message, MessageId, OpResult, Policy,
    ProducerId, QueueId, QueueName, Role, ServerName,
};
use baton_replica::QueueRecord;
use baton_server::engine::{CallId, Effect, EngineConfig, Input, Now, Recorded, Release, RequestId, State};
use baton_server::policy::{EngineHere, PolicyTiming, ServerView, View, decide};
use criterion::{Criterion, Throughput};

const MESSAGES: u64 = 100;
const NOW: BootTime = BootTime(100_000_000_000);
const EPOCH: Epoch = Epoch { generation: 0, index: 1 };
const QUEUE: QueueId = QueueId(1);
const PRODUCER: ProducerId = ProducerId([7; 16]);
const CONSUMER: ConsumerId = ConsumerId([8; 16]);

fn queue() -> QueueName {
    QueueName::new("orders").expect("a name")
}

/// A started engine, one queue, and a store that takes everything.
struct Engine {
    state: State,
    effects: Vec<Effect>,
    requests: u64,
    index: u64,
    sent: u64,
    replies: Vec<EngineReply>,
    deliveries: Vec<(CallId, Vec<Delivery>)>,
}

impl Engine {
    fn start() -> Self {
        let state = State::new(EngineConfig::default());
        let (effects, replies, deliveries) = (Vec::new(), Vec::new(), Vec::new());
        let mut engine = Self { state, effects, requests: 0, index: 1, sent: 0, replies, deliveries };
        let record = QueueRecord::new(QUEUE, queue());
        let recorded = Recorded { queues: vec![record], consumers: Vec::new(), in_doubt: Vec::new() };
        engine.take(Input::Start { epoch: EPOCH });
        engine.take(Input::Opened { epoch: EPOCH, recorded: Ok(recorded) });
        assert_eq!(engine.state.view().state, EngineState::Started);
        engine.ask(EngineRequest::OpenProducer { producer: PRODUCER, queue: queue(), opening: Opening::First });
        engine
    }

    /// Takes one input in, and all that follows from it.
    fn take(&mut self, input: Input) {
        let now = Now { boot: NOW, unix_ms: 1_700_000_000_000, lease_until: BootTime(u64::MAX) };
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.state.step(input, now, &mut self.effects);
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Commit { entry, command } => {
                        inputs.push_back(Input::Committed { entry, result: Ok(self.apply(&command)) });
                        inputs.push_back(Input::Flush);
                    }
                    Effect::Refuse { reply, .. } => panic!("refused: {reply:?}"),
                    Effect::Open { .. }
                    | Effect::ReadPage { .. }
                    | Effect::FindIdleProducers { .. }
                    | Effect::TransactionTimedOut { .. }
                    | Effect::FindTimers { .. }
                    | Effect::ReadQueues { .. }
                    | Effect::View(_) => {}
                }
            }
            while let Some(release) = self.state.release(NOW, BootTime(u64::MAX)) {
                match release {
                    Release::Reply { reply, .. } => self.replies.push(reply),
                    Release::Deliver { call, request: ClientRequest::Deliver { deliveries, .. }, .. } => {
                        self.deliveries.push((call, deliveries));
                    }
                    Release::Deliver { request, .. } => panic!("no delivery: {request:?}"),
                }
            }
        }
    }

    fn apply(&mut self, command: &Command) -> Committed {
        let Command::Engine { ops, .. } = command else { panic!("an engine proposes only its writes") };
        self.index += 1;
        let mut first = MessageId { generation: 0, index: self.index, position: 0 };
        let results = ops.iter().map(|op| match op {
            EngineOp::OpenProducer { .. } => {
                OpResult::Producer { queue: QUEUE, next: 1, registration: 0, digest: 0, claimed: false }
            }
            EngineOp::Send { messages, .. } => {
                let accepted = messages.len() as u32;
                let sent = OpResult::Sent { queue: QUEUE, duplicates: 0, accepted, first, due_ms: 0 };
                first.position += accepted;
                sent
            }
            EngineOp::Detach { .. } => OpResult::Detached { deleted: Vec::new() },
            EngineOp::Attach { .. } => OpResult::Queue { queue: QUEUE, created: false },
            EngineOp::Settle { messages, .. } => OpResult::Settled { settled: messages.len() as u32 },
            EngineOp::CreateQueue { .. }
            | EngineOp::DeleteQueue { .. }
            | EngineOp::Delete { .. }
            | EngineOp::ForgetProducers { .. }
            | EngineOp::Dispatch { .. }
            | EngineOp::Requeue { .. }
            | EngineOp::Configure { .. }
            | EngineOp::ClaimProducer { .. }
            | EngineOp::CountLost { .. }
            | EngineOp::Once { .. }
            | EngineOp::TouchProducer { .. }
            | EngineOp::Recall { .. }
            | EngineOp::Create { .. }
            | EngineOp::Move { .. }
            | EngineOp::OpenSession { .. }
            | EngineOp::Transact { .. }
            | EngineOp::Post { .. }
            | EngineOp::SetAside { .. }
            | EngineOp::Prepare { .. }
            | EngineOp::Resolve { .. }
            | EngineOp::Fire { .. }
            | EngineOp::Purge { .. } => OpResult::Done,
        });
        Committed { index: self.index, applied: Applied::Engine { results: results.collect() } }
    }

    /// A request and its answer.
    fn ask(&mut self, body: EngineRequest) -> EngineReply {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.take(Input::Request { request, from: "client".to_owned(), connection: Some(1), body });
        self.take(Input::Flush);
        self.replies.pop().expect("an answer")
    }

    fn send(&mut self, messages: Vec<Message>) {
        let (first, through) = (self.sent + 1, self.sent + MESSAGES);
        self.sent = through;
        assert_eq!(
            self.ask(EngineRequest::Send { producer: PRODUCER, registration: 0, first, messages: messages.into() }),
            EngineReply::Sent { through }
        );
    }

    /// The consumer takes what it was given and acknowledges it; how many messages.
    fn consume(&mut self) -> u64 {
        let mut taken = Vec::new();
        for (call, deliveries) in std::mem::take(&mut self.deliveries) {
            self.take(Input::Delivered { call, answer: Some(ClientReply::Done) });
            taken.extend(deliveries.iter().map(|delivery| delivery.id));
        }
        let count = taken.len() as u64;
        let settle = EngineRequest::Settle {
            consumer: CONSUMER,
            acknowledged: taken,
            refused: Vec::new(),
            rejected: Vec::new(),
            released: Vec::new(),
            received: None,
        };
        assert_eq!(self.ask(settle), EngineReply::Done);
        count
    }
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine core, a request of 100 messages");
    group.throughput(Throughput::Elements(MESSAGES)).measurement_time(Duration::from_secs(2));
    let messages = || vec![Message::new(vec![b'x'; 256]); MESSAGES as usize];

    let mut engine = Engine::start();
    group.bench_function("propose and confirm", |bench| {
        bench.iter_batched(messages, |messages| engine.send(messages), criterion::BatchSize::SmallInput);
    });

    let mut engine = Engine::start();
    let attach = EngineRequest::Attach {
        consumer: CONSUMER,
        queue: queue(),
        credit: 1_000,
        unsettled: Vec::new(),
        received: 0,
        groups: Vec::new(),
        selector: String::new(),
        temporary: None,
    };
    assert!(matches!(engine.ask(attach), EngineReply::Attached { .. }));
    group.bench_function("propose, confirm, deliver and settle", |bench| {
        let through = |messages| {
            engine.send(messages);
            assert_eq!(engine.consume(), MESSAGES);
        };
        bench.iter_batched(messages, through, criterion::BatchSize::SmallInput);
    });
    group.finish();
}

/// Three servers and two witnesses, of which the second server leads; the first is down if `failed`.
fn view(engine: EngineHere, failed: bool) -> View {
    let long_ago = NOW - Duration::from_secs(60);
    let name = |name: &str| ServerName::new(name).expect("a name");
    let server = |number: usize, text: &str| ServerView {
        name: name(text),
        role: if number < 3 { Role::Server } else { Role::Witness },
        up_since: (number > 0 || !failed).then_some(long_ago),
        seen: true,
        may_lead: true,
        lag: Some(0),
        caught_up_since: Some(long_ago),
        cannot_host: None,
        at_need: false,
        reported: true,
        distrusted_until: None,
        paused_until: None,
        damped_until: None,
    };
    let names = ["server1", "server2", "server3", "witness1", "witness2"];
    let servers: Vec<_> = names.into_iter().enumerate().map(|(number, name)| server(number, name)).collect();
    let preferred = ["server1", "server2", "server3"].map(name).to_vec();
    View {
        now: NOW,
        me: name("server2"),
        leads_since: long_ago,
        started_at: long_ago,
        servers,
        policy: Policy { assistance: Assistance::None, preferred, fail_back: true, ..Policy::default() },
        hold: None,
        last_host: Some(name("server1")),
        last_reason: None,
        cold_start: false,
        policy_changed: false,
        ran_here: false,
        stopped_for: None,
        engine,
        place_anew: false,
        leaving: false,
        disk_fails: false,
        timing: PolicyTiming::default(),
    }
}

fn policy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy, a decision over 5 servers");
    group.measurement_time(Duration::from_secs(1));
    for (name, engine, failed) in [
        ("stay", EngineHere::RunsHere, true),
        ("fail over", EngineHere::Idle, true),
        ("fail back", EngineHere::RunsHere, false),
    ] {
        let view = view(engine, failed);
        group.bench_function(name, |bench| bench.iter(|| decide(black_box(&view))));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    engine(&mut criterion);
    policy(&mut criterion);
    criterion.final_summary();
}
