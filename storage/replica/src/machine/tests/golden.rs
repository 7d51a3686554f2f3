//! Golden bytes of the records of the state.

use std::path::Path;

use baton_domain::message_batch::tail;
use baton_domain::{
    Arrival, ChangeId, Changes, DeadLetterOverflow, ExceptionDestination, Expired, Kept, Lane, Placement, Policy,
    Prepared, Reliability, StopReason, Stopped, Subscription, Timer, TimerKind, TransactionSend,
};
use baton_test_support::golden::Golden;
use baton_test_support::one_of_each;

use super::*;
use crate::machine::changes::ChangeRecord;
use crate::machine::pack::{GONE, PackBuilder};
use crate::machine::records::encode_share;
use crate::queue::LaneRecord;

const RECORD: &str = "VERSION in machine/records.rs";
const MESSAGE: &str = "VERSION, MESSAGE_WITH_MORE or MESSAGE_SHARE in machine/records.rs";
/// Keys and plain numbers have no version of their own.
const FORMAT: &str = "FORMAT in disk/header.rs";

fn id(position: u32) -> MessageId {
    MessageId { generation: 1, index: 0x0203, position }
}

/// A message with a header and properties.
fn text(body: &str) -> Message {
    Message::new(body.to_owned())
        .with_header("a", "b")
        .with_priority(7)
        .with_correlation_id("c")
        .with_reply_to("r")
        .with_topic("t/u")
        .with_reliability(Reliability::ReliablePersistent)
        .with_group("g")
}

fn settings() -> Settings {
    Settings {
        exception: ExceptionDestination::Queue(queue("dead")),
        max_failed_deliveries: 3,
        redelivery_delay_ms: 4,
        redelivery_delay_max_ms: 5,
        time_to_live_ms: 6,
        expired: Expired::Exception,
        max_messages: 7,
        exclusive: true,
        reliability: Reliability::ReliablePersistent,
        send_paused: true,
        receive_paused: false,
        forward_to: vec![queue("copy")],
        dead_letter_overflow: DeadLetterOverflow::DropOldest,
        max_dead_letter_bytes: 8,
    }
}

fn changes() -> Changes {
    let arrival = Arrival { queue: QueueId(9), name: queue("orders"), messages: 2, last: id(3) };
    Changes {
        removed: vec![(QueueId(9), id(1))],
        arrived: vec![arrival],
        due_ms: 99,
        delayed: vec![(QueueId(9), -1)],
        more: true,
        kept: vec![Kept { queue: QueueId(9), message: id(1), failed: 4 }],
        dropped: vec![(QueueId(9), 5)],
        counted: vec![(QueueId(9), id(1), 6)],
    }
}

fn results() -> Vec<(&'static str, OpResult)> {
    one_of_each!(OpResult {
        Done {},
        Queue { queue: QueueId(9), created: true },
        Producer { queue: QueueId(9), next: 2, registration: 3, digest: 4, claimed: true },
        Sent { queue: QueueId(9), duplicates: 1, accepted: 2, first: id(1), due_ms: 99 },
        Gap { expected: 5 },
        ProducerUnknown {},
        NoSuchQueue {},
        Settled { settled: 3 },
        Changed(changes()),
        Published { duplicates: 1, accepted: 2, first: id(1), due_ms: 99, matched: vec![(QueueId(9), vec![0, 1])] },
        Detached { deleted: vec![QueueId(9)] },
        Refused { why: "why".to_owned() },
        NoSuchTransaction {},
        Configured { queue: QueueId(9), settings: Box::new(settings()), version: 3 },
        OtherVersion { version: 3 },
        Gone { message: id(1) },
        Fenced {},
        Deleted { messages: 3, consumers: 4 },
        NotEmpty { messages: 3 },
        InUse { consumers: 4 },
        Repeated(Box::new(OpResult::Done)),
    })
}

fn answers() -> Vec<(&'static str, Applied)> {
    let epoch = Epoch { generation: 1, index: 9 };
    one_of_each!(Applied {
        Done {},
        Activated { epoch },
        Fenced { current: epoch },
        Engine { results: results().into_iter().map(|(_, result)| result).collect() },
        Admitted { replica: ReplicaId(4) },
        Marked { hash: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10 },
        Policy { policy: Policy { preferred: vec![server("a")], ..Policy::default() } },
        Refused { why: "why".to_owned() },
        Repeated(Box::new(Applied::Done)),
    })
}

fn cluster() -> ClusterState {
    let placement = Placement {
        host: server("a"),
        epoch: Epoch { generation: 1, index: 9 },
        reason: ActivationReason::HandOver,
        at_ms: 77,
    };
    let reason = StopReason::Placed(ActivationReason::Move);
    ClusterState {
        cluster: Some(ClusterId([5; 16])),
        generation: 1,
        members: members(),
        next_replica: 8,
        policy: Policy::default(),
        hold: Some(server("b")),
        placement: Some(placement.clone()),
        stopped: Some(Stopped { epoch: placement.epoch, reason, at_ms: 78 }),
        history: vec![placement],
    }
}

/// Records of queues, producers, consumers and the cluster.
fn add_small_records(golden: &mut Golden) {
    golden.add(("cluster", RECORD), &cluster(), encode, decode);
    golden.add(("next_queue", RECORD), &7_u32, encode, decode);
    let lane = LaneRecord { depth: 2, head: id(1), dispatched: id(2) };
    let lanes = [(Lane(0), lane), (Lane(3), lane)].into();
    let state = QueueState { id: QueueId(9), name: queue("orders"), bytes: 3, redelivered: 4, delayed: 5, lanes };
    golden.add(("queue", RECORD), &state, encode, decode);
    let subscription = Subscription { space: QueueId(8), topic: "t/#".to_owned(), selector: "a = 'b'".to_owned() };
    for (name, kind) in one_of_each!(DestinationKind { Queue {}, TopicSpace {}, Subscription(subscription) }) {
        let record = QueueSettings { kind, settings: settings(), owner: Some(ConsumerId([2; 16])), version: 3 };
        golden.add((format!("settings/{name}"), RECORD), &record, encode, decode);
    }
    let producer = ProducerRecord { queue: QueueId(9), last: 3, at_ms: 77, registration: 4, digest: 5 };
    golden.add(("producer", RECORD), &producer, encode, decode);
    let consumer = ConsumerRecord { queue: QueueId(9), order: 0x0102_0304 };
    golden.add(("consumer", FORMAT), &consumer, |record| record.bytes().to_vec(), ConsumerRecord::read);
    let sends = vec![TransactionSend { queue: queue("orders"), messages: vec![text("one")].into() }];
    let prepared =
        Prepared { session: session_id(3), number: 4, at_ms: 77, sends, settles: vec![(QueueId(9), vec![id(1)])] };
    golden.add(("prepared", RECORD), &prepared, encode, decode);
    for (name, answer) in answers() {
        let record = ChangeRecord { number: 5, change: ChangeId([7; 16]), answer };
        golden.add((format!("change/{name}"), RECORD), &record, encode, decode);
    }
    for (name, result) in results() {
        let record =
            ChangeRecord { number: 5, change: ChangeId([7; 16]), answer: Applied::Engine { results: vec![result] } };
        golden.add((format!("result/{name}"), RECORD), &record, encode, decode);
    }
}

/// Messages, packs and what stands beside them.
fn add_messages(golden: &mut Golden) {
    for (name, expires_ms, redeliveries) in [("plain", 0, 0), ("expiring", 99, 0), ("redelivered", 0, 2)] {
        let message = text("body");
        let head = MessageHead { size: message.size() as u32, at_ms: 77, expires_ms, redeliveries };
        let stored = StoredMessage { message, at_ms: 77, expires_ms, redeliveries };
        let encode = |stored: &StoredMessage| {
            let mut value = Vec::new();
            encode_message(&tail(&stored.message), head, &mut value);
            value
        };
        golden.add((format!("message/{name}"), MESSAGE), &stored, encode, |value| decode_message(value, None));
    }
    let head = MessageHead { size: 5, at_ms: 77, expires_ms: 99, redeliveries: 2 };
    let share = |head: &MessageHead| {
        let mut value = Vec::new();
        encode_share(*head, &mut value);
        value
    };
    golden.add(("message/share", MESSAGE), &head, share, |value| MessageHead::read(value).map(|(head, _)| head));

    let mut builder = PackBuilder::default();
    for (position, body) in [(1, "one"), (2, "three")] {
        let message = text(body);
        let head = MessageHead { size: message.size() as u32, at_ms: 77, ..MessageHead::default() };
        builder.push(QueueId(9), id(position), &tail(&message), head);
    }
    let pack = builder.finish();
    assert_eq!(Pack::read(pack).unwrap().message(id(1), id(2)).unwrap().message, text("three"));
    golden.add_bytes(("pack", "VERSION in machine/pack.rs"), pack);
    let remainder = PackRemainder(vec![7, 7, GONE, 9]);
    let version = "REMAINDER_VERSION in machine/pack.rs";
    golden.add(("pack_remainder", version), &remainder, |left| PackRemainder::write(&left.0), PackRemainder::read);

    golden.add_bytes(("key/message", FORMAT), &message_key(QueueId(9), id(1).in_lane(Lane(3))));
    golden.add_bytes(("key/queue", FORMAT), &queue_key(QueueId(9)));
    for (name, kind) in one_of_each!(TimerKind { Enter {}, Expire {} }) {
        let timer = Timer { due_ms: 99, kind, queue: QueueId(9), message: id(1) };
        golden.add(
            (format!("key/timer/{name}"), FORMAT),
            &timer,
            |timer| timer.key().to_vec(),
            |key| Timer::from_key(key).ok_or("no timer"),
        );
    }
}

#[test]
fn records_of_the_state() {
    let mut golden = Golden::default();
    add_small_records(&mut golden);
    add_messages(&mut golden);
    golden.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/state.txt"));
}

/// The running hash covers families by number and operations by number: a change of either would make replicas of two
/// programs differ.
#[test]
fn a_log_leaves_the_same_tables_and_hash() {
    let (mut bench, epoch) = Bench::running();
    let send = |first| EngineOp::Send {
        producer: producer(1),
        registration: 0,
        first,
        messages: vec![text("one"), text("two"), text("three")].into(),
        dispatch: true,
    };
    let expiring = text("four").with_time_to_live(std::time::Duration::from_secs(9));
    bench.ops(
        epoch,
        vec![
            create("orders", settings()),
            EngineOp::OpenProducer { producer: producer(1), queue: queue("orders") },
            send(1),
            EngineOp::Post { queue: QueueId(1), messages: vec![expiring].into(), dispatch: false },
            EngineOp::Attach { queue: queue("orders"), consumer: ConsumerId([2; 16]) },
        ],
    );
    bench.ops(epoch, vec![configure("orders", Settings::default()), send(3)]);
    let [first, second, .., last] = bench.stored(QueueId(1)).iter().map(|(id, _)| *id).collect::<Vec<_>>()[..] else {
        panic!("messages are missing")
    };
    bench.ops(epoch, vec![EngineOp::Settle { queue: QueueId(1), messages: vec![first, last], heads: vec![] }]);
    bench.ops(epoch, vec![EngineOp::Requeue { queue: QueueId(1), messages: vec![second] }]);
    let mut golden = Golden::default();
    for family in Family::ALL {
        for (key, value) in bench.memory.scan(family).unwrap() {
            let hex = key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            golden.add_bytes((format!("{}/{hex}", family.name()), FORMAT), &value);
        }
    }
    let Applied::Marked { hash } = bench.apply(&Command::Marker { nonce: 1 }) else { panic!("no marker") };
    golden.add_bytes(("hash", FORMAT), &hash.to_be_bytes());
    golden.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/tables.txt"));
}
