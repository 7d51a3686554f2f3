//! The keeper of a store, as a trait: it puts commands into one order and keeps them, by replicas that vote or by a log
//! that all servers reach. The state that the commands lead to is the same for both, and no part of the keeper.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_domain::{Command, Committed, Member, ReplicaId};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::error::{CommitError, HandOverError, Shortage, VotingError};
use crate::lease::Lease;
use crate::status::StoreStatus;

/// Orders the commands of a store and keeps them. Its lease and its tasks end when it is dropped.
pub(crate) trait Keeper: Send + Sync + 'static {
    /// Takes the command's place in line at once; the future resolves when the command is durable and applied here.
    fn commit(&self, command: &Command) -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// This replica's place among the others.
    fn status(&self) -> watch::Receiver<StoreStatus>;

    /// The lease under which this replica leads.
    fn lease(&self) -> Lease;

    /// Hands the lead to another replica; resolves when that one leads.
    fn hand_over(&self, to: ReplicaId) -> BoxFuture<'_, Result<(), HandOverError>>;

    /// Takes note of all replicas to which this server has links.
    fn linked(&self, replicas: BTreeSet<ReplicaId>);

    /// Takes note of proof that the process of this incarnation, which held that replica, died.
    fn died(&self, replica: ReplicaId, incarnation: u64);

    /// Takes a frame that replica `from` sent. It has its place in line when this returns; the future resolves to the
    /// answer.
    fn receive(&self, from: ReplicaId, frame: Bytes) -> BoxFuture<'static, Vec<u8>>;

    /// The votes; `None` where no replica votes.
    fn voting(&self) -> Option<&dyn Voting>;

    /// Age of the oldest write that is not durable yet.
    fn waits(&self) -> Duration;

    /// Bytes that have arrived, and bytes in total, while a snapshot fills this replica.
    fn filling(&self) -> Option<(u64, u64)>;

    /// Bytes that are free for messages.
    fn free_bytes(&self) -> u64;

    /// The shortage, while only commands that free space are taken.
    fn shortage(&self) -> Option<Shortage>;

    /// Duration of a leader's lease, in milliseconds.
    fn lease_ms(&self) -> u64;

    /// Stops taking part, and closes the store with everything on disk.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Changes which replicas vote.
pub(crate) trait Voting {
    /// Starts sending the log to a member that does not vote yet.
    fn add_learner<'a>(&'a self, member: &'a Member) -> BoxFuture<'a, Result<(), VotingError>>;

    /// Changes who votes, in one step that is safe for the data; voters and learners that are not in `voters` or
    /// `learners` are left out.
    fn change_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> BoxFuture<'_, Result<(), VotingError>>;
}
