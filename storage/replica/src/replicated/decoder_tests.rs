//! Everything that reads bytes from the disk or from another replica, given bytes that are not what was written.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::message_batch::tail;
use baton_domain::{
    ClusterId, ClusterState, Command, Member, Message, MessageId, Policy, QueueId, QueueName, ReplicaId, Role,
    ServerName,
};
use baton_domain::{Lane, Properties, Timer};
use baton_test_support::{Damage, Verdict, damaged, damages, holds, noise, read};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::applied::AppliedRecord;
use super::codec::{decode_entry, encode_entry};
use super::frame::{
    Chunk, Ends, Kind, Refusal, SnapshotDone, SnapshotOffer, accept, answer, read_answer, refusal, request,
};
use super::incoming::Incoming;
use super::types::{
    AppendRequest, AppendResponse, EncodedCommand, Entry, EntryPayload, LeaderId, LogId, ReplicaNode, SnapshotMeta,
    SnapshotResponse, StoredMembership, TransferRequest, TransferResponse, Vote, VoteRequest, VoteResponse,
};
use crate::LaneRecord;
use crate::disk::{Layout, SyncedMark, read_header, write_header};
use crate::header::{Genesis, StoreHeader};
use crate::machine::{
    Author, MessageHead, ProducerRecord, QueueSettings, QueueState, decode, decode_message, decode_redeliveries,
    encode, encode_message, producer_idle_since, random_steps,
};
use crate::state::{decode_command, encode_command};

const ENDS: Ends = Ends { from: ReplicaId(1), to: ReplicaId(2), generation: 3 };

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: ReplicaId(term % 5) }, index)
}

fn members() -> Vec<Member> {
    let name = |number: u64| ServerName::new(format!("server{number}")).unwrap();
    let role = |number| if number == 3 { Role::Witness } else { Role::Server };
    let member = |number| Member {
        name: name(number),
        role: role(number),
        address: format!("host{number}:7100"),
        replica: ReplicaId(number),
    };
    (1..=3).map(member).collect()
}

fn membership() -> openraft::Membership<ReplicaId, ReplicaNode> {
    let nodes: BTreeMap<_, _> = members().iter().map(|member| (member.replica, ReplicaNode::from(member))).collect();
    let voters: BTreeSet<_> = nodes.keys().copied().collect();
    openraft::Membership::new(vec![voters.clone(), voters], nodes).unwrap()
}

fn stored() -> StoredMembership {
    StoredMembership::new(Some(id(1, 4)), membership())
}

/// Entries of every kind: the commands of a random log among them.
fn entries(commands: &[Command], index: u64) -> Vec<Entry> {
    let others = [Command::Hold { server: None }, Command::Dismiss { name: members()[0].name.clone() }];
    let normal = commands.iter().chain(&others).map(|command| EntryPayload::Normal(EncodedCommand::of(command)));
    let payloads = normal.chain([EntryPayload::Blank, EntryPayload::Membership(membership())]);
    (index..).zip(payloads).map(|(index, payload)| Entry { log_id: id(3, index), payload }).collect()
}

/// A reader keeps its promises for what is written, for that after damage, and for noise.
fn check<T: std::fmt::Debug, E>(
    sound: &[u8],
    harm: &[Damage],
    noise: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    assert_eq!(holds(sound, &decode, &encode), Verdict::Taken, "what was written: {sound:02x?}");
    holds(&damaged(sound, harm), &decode, &encode);
    holds(noise, &decode, &encode);
}

/// The same for a value that stands in a frame or an answer of one.
fn check_body<T: Serialize + DeserializeOwned + std::fmt::Debug>(value: &T, harm: &[Damage], noise: &[u8]) {
    let pack = |value: &T| rmp_serde::to_vec(value).unwrap();
    check(&pack(value), harm, noise, |bytes| baton_domain::msgpack::read::<T>(bytes), pack);
    check(&answer(value), harm, noise, read_answer::<T>, answer);
}

/// Puts the checksum right again: what is behind it must stand damage too.
fn resealed_entry(index: u64, mut value: Vec<u8>) -> Vec<u8> {
    if value.len() > 9 {
        let checksum = xxh3_64_with_seed(&value[9..], index);
        value[1..9].copy_from_slice(&checksum.to_be_bytes());
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn commands_and_entries(
        steps in random_steps(12), index in any::<u32>(), harm in damages(), noise in noise(),
    ) {
        let commands = Author::write(&steps);
        for command in &commands {
            let bytes = encode_command(command);
            prop_assert_eq!(&decode_command(&bytes).unwrap(), command);
                        check(&bytes, &harm, &noise, decode_command, |command| encode_command(command).to_vec());
        }
        for entry in entries(&commands, index.into()) {
            let index = entry.log_id.index;
            let encode = |entry: &Entry| {
                let mut value = Vec::new();
                encode_entry(entry, &mut value).unwrap();
                value
            };
            let value = encode(&entry);
            let decode = |bytes: &[u8]| decode_entry(index, bytes.to_vec());
            prop_assert_eq!(&decode(&value).unwrap(), &entry);
            check(&value, &harm, &noise, decode, encode);
            let harmed = damaged(&value, &harm);
            prop_assert!(harmed == value || decode(&harmed).is_err(), "damage passed a checksum");
            holds(&resealed_entry(index, harmed), decode, encode);
            holds(&resealed_entry(index, noise.clone()), decode, encode);
        }
    }

    #[test]
    fn what_replicas_send_each_other(
        steps in random_steps(6), term in any::<u64>(), index in any::<u64>(), body in prop::collection::vec(any::<u8>(), 0..64),
        harm in damages(), noise in noise(),
    ) {
        let vote = Vote::new(term, ReplicaId(2));
        let meta = SnapshotMeta { last_log_id: Some(id(term, index)), last_membership: stored() };
        check_body(&AppendRequest {
            vote,
            prev_log_id: Some(id(term, index)),
            entries: entries(&Author::write(&steps), 7),
            leader_commit: Some(id(1, 1)),
        }, &harm, &noise);
        check_body(&AppendResponse::PartialSuccess(Some(id(term, index))), &harm, &noise);
        check_body(&AppendResponse::HigherVote(vote), &harm, &noise);
        check_body(&VoteRequest::new(vote, Some(id(term, index))), &harm, &noise);
        check_body(&VoteResponse::new(vote, Some(id(term, index)), true), &harm, &noise);
        check_body(&TransferRequest::new(vote, ReplicaId(3), Some(id(term, index))), &harm, &noise);
        check_body::<TransferResponse>(&Ok(()), &harm, &noise);
        check_body(&SnapshotResponse::new(vote), &harm, &noise);
        check_body(&SnapshotDone { transfer: index, vote }, &harm, &noise);
        let files = vec![("CURRENT".to_owned(), 16), ("000012.sst".to_owned(), index)];
        check_body(&SnapshotOffer { transfer: term, vote, meta, files }, &harm, &noise);

        let chunk = Chunk { transfer: term, file: 3, offset: index, bytes: &body };
        let encoded = chunk.encode();
        prop_assert_eq!(Chunk::decode(&encoded), Ok(chunk));
        holds(&damaged(&encoded, &harm), |bytes| Chunk::decode(bytes).map(|chunk| chunk.encode()), Vec::clone);
        let frame = request(Kind::Append, ENDS, &body);
        prop_assert_eq!(accept(&frame, ENDS), Ok((Kind::Append, &body[..])));
        let harmed = damaged(&frame, &harm);
        if let Ok((kind, taken)) = read(&harmed, |bytes| accept(bytes, ENDS).map(|(kind, body)| (kind, body.to_vec()))) {
            // The kind is not covered: a body of another kind does not decode as one.
            prop_assert_eq!(&taken, &body);
            prop_assert!(kind != Kind::Append || harmed == frame);
        }
        let _ = read(&noise, |bytes| accept(bytes, ENDS).map(|_| ()));
        prop_assert_eq!(read_answer::<u8>(&refusal("why")), Err(Refusal::Words("why".to_owned())));
        let _ = read(&damaged(&refusal("why ü"), &harm), read_answer::<u8>);
    }

    #[test]
    fn records_of_the_state(
        number in any::<u64>(), headers in prop::collection::vec((".{0,9}", ".{0,9}"), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..64), harm in damages(), noise in noise(),
    ) {
        fn record<T: Serialize + DeserializeOwned + std::fmt::Debug>(value: &T, harm: &[Damage], noise: &[u8]) {
            check(&encode(value), harm, noise, decode::<T>, encode);
        }
        let place = MessageId { generation: 1, index: number, position: 9 };
        let name = QueueName::new("orders/new").unwrap();
        let lane = LaneRecord { depth: number, head: place, dispatched: place };
        let lanes = [(Lane(0), lane), (Lane(3), lane)].into();
        let queue = QueueState { id: QueueId(3), name, bytes: number, redelivered: number, delayed: number, lanes };
        record(&queue, &harm, &noise);
        record(&QueueSettings::default(), &harm, &noise);
        let producer = ProducerRecord { last: number, ..ProducerRecord::new(QueueId(3), 5) };
        record(&producer, &harm, &noise);
        let _ = read(&damaged(&encode(&producer), &harm), producer_idle_since);
        let cluster = ClusterState { cluster: Some(ClusterId([1; 16])), members: members(), ..ClusterState::default() };
        record(&cluster, &harm, &noise);
        record(&AppliedRecord { applied: Some(id(1, number)), membership: stored() }, &harm, &noise);
        record(&Some(Vote::new(number, ReplicaId(1))), &harm, &noise);

        let properties = Some(Box::new(Properties { time_to_live_ms: number, ..Properties::default() }));
        let message = Message { headers, properties, body: body.into() };
        let write = |message: &Message, at_ms, expires_ms, redeliveries| {
            let size = u32::try_from(message.size()).unwrap();
            let mut value = Vec::new();
            encode_message(&tail(message), MessageHead { size, at_ms, expires_ms, redeliveries }, &mut value);
            value
        };
        let value = write(&message, number, number / 2, 0);
        let found = decode_message(&value, Some(3)).unwrap();
        prop_assert_eq!((&found.message, found.at_ms, found.redeliveries), (&message, number, 3));
        prop_assert_eq!(MessageHead::read(&value).unwrap().0.size as usize, message.size());
        let decode = |bytes: &[u8]| decode_message(bytes, None);
        check(&value, &harm, &noise, decode, |found| write(&found.message, found.at_ms, found.expires_ms, found.redeliveries));
        for bytes in [&damaged(&value, &harm), &noise] {
            let _ = read(bytes, MessageHead::read);
            let _ = Timer::from_key(bytes);
            let _ = read(bytes, decode_redeliveries);
        }
    }
}

fn header(generation: u32) -> StoreHeader {
    StoreHeader {
        cluster: ClusterId([7; 16]),
        generation,
        replica: ReplicaId(2),
        server: members()[1].name.clone(),
        genesis: Some(Genesis { members: members(), policy: Policy::default() }),
    }
}

proptest! {
    // Each case writes and syncs files.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_small_files_of_a_store(generation in any::<u32>(), harm in damages(), noise in noise()) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        write_header(&layout.header(), &header(generation)).unwrap();
        let sound = std::fs::read(layout.header()).unwrap();
        prop_assert_eq!(read_header(dir.path(), &layout.header()).unwrap(), Some(header(generation)));
        let mut resealed = damaged(&sound, &harm);
        if let Some(end) = resealed.len().checked_sub(8) {
            let checksum = xxh3_64(&resealed[..end]);
            resealed[end..].copy_from_slice(&checksum.to_be_bytes());
        }
        for bytes in [damaged(&sound, &harm), resealed, noise.clone()] {
            std::fs::write(layout.header(), &bytes).unwrap();
            let found = read(&bytes, |_| read_header(dir.path(), &layout.header()));
            if let Ok(found) = found {
                let found = found.unwrap();
                write_header(&layout.header(), &found).unwrap();
                prop_assert_eq!(read_header(dir.path(), &layout.header()).unwrap(), Some(found));
            }
        }

        let mark = SyncedMark::open(&layout.synced_mark()).unwrap();
        mark.write(u64::from(generation)).unwrap();
        prop_assert_eq!(mark.read().unwrap(), u64::from(generation));
        let sound = std::fs::read(layout.synced_mark()).unwrap();
        for bytes in [damaged(&sound, &harm), noise] {
            std::fs::write(layout.synced_mark(), &bytes).unwrap();
            // A mark that is damaged bounds nothing: it must not promise what was never there.
            let found = read(&bytes, |_| mark.read().unwrap());
            prop_assert!(found == 0 || bytes[..16.min(bytes.len())] == sound[..], "a damaged mark counts");

            std::fs::write(dir.path().join("state"), &bytes).unwrap();
            let _ = read(&bytes, |_| layout.current_state());
        }
        let state = layout.new_state();
        layout.set_current_state(&state).unwrap();
        prop_assert_eq!(layout.current_state().unwrap(), state);
    }

    /// Names in the directory that no program of ours would make are no reason to stop.
    #[test]
    fn names_in_a_stores_directory(number in prop_oneof![any::<u64>(), Just(u64::MAX)], kind in 0..3_usize) {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("{}{number}", ["state-", "snapshot-", "incoming-"][kind]);
        std::fs::create_dir(dir.path().join(&name)).unwrap();
        let layout = Layout::new(dir.path());
        let fresh = [layout.new_state(), layout.new_snapshot(), layout.new_incoming()];
        prop_assert!(fresh.iter().all(|path| !path.exists()), "{fresh:?} beside {name}");
        layout.set_current_state(&fresh[0]).unwrap();
        std::fs::create_dir(&fresh[0]).unwrap();
        layout.remove_leftovers().unwrap();
        prop_assert!(fresh[0].exists() && !dir.path().join(name).exists());
    }

    /// A snapshot takes what its offer named, in whatever order and however often it comes, and nothing else.
    #[test]
    fn chunks_of_a_snapshot(
        sizes in prop::collection::vec(0..600_000_u64, 0..4), names in prop::collection::vec(".{0,12}", 0..2),
        chunks in prop::collection::vec((0..5_u32, 0..4_u64, -1..2_i64, any::<bool>()), 0..24),
    ) {
        const CHUNK: u64 = super::incoming::CHUNK_BYTES as u64;
        let dir = tempfile::tempdir().unwrap();
        let meta = SnapshotMeta { last_log_id: None, last_membership: StoredMembership::default() };
        let mut files: Vec<_> = sizes.iter().enumerate().map(|(number, size)| (format!("{number}.sst"), *size)).collect();
        files.extend(names.into_iter().map(|name| (name, 1)));
        let offer = SnapshotOffer { transfer: 5, vote: Vote::new(1, ReplicaId(1)), meta, files: files.clone() };
        let Ok(mut incoming) = Incoming::begin(offer, dir.path().join("x"), u64::MAX) else {
            prop_assert!(files.len() > sizes.len(), "an offer of plain files was refused");
            return Ok(());
        };
        let mut missing: BTreeSet<(u32, u64)> = BTreeSet::new();
        for (number, (_, size)) in (0..).zip(&files) {
            missing.extend((0..*size).step_by(CHUNK as usize).map(|offset| (number, offset)));
        }
        for (file, chunk, off, own) in chunks {
            let size = files.get(file as usize).map_or(0, |(_, size)| *size);
            let offset = chunk * CHUNK;
            let fitting = size.saturating_sub(offset).min(CHUNK);
            let bytes = vec![1; fitting.saturating_add_signed(off) as usize];
            let transfer = if own { 5 } else { 6 };
            let taken = incoming.chunk(&Chunk { transfer, file, offset, bytes: &bytes }).is_ok();
            let fits = own && fitting > 0 && bytes.len() as u64 == fitting;
            prop_assert_eq!(taken, fits);
            if fits {
                missing.remove(&(file, offset));
            }
        }
        prop_assert_eq!(incoming.complete().is_ok(), missing.is_empty());
    }
}
