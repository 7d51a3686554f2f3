//! What the parts of the store cost, for an entry that holds 100 messages of 256 bytes: `make bench-parts`.

use std::hint::black_box;
use std::time::Duration;

use baton_domain::{
    ActivationReason, ClusterId, Command, EngineOp, Epoch, Member, Message, Policy, ProducerId, QueueName, ReplicaId,
    Role, ServerName,
};
use baton_replica::parts::{Log, State, decode, encode};
use bytes::Bytes;
use criterion::{Criterion, Throughput};

const MESSAGES: u64 = 100;
const PRODUCER: ProducerId = ProducerId([7; 16]);
/// Of the activation, which is the second entry.
const EPOCH: Epoch = Epoch { generation: 0, index: 1 };

fn engine(ops: Vec<EngineOp>) -> Command {
    Command::Engine { epoch: EPOCH, at_ms: 1_700_000_000_000, ops }
}

/// A producer's request; `number` counts the requests from 0.
fn send(number: u64) -> Command {
    let messages = vec![Message::new(vec![b'x'; 256]); MESSAGES as usize];
    engine(vec![EngineOp::Send {
        registration: 0,
        producer: PRODUCER,
        first: 1 + number * MESSAGES,
        messages: messages.into(),
        dispatch: false,
    }])
}

/// A state in which the engine runs and the producer is registered.
fn state(dir: &std::path::Path) -> State {
    let host = ServerName::new("server1").expect("a name");
    let queue = QueueName::new("orders").expect("a name");
    let member =
        Member { name: host.clone(), role: Role::Server, address: "localhost:7100".to_owned(), replica: ReplicaId(1) };
    let begin = [
        Command::Genesis {
            cluster: ClusterId([1; 16]),
            generation: 0,
            members: vec![member],
            policy: Policy::default(),
        },
        Command::Activate { host, reason: ActivationReason::Start, at_ms: 1 },
        engine(vec![
            EngineOp::CreateQueue { name: queue.clone() },
            EngineOp::OpenProducer { producer: PRODUCER, queue },
        ]),
    ];
    let mut state = State::create(dir).expect("an empty state");
    for command in begin {
        state.apply(&encode(&command)).expect("applied");
    }
    state
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("store, an entry of 100 messages");
    group.throughput(Throughput::Elements(MESSAGES));
    // What is measured fills a disk.
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let dir = tempfile::tempdir().expect("a directory");
    let dir = |name: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        dir
    };

    let (command, encoded) = (send(0), encode(&send(0)));
    group.bench_function("encode", |bench| bench.iter(|| encode(black_box(&command))));
    group.bench_function("decode", |bench| bench.iter(|| decode(black_box(&encoded)).expect("a command")));

    let mut log = Log::create(&dir("written")).expect("an empty log");
    group.bench_function("log, without sync", |bench| bench.iter(|| log.write(&encoded).expect("written")));
    let mut log = Log::create(&dir("synced")).expect("an empty log");
    group.bench_function("log, with sync", |bench| bench.iter(|| log.append(&encoded).expect("on disk")));

    let mut state = state(&dir("state"));
    let mut number = 0;
    let mut next = || -> Bytes {
        number += 1;
        encode(&send(number - 1))
    };
    state.apply(&next()).expect("applied");
    assert_eq!(state.messages().expect("readable"), MESSAGES as usize, "they are stored, not refused");
    group.bench_function("decode, apply and write", |bench| {
        bench.iter_batched(
            &mut next,
            |entry| state.apply(&entry).expect("applied"),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
    criterion.final_summary();
}
