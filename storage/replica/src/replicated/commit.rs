//! Proposing commands.

use baton_domain::{Command, Committed};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::watch;

use crate::disk::Room;
use crate::error::CommitError;
use crate::failure::Failure;
use crate::replicated::{EncodedCommand, Raft, start};

/// Proposes commands to consensus.
#[derive(Clone)]
pub(crate) struct Proposer {
    pub(crate) raft: Raft,
    pub(crate) failure: Failure,
    pub(crate) lost: watch::Receiver<u64>,
    pub(crate) room: Room,
}

impl Proposer {
    /// The command is in consensus' queue when this returns: the order of the calls is the order in the log.
    pub(crate) fn commit(&self, command: &Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        if let Some(why) = self.failure.get() {
            return ready(Err(CommitError::Failed(why.to_owned()))).boxed();
        }
        // Before consensus is asked: its log cannot be left half-written, so that a write that fails there ends the
        // replica.
        if let Some(shortage) = self.room.shortage().filter(|_| command.needs_room()) {
            return ready(Err(CommitError::NoRoom(shortage))).boxed();
        }
        let command = EncodedCommand::of(command);
        let (raft, failure) = (self.raft.clone(), self.failure.clone());
        // From before the command is proposed: a loss after that concerns it.
        let mut lost = self.lost.clone();
        lost.mark_unchanged();
        let written = start(async move { raft.client_write(command).await });
        async move {
            let written = tokio::select! {
                biased;
                written = written => written,
                _ = lost.changed() => return Err(CommitError::Unknown),
            };
            match written {
                Ok(written) => Ok(Committed { index: written.log_id.index, applied: written.data }),
                // Refused before it was written.
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(CommitError::NotLeader { leader: forward.leader_id })
                }
                // Written here, and then given up for another leader's log, which may hold it too.
                Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Err(CommitError::Unknown),
                Err(RaftError::APIError(
                    error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)),
                )) => Err(CommitError::Failed(error.to_string())),
                Err(RaftError::Fatal(fatal)) => {
                    Err(CommitError::Failed(failure.get().map_or_else(|| fatal.to_string(), str::to_owned)))
                }
            }
        }
        .boxed()
    }
}
