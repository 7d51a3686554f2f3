//! Golden bytes of what the log holds and of what replicas send each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use baton_domain::{
    ActivationReason, Assistance, ChangeId, ClusterId, Command, ConsumerId, DestinationKind, EngineOp, Epoch, Member,
    Message, MessageBatch, MessageId, MoveTo, Policy, PolicyChange, ProducerId, QueueId, QueueName, ReplicaId, Role,
    ServerName, SessionId, Settings, SettingsPatch, StopReason, Timer, TimerKind, TransactionName, TransactionSend,
    Written,
};
use baton_test_support::golden::Golden;
use baton_test_support::one_of_each;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::applied::AppliedRecord;
use super::codec::{decode_entry, encode_entry};
use super::frame::{
    Chunk, Ends, Kind, Refusal, SnapshotDone, SnapshotOffer, accept, answer, read_answer, refusal, request,
};
use super::testimony::Testimony;
use super::types::{
    AppendRequest, AppendResponse, EncodedCommand, Entry, EntryPayload, LeaderId, LogId, ReplicaNode, SnapshotMeta,
    SnapshotResponse, StoredMembership, TransferRequest, TransferResponse, Vote, VoteRequest, VoteResponse,
};
use crate::disk::{LogBatch, LogFiles, Skips, SyncedMark, read_header, write_header};
use crate::header::{Genesis, StoreHeader};
use crate::machine::{decode, encode};
use crate::skipped::SkippedEntry;
use crate::state::{decode_command, encode_command};

const ENDS: Ends = Ends { from: ReplicaId(1), to: ReplicaId(2), generation: 3 };

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn queue() -> QueueName {
    QueueName::new("orders/new").unwrap()
}

fn id(position: u32) -> MessageId {
    MessageId { generation: 1, index: 0x0203, position }
}

fn member() -> Member {
    Member { name: server("server1"), role: Role::Witness, address: "h:7100".to_owned(), replica: ReplicaId(4) }
}

fn policy() -> Policy {
    let (assistance, preferred) = (Assistance::None, vec![server("server1")]);
    Policy { assistance, preferred, fail_back: true, preferred_only: false, manual: true }
}

fn messages() -> MessageBatch {
    vec![Message::new("one"), Message::new("two").with_header("a", "b").with_priority(7).with_topic("t/u")].into()
}

fn sends() -> Vec<TransactionSend> {
    vec![TransactionSend { queue: queue(), messages: messages() }]
}

fn settles() -> Vec<(QueueId, Vec<MessageId>)> {
    vec![(QueueId(9), vec![id(1), id(2)])]
}

fn commands() -> Vec<(&'static str, Command)> {
    one_of_each!(Command {
        Genesis { cluster: ClusterId([5; 16]), generation: 2, members: vec![member()], policy: policy() },
        Activate { host: server("server1"), reason: ActivationReason::FailOver, at_ms: 77 },
        Stop { epoch: Epoch { generation: 1, index: 9 }, reason: StopReason::Nowhere("why".to_owned()), at_ms: 77 },
        SetPolicy { policy: policy() },
        Hold { server: Some(server("server1")) },
        Admit { name: server("server1"), role: Role::Server, address: "h:7100".to_owned() },
        Dismiss { name: server("server1") },
        Marker { nonce: 5 },
        Engine { epoch: Epoch { generation: 1, index: 9 }, at_ms: 77, ops: vec![] },
        SetAddress { name: server("server1"), address: "h:7100".to_owned() },
        ChangePolicy { change: PolicyChange { fail_back: Some(true), ..PolicyChange::default() } },
        Once { change: ChangeId([7; 16]), command: Box::new(Command::Hold { server: None }) },
        Recall { change: ChangeId([7; 16]) },
    })
}

fn engine_ops() -> Vec<(&'static str, EngineOp)> {
    let (producer, consumer, session) = (ProducerId([1; 16]), ConsumerId([2; 16]), SessionId([3; 16]));
    let change = ChangeId([7; 16]);
    let transaction = || TransactionName::new("t1").unwrap();
    let timer = Timer { due_ms: 99, kind: TimerKind::Expire, queue: QueueId(9), message: id(1) };
    let settings = Settings { max_messages: 5, ..Settings::default() };
    one_of_each!(EngineOp {
        CreateQueue { name: queue() },
        DeleteQueue { name: queue() },
        OpenProducer { producer, queue: queue() },
        ForgetProducers { producers: vec![producer] },
        Send { producer, registration: 6, first: 7, messages: messages(), dispatch: true },
        Dispatch { queue: QueueId(9), through: id(1) },
        Settle { queue: QueueId(9), messages: vec![id(1)], heads: vec![id(2)] },
        Requeue { queue: QueueId(9), messages: vec![id(1)] },
        Attach { queue: queue(), consumer },
        Detach { consumer },
        Configure { name: queue(), patch: Box::new(SettingsPatch::from(settings.clone())), if_version: Some(3) },
        Create { name: queue(), kind: DestinationKind::TopicSpace, settings, owner: Some(consumer) },
        Move { queue: QueueId(9), messages: vec![id(1)], to: MoveTo::Exception { reason: "why".to_owned() } },
        Fire { timers: vec![timer] },
        OpenSession { session },
        Transact { session, number: 4, sends: sends(), settles: settles() },
        Purge { queue: QueueId(9), through: id(1), limit: 10 },
        Post { queue: QueueId(9), messages: messages(), dispatch: false },
        SetAside { queue: QueueId(9), reason: "why".to_owned(), messages: messages() },
        Prepare { name: transaction(), session, number: 4, sends: sends(), settles: settles() },
        Resolve { name: transaction(), commit: true },
        ClaimProducer { producer, queue: queue(), seen: Some(Written { last: 3, digest: 4 }) },
        CountLost { queue: QueueId(9), through: vec![id(1)], except: vec![id(2)], consumers: 3 },
        Delete { name: queue(), if_empty: true, if_unused: false },
        Once { change, op: Box::new(EngineOp::CreateQueue { name: queue() }) },
        Recall { change },
        TouchProducer { producer, registration: 6 },
    })
}

/// Commands for the enums within commands.
fn inner_commands() -> Vec<(String, Command)> {
    let activate = |reason| Command::Activate { host: server("server1"), reason, at_ms: 77 };
    let reasons = one_of_each!(ActivationReason {
        Start {}, FailOver {}, FailBack {}, Move {}, PolicyChange {}, HandOver {}, EngineFailed {},
    });
    let stop = |reason| Command::Stop { epoch: Epoch::default(), reason, at_ms: 77 };
    let stops = one_of_each!(StopReason { Placed(ActivationReason::Move), Nowhere("why".to_owned()) });
    let roles = one_of_each!(Role { Server {}, Witness {} });
    let admit = |role| Command::Admit { name: server("server1"), role, address: String::new() };
    let assistances = one_of_each!(Assistance { HighAvailability {}, None {} });
    let assisted = |assistance| Command::SetPolicy { policy: Policy { assistance, ..Policy::default() } };
    let moves = one_of_each!(MoveTo { Exception { reason: "why".to_owned() }, Origin {} });
    let moved = |to| Command::Engine {
        epoch: Epoch::default(),
        at_ms: 77,
        ops: vec![EngineOp::Move { queue: QueueId(9), messages: vec![id(1)], to }],
    };
    let named = |of: &str, name: &str, command| (format!("command/{of}/{name}"), command);
    let mut all: Vec<(String, Command)> = Vec::new();
    all.extend(reasons.into_iter().map(|(name, reason)| named("ActivationReason", name, activate(reason))));
    all.extend(stops.into_iter().map(|(name, reason)| named("StopReason", name, stop(reason))));
    all.extend(roles.into_iter().map(|(name, role)| named("Role", name, admit(role))));
    all.extend(assistances.into_iter().map(|(name, assistance)| named("Assistance", name, assisted(assistance))));
    all.extend(moves.into_iter().map(|(name, to)| named("MoveTo", name, moved(to))));
    all
}

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId { term: 6, node_id: ReplicaId(2) }, index)
}

fn membership() -> openraft::Membership<ReplicaId, ReplicaNode> {
    let nodes = BTreeMap::from([(ReplicaId(4), ReplicaNode::from(&member())), (ReplicaId(5), ReplicaNode::default())]);
    openraft::Membership::new(vec![BTreeSet::from([ReplicaId(4), ReplicaId(5)])], nodes).unwrap()
}

fn entries() -> Vec<(&'static str, Entry)> {
    let command = || EncodedCommand::of(&Command::Marker { nonce: 5 });
    let payloads = one_of_each!(EntryPayload { Blank {}, Normal(command()), Membership(membership()) });
    payloads.into_iter().map(|(name, payload)| (name, Entry { log_id: log_id(8), payload })).collect()
}

#[test]
fn commands_and_entries_of_the_log() {
    const COMMAND: &str = "COMMAND_VERSION in state/command.rs";
    const ENTRY: &str = "ENTRY_VERSION in replicated/codec.rs";
    let mut golden = Golden::default();
    let mut add = |name: String, command: &Command| {
        golden.add((name, COMMAND), command, |command| encode_command(command).to_vec(), decode_command);
    };
    for (name, command) in commands() {
        add(format!("command/{name}"), &command);
    }
    for (name, op) in engine_ops() {
        add(format!("op/{name}"), &Command::Engine { epoch: Epoch::default(), at_ms: 77, ops: vec![op] });
    }
    for (name, command) in inner_commands() {
        add(name, &command);
    }
    for (name, entry) in entries() {
        let encode = |entry: &Entry| {
            let mut value = Vec::new();
            encode_entry(entry, &mut value).unwrap();
            value
        };
        golden.add((format!("entry/{name}"), ENTRY), &entry, encode, |bytes| decode_entry(8, bytes.to_vec()));
    }
    golden.compare(&file("log.txt"));
}

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// The body of each kind of frame, and its answer.
fn frame(golden: &mut Golden, name: &str, kind: Kind) {
    const FRAME: &str = "VERSION in replicated/frame.rs";
    fn body<T: Serialize + DeserializeOwned + Debug + PartialEq>(
        golden: &mut Golden,
        name: &str,
        kind: Kind,
        value: &T,
    ) {
        let encode = |value: &T| request(kind, ENDS, &rmp_serde::to_vec(value).unwrap());
        let decode = |frame: &[u8]| {
            let (found, body) = accept(frame, ENDS).unwrap();
            assert_eq!(found, kind);
            baton_domain::msgpack::read::<T>(body)
        };
        golden.add((format!("frame/{name}"), FRAME), value, encode, decode);
    }
    fn answered<T: Serialize + DeserializeOwned + Debug + PartialEq>(golden: &mut Golden, name: &str, value: &T) {
        golden.add((format!("answer/{name}"), FRAME), value, answer, read_answer::<T>);
    }
    let vote = Vote::new(6, ReplicaId(2));
    match kind {
        Kind::Append => {
            let entries = entries().into_iter().map(|(_, entry)| entry).collect();
            let (prev_log_id, leader_commit) = (Some(log_id(7)), Some(log_id(6)));
            let append = AppendRequest { vote, prev_log_id, entries, leader_commit };
            golden.add_bytes(
                (format!("frame/{name}"), FRAME),
                &request(kind, ENDS, &rmp_serde::to_vec(&append).unwrap()),
            );
            let answers = [
                ("Success", AppendResponse::Success),
                ("PartialSuccess", AppendResponse::PartialSuccess(Some(log_id(8)))),
                ("Conflict", AppendResponse::Conflict),
                ("HigherVote", AppendResponse::HigherVote(vote)),
            ];
            for (of, response) in answers {
                golden.add_bytes((format!("answer/{name}/{of}"), FRAME), &answer(&(response, 340_u64)));
            }
        }
        Kind::Vote | Kind::PreVote => {
            let (asked, voted) =
                (VoteRequest::new(vote, Some(log_id(8))), VoteResponse::new(vote, Some(log_id(8)), true));
            golden
                .add_bytes((format!("frame/{name}"), FRAME), &request(kind, ENDS, &rmp_serde::to_vec(&asked).unwrap()));
            golden.add_bytes((format!("answer/{name}"), FRAME), &answer(&voted));
        }
        Kind::Transfer => {
            let transfer = TransferRequest::new(vote, ReplicaId(3), Some(log_id(8)));
            golden.add_bytes(
                (format!("frame/{name}"), FRAME),
                &request(kind, ENDS, &rmp_serde::to_vec(&transfer).unwrap()),
            );
            let done: TransferResponse = Ok(());
            golden.add_bytes((format!("answer/{name}"), FRAME), &answer(&done));
        }
        Kind::SnapshotBegin => {
            let meta = SnapshotMeta {
                last_log_id: Some(log_id(8)),
                last_membership: StoredMembership::new(Some(log_id(1)), membership()),
            };
            let files = vec![("CURRENT".to_owned(), 16), ("000012.sst".to_owned(), 70_000)];
            body(golden, name, kind, &SnapshotOffer { transfer: 5, vote, meta, files });
            answered(golden, name, &());
        }
        Kind::SnapshotChunk => {
            let chunk = Chunk { transfer: 5, file: 1, offset: 65_536, bytes: b"piece" };
            assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk.clone()));
            golden.add_bytes((format!("frame/{name}"), FRAME), &request(kind, ENDS, &chunk.encode()));
        }
        Kind::SnapshotEnd => {
            body(golden, name, kind, &SnapshotDone { transfer: 5, vote });
            golden.add_bytes((format!("answer/{name}"), FRAME), &answer(&SnapshotResponse::new(vote)));
        }
        Kind::Testimony => body(golden, name, kind, &Testimony { leader: vote, last: Some(log_id(8)), rank: 2 }),
        Kind::Acknowledged => {
            body(golden, name, kind, &vec![(ReplicaId(1), log_id(8)), (ReplicaId(2), log_id(7))]);
            answered(golden, name, &Some(log_id(8)));
        }
    }
}

#[test]
fn frames_between_replicas() {
    let mut golden = Golden::default();
    let kinds = one_of_each!(Kind {
        Append {}, Vote {}, PreVote {}, Transfer {}, SnapshotBegin {}, SnapshotChunk {}, SnapshotEnd {}, Testimony {},
        Acknowledged {},
    });
    for (name, kind) in kinds {
        frame(&mut golden, name, kind);
    }
    let refusals = one_of_each!(Refusal {
        Words("why".to_owned()), Untold {}, DamagedSnapshot("of a file".to_owned()),
    });
    for (name, refused) in refusals {
        assert_eq!(read_answer::<u8>(&refused.frame()), Err(refused.clone()));
        golden.add_bytes((format!("refusal/{name}"), "VERSION in replicated/frame.rs"), &refused.frame());
    }
    assert_eq!(refusal("why"), Refusal::Words("why".to_owned()).frame());
    golden.compare(&file("frames.txt"));
}

#[test]
fn small_files_of_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mut golden = Golden::default();
    let genesis = Some(Genesis { members: vec![member()], policy: policy() });
    let (cluster, replica, server) = (ClusterId([5; 16]), ReplicaId(4), server("server1"));
    let header = StoreHeader { cluster, generation: 2, replica, server, genesis };
    let write = |header: &StoreHeader| {
        write_header(&path, header).unwrap();
        fs::read(&path).unwrap()
    };
    let read = |_: &[u8]| read_header(dir.path(), &path).map(Option::unwrap);
    golden.add(("format", "FORMAT in disk/header.rs"), &header, write, read);

    let applied =
        AppliedRecord { applied: Some(log_id(8)), membership: StoredMembership::new(Some(log_id(1)), membership()) };
    golden.add(("applied", "VERSION in machine/records.rs"), &applied, encode, decode);
    let (vote, committed) = (Vote::new(6, ReplicaId(2)), log_id(7));
    golden.add(("vote", "VERSION in machine/records.rs"), &vote, encode, decode);
    golden.add(("committed", "VERSION in machine/records.rs"), &committed, encode, decode);

    let mark = dir.path().join("synced");
    SyncedMark::open(&mark).unwrap().write(0x0102).unwrap();
    golden.add_bytes(("synced", "FORMAT in disk/header.rs"), &fs::read(&mark).unwrap());
    let mut skips = Skips::default();
    skips.add(SkippedEntry { index: 4711, term: 3, leader: ReplicaId(2) });
    skips.write(&path).unwrap();
    golden.add_bytes(("skip", "VERSION in disk/skips.rs"), &fs::read(&path).unwrap());

    let log = dir.path().join("log");
    let files = LogFiles::create(&log).unwrap();
    let mut batch = LogBatch::for_entries(2, 10);
    for index in [0, 1, 2] {
        batch
            .entry(index, |into| {
                into.extend_from_slice(b"entry");
                Ok(())
            })
            .unwrap();
    }
    batch.cut(2).unwrap();
    batch.vote(&encode(&vote)).unwrap();
    batch.commit(&encode(&committed)).unwrap();
    batch.purge(0, &encode(&log_id(0))).unwrap();
    files.write(batch).unwrap();
    files.sync().unwrap();
    let mut segments: Vec<_> = fs::read_dir(&log).unwrap().map(|file| file.unwrap().path()).collect();
    segments.sort();
    for (number, segment) in segments.iter().enumerate() {
        let bytes = fs::read(segment).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        golden.add_bytes((format!("segment/{number}"), "FORMAT in disk/header.rs"), &bytes[..end]);
    }
    golden.compare(&file("files.txt"));
}
