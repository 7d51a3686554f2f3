//! The types that consensus is configured with.

use std::{fmt, io};

use baton_domain::{Applied, Command, Member, ReplicaId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use crate::skipped::SkippedEntry;
use crate::state::{decode_command, encode_command};

/// A command, encoded once by its proposer and decoded where it is applied.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EncodedCommand(pub(crate) Bytes);

impl EncodedCommand {
    /// Encodes a command.
    pub(crate) fn of(command: &Command) -> Self {
        Self(encode_command(command))
    }

    /// Decodes it.
    pub(crate) fn decode(&self) -> io::Result<Command> {
        decode_command(&self.0)
    }
}

impl fmt::Debug for EncodedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for EncodedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// Server and address of a replica in the membership, for people who read logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaNode {
    /// The server that holds it.
    pub(crate) server: String,
    /// Its address.
    pub(crate) address: String,
}

impl From<&Member> for ReplicaNode {
    fn from(member: &Member) -> Self {
        Self { server: member.name.to_string(), address: member.address.clone() }
    }
}

#[cfg(not(test))]
pub(crate) use openraft::TokioRuntime as Runtime;
/// In the crate's own tests consensus draws from a seeded generator.
#[cfg(test)]
pub(crate) type Runtime = openraft::rt::deterministic_rng::DeterministicRng<openraft::TokioRuntime>;

openraft::declare_raft_types!(
    pub(crate) RaftConfig:
        D = EncodedCommand,
        R = Applied,
        NodeId = ReplicaId,
        Node = ReplicaNode,
        AsyncRuntime = Runtime,
        ErrorSource = Cause,
);

pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, ReplicaId>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type EntryPayload = openraft::EntryPayload<EncodedCommand, ReplicaId, ReplicaNode>;
pub(crate) type Entry = openraft::Entry<LeaderId, EntryPayload>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, ReplicaId, ReplicaNode>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, ReplicaId, ReplicaNode>;
pub(crate) type Snapshot<D> = openraft::Snapshot<LeaderId, ReplicaId, ReplicaNode, D>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<RaftConfig>;
pub(crate) type AppendResponse = openraft::raft::AppendEntriesResponse<RaftConfig>;
pub(crate) type AppendResult = openraft::raft::StreamAppendResult<RaftConfig>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<RaftConfig>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<RaftConfig>;
pub(crate) type TransferRequest = openraft::raft::TransferLeaderRequest<RaftConfig>;
pub(crate) type TransferResponse = openraft::raft::TransferLeaderResponse<RaftConfig>;
pub(crate) type SnapshotResponse = openraft::raft::SnapshotResponse<RaftConfig>;
pub(crate) type RpcError = openraft::error::RPCError<RaftConfig>;
pub(crate) type DataMetrics = openraft::metrics::RaftDataMetrics<RaftConfig>;
pub(crate) type ServerMetrics = openraft::metrics::RaftServerMetrics<RaftConfig>;

impl From<LogId> for SkippedEntry {
    fn from(log_id: LogId) -> Self {
        let leader = log_id.committed_leader_id();
        Self { index: log_id.index, term: leader.term, leader: leader.node_id }
    }
}
