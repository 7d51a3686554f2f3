//! The deterministic state machine: the effect of each command on the store.
//!
//! Reads no clock, no randomness and no environment: replicas that apply the same commands at the same log indices
//! hold the same bytes, however the commands are grouped into batches, and the running hash shows it. Small records
//! (the cluster, queues, consumers, markers) are all in memory, producers are read through a bounded cache, and a
//! message is looked up on disk only when it was not sent lately.
//!
//! A batch is applied command by command and seen by the next command at once; the caller writes it as one and then
//! calls [`Machine::end_batch`]. A command that reads messages themselves begins a batch: see
//! [`Machine::begins_batch`].
//!
//! An overflow would stop every replica at the same command, for good: arithmetic here has a defined result.
#![warn(clippy::arithmetic_side_effects)]

mod apply;
mod caches;
mod changes;
mod cluster;
mod deletion;
mod engine;
mod known_messages;
mod messages;
mod pack;
mod records;
mod tables;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
mod topics;
mod transactions;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use baton_domain::{
    Applied, ClusterState, Command, ConsumerId, QueueId, QueueName, Subscriptions, Timer, TransactionName,
};

pub(crate) use pack::{Pack, PackRemainder, is_pack};
pub(crate) use records::{
    ConsumerRecord, MessageHead, MessageKey, NEXT_QUEUE_KEY, QueueSettings, QueueState, array, damaged, decode,
    decode_message, decode_redeliveries, encode, is_share, lane_end, message_key, message_key_id, message_key_queue,
    newer, producer_idle_since, queue_bounds, queue_key,
};
#[cfg(test)]
pub(crate) use records::{ProducerRecord, encode_message};
pub(crate) use tables::{Family, PackVisitor, RecordVisitor, Sink, Tables};
#[cfg(test)]
pub(crate) use tests::random::{Author, Step, steps as random_steps};
#[cfg(test)]
pub(crate) use tests::{POISON, activate, genesis};
pub(crate) use transactions::name_of;
use writer::Writer;

use apply::Apply;
use caches::{Producers, Redeliveries, Shares};
use changes::Changes;
use known_messages::KnownMessages;
use pack::PackBuilder;
use records::{CLUSTER_KEY, HASH_KEY};

/// Number of markers whose hash is kept.
const MARKERS_KEPT: usize = 16;

/// The state machine's memory; its disk is behind [`Tables`] and [`Sink`].
pub(crate) struct Machine {
    cluster: Arc<ClusterState>,
    next_queue: u32,
    queues: BTreeMap<QueueId, QueueState>,
    /// Only of queues whose settings differ from the defaults.
    settings: BTreeMap<QueueId, QueueSettings>,
    names: HashMap<QueueName, QueueId>,
    consumers: BTreeMap<ConsumerId, ConsumerRecord>,
    markers: BTreeSet<u64>,
    producers: Producers,
    messages: KnownMessages,
    /// Empty between commands.
    pack: PackBuilder,
    redeliveries: Redeliveries,
    /// The subscriptions of each topic space.
    topics: HashMap<QueueId, Subscriptions>,
    shares: Shares,
    /// The transactions in doubt.
    in_doubt: BTreeSet<TransactionName>,
    changes: Changes,
    /// Timers that this batch ended.
    fired: HashSet<Timer>,
    hash: u128,
}

impl Machine {
    /// Reads the small records.
    pub(crate) fn load(tables: &dyn Tables) -> io::Result<Self> {
        let cluster = match tables.get(Family::Meta, CLUSTER_KEY)? {
            Some(bytes) => decode(&bytes)?,
            None => ClusterState::default(),
        };
        let next_queue = match tables.get(Family::Meta, NEXT_QUEUE_KEY)? {
            Some(bytes) => decode(&bytes)?,
            None => 1,
        };
        let hash = match tables.get(Family::Meta, HASH_KEY)? {
            Some(bytes) => u128::from_be_bytes(records::array(&bytes)?),
            None => 0,
        };
        let mut queues = BTreeMap::new();
        let mut names = HashMap::new();
        for (_, value) in tables.scan(Family::Queues)? {
            let queue: QueueState = decode(&value)?;
            names.insert(queue.name.clone(), queue.id);
            queues.insert(queue.id, queue);
        }
        let mut settings = BTreeMap::new();
        for (key, value) in tables.scan(Family::Settings)? {
            settings.insert(QueueId(u32::from_be_bytes(records::array(&key)?)), decode(&value)?);
        }
        let mut consumers = BTreeMap::new();
        for (key, value) in tables.scan(Family::Consumers)? {
            consumers.insert(ConsumerId(records::array(&key)?), ConsumerRecord::read(&value)?);
        }
        let mut markers = BTreeSet::new();
        for (key, _) in tables.scan(Family::Markers)? {
            markers.insert(u64::from_be_bytes(records::array(&key)?));
        }
        let mut in_doubt = BTreeSet::new();
        for (key, _) in tables.scan(Family::InDoubt)? {
            in_doubt.insert(transactions::name_of(&key)?);
        }
        let mut machine = Self {
            cluster: Arc::new(cluster),
            next_queue,
            queues,
            settings,
            names,
            consumers,
            markers,
            producers: Producers::default(),
            messages: KnownMessages::default(),
            pack: PackBuilder::default(),
            redeliveries: Redeliveries::default(),
            topics: HashMap::new(),
            shares: Shares::default(),
            in_doubt,
            changes: Changes::load(tables)?,
            fired: HashSet::new(),
            hash,
        };
        for (queue, record) in machine.settings.clone() {
            machine.subscribe(queue, &record.kind);
        }
        Ok(machine)
    }

    /// The replicated facts about the cluster.
    pub(crate) fn cluster(&self) -> &Arc<ClusterState> {
        &self.cluster
    }

    /// Applies one command at its place in the log; its writes go to `sink`. After an error the memory may be ahead of
    /// the disk: the store stops.
    pub(crate) fn apply(
        &mut self,
        index: u64,
        command: &Command,
        tables: &dyn Tables,
        sink: &mut dyn Sink,
    ) -> io::Result<Applied> {
        #[cfg(test)]
        tests::fail_if_seeded(command);
        let mut apply = Apply::new(self.cluster.generation, index, self.hash, tables, sink);
        let applied = self.command(&mut apply, command)?;
        self.hash = apply.writer.finish();
        Ok(applied)
    }

    fn command(&mut self, apply: &mut Apply<'_>, command: &Command) -> io::Result<Applied> {
        let (index, writer) = (apply.index(), &mut apply.writer);
        Ok(match command {
            Command::Genesis { cluster, generation, members, policy } => {
                self.genesis(*cluster, *generation, members, policy, writer)?
            }
            Command::Activate { .. }
            | Command::Stop { .. }
            | Command::SetPolicy { .. }
            | Command::Hold { .. }
            | Command::Admit { .. }
            | Command::Dismiss { .. }
            | Command::Marker { .. }
            | Command::Engine { .. }
            | Command::SetAddress { .. }
            | Command::ChangePolicy { .. }
            | Command::Once { .. }
            | Command::Recall { .. }
                if self.cluster.cluster.is_none() =>
            {
                Applied::Refused { why: "the cluster has not begun yet".to_owned() }
            }
            Command::Activate { host, reason, at_ms } => self.activate(index, host, *reason, *at_ms, writer)?,
            Command::Stop { epoch, reason, at_ms } => self.stop(*epoch, reason, *at_ms, writer)?,
            Command::SetPolicy { policy } => self.set_policy(policy, writer)?,
            Command::Hold { server } => self.hold(server.as_ref(), writer)?,
            Command::Admit { name, role, address } => self.admit(name, *role, address, writer)?,
            Command::Dismiss { name } => self.dismiss(name, writer)?,
            Command::ChangePolicy { change } => self.change_policy(change, writer)?,
            Command::SetAddress { name, address } => self.set_address(name, address, writer)?,
            Command::Marker { nonce: _ } => self.mark(index, writer),
            Command::Engine { epoch, at_ms, ops } => self.engine(apply, *epoch, *at_ms, ops)?,
            Command::Once { change, command } => {
                if let Some(answer) = self.changes.answer(*change) {
                    return Ok(Applied::Repeated(Box::new(answer.clone())));
                }
                let applied = self.command(apply, command)?;
                if !matches!(applied, Applied::Refused { .. }) {
                    self.changes.remember(*change, applied.clone(), &mut apply.writer);
                }
                applied
            }
            Command::Recall { change } => match self.changes.answer(*change) {
                Some(answer) => Applied::Repeated(Box::new(answer.clone())),
                None => Applied::Done,
            },
        })
    }

    /// True if the batch must be written before this command, which reads from the tables what earlier commands wrote.
    pub(crate) fn begins_batch(command: &Command) -> bool {
        engine::reads_messages(command)
    }

    /// Replaces the record of the cluster, for a forced recovery.
    pub(crate) fn replace_cluster(&mut self, cluster: ClusterState, sink: &mut dyn Sink) {
        let mut writer = Writer::new(self.hash, sink);
        writer.put(Family::Meta, CLUSTER_KEY, &encode(&cluster));
        self.hash = writer.finish();
        self.cluster = Arc::new(cluster);
    }

    /// Writes the running hash, once per batch. Call it last before the batch is written.
    pub(crate) fn seal_batch(&self, sink: &mut dyn Sink) {
        sink.put(Family::Meta, HASH_KEY, &self.hash.to_be_bytes());
    }

    /// Call it when the batch is written: reads find it in the tables from now on.
    pub(crate) fn end_batch(&mut self) {
        self.producers.end_batch();
        self.messages.end_batch();
        self.redeliveries.end_batch();
        self.shares.end_batch();
        self.fired.clear();
    }

    fn mark(&mut self, index: u64, writer: &mut Writer<'_>) -> Applied {
        // The hash up to here, so that a marker's own record is not part of what it vouches for.
        let hash = writer.hash_so_far();
        writer.put(Family::Markers, &index.to_be_bytes(), &hash.to_be_bytes());
        self.markers.insert(index);
        while self.markers.len() > MARKERS_KEPT {
            if let Some(oldest) = self.markers.pop_first() {
                writer.delete(Family::Markers, &oldest.to_be_bytes());
            }
        }
        Applied::Marked { hash }
    }
}
