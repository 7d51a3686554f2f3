//! The outcome of an entry, operation by operation: the one place that says where the result of each is dealt with.

use baton_client::protocol::EngineReply;
use baton_domain::{Applied, Committed, OpResult};
use baton_replica::CommitError;

use super::Running;
use super::post::Posted;
use super::produce::Sent;
use crate::engine::context::{Context, Halt};
use crate::engine::message::{EntryId, RequestId};
use crate::engine::parts::purpose::{Purpose, Resolved};

impl Running {
    /// Takes the outcome of an entry. An entry that was refused or whose outcome is unknown ends the engine; its requests
    /// are then answered with what is known: nothing was written, or nobody knows.
    pub(in crate::engine) fn committed(
        &mut self,
        entry: EntryId,
        result: Result<Committed, CommitError>,
        unwritten: &mut Vec<RequestId>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        if !self.proposals.is_in_flight(entry) {
            // An answer to an entry of an earlier activation says nothing about this one.
            return Ok(());
        }
        let halt = match result {
            Ok(Committed { applied: Applied::Engine { results }, .. }) => return self.applied(entry, results, cx),
            Ok(Committed { applied: Applied::Fenced { current }, .. }) => {
                self.unwritten(entry, unwritten);
                Halt { why: format!("fenced by a newer activation: {current}") }
            }
            Ok(Committed {
                applied:
                    applied @ (Applied::Done
                    | Applied::Activated { .. }
                    | Applied::Admitted { .. }
                    | Applied::Policy { .. }
                    | Applied::Repeated(_)
                    | Applied::Marked { .. }
                    | Applied::Refused { .. }),
                ..
            }) => Halt { why: format!("unexpected result of the store to an engine's writes: {applied:?}") },
            Err(CommitError::NotLeader { .. }) => {
                self.unwritten(entry, unwritten);
                Halt { why: "this server no longer leads the store".to_owned() }
            }
            // Rare: the engine refuses messages before it comes to that. What came in between is sent again.
            Err(error @ CommitError::NoRoom(_)) => {
                self.unwritten(entry, unwritten);
                Halt { why: error.to_string() }
            }
            Err(error @ (CommitError::Unknown | CommitError::Failed(_))) => Halt { why: error.to_string() },
        };
        Err(halt)
    }

    fn unwritten(&mut self, entry: EntryId, requests: &mut Vec<RequestId>) {
        if let Some(landed) = self.proposals.landed(entry) {
            requests.extend(landed.purposes.into_iter().flat_map(Purpose::requests));
        }
    }

    fn applied(&mut self, entry: EntryId, results: Vec<OpResult>, cx: &mut Context<'_>) -> Result<(), Halt> {
        let Some(entry) = self.proposals.landed(entry) else { return Ok(()) };
        let mut results = results.into_iter();
        for purpose in entry.purposes {
            if let Purpose::Settled { requests } = purpose {
                self.pending -= requests.len();
                requests.into_iter().for_each(|request| cx.reply(request, EngineReply::Done));
                continue;
            }
            let Some(result) = results.next() else {
                return Err(Halt { why: "the store returned fewer results than writes".to_owned() });
            };
            let what = purpose.name();
            self.resolve(purpose, result, entry.at_ms, cx)
                .map_err(|result| Halt { why: format!("unexpected result of the store to {what}: {result}") })?;
        }
        Ok(())
    }

    fn resolve(&mut self, purpose: Purpose, result: OpResult, at_ms: u64, cx: &mut Context<'_>) -> Resolved {
        match purpose {
            Purpose::CreateQueue { request, name } => self.queue_created(request, name, result, cx),
            Purpose::Create { request, record, asked, attach } => {
                self.created(request, *record, &asked, attach, result, cx)
            }
            Purpose::Configure { request, name } => self.configured(request, name, result, cx),
            Purpose::DeleteQueue { request, name } | Purpose::Delete { request, name } => {
                self.deleted(request, name, result, cx)
            }
            Purpose::Recall { request, change, asked } => self.recalled(request, change, *asked, result, cx),
            Purpose::Replay { request, queue, messages } => self.replayed(request, queue, &messages, result, cx),
            Purpose::Purge { request, queue, left, purged } => self.purged(request, queue, (left, purged), result, cx),
            Purpose::OpenProducer { request, producer, name } => {
                self.producer_opened(request, producer, name, result, cx)
            }
            Purpose::TouchProducer { request } => self.producer_touched(request, result, cx),
            Purpose::CloseProducer { request } => self.producer_closed(request, result, cx),
            Purpose::Send { request, producer, through, messages, dispatch } => {
                let sent = Sent { request, producer, through, messages: &messages, dispatch };
                self.sent(sent, result, at_ms, cx)
            }
            Purpose::Post { request, early: _, name, messages, dispatch } => {
                self.posted(Posted { request, name, messages: &messages, dispatch }, result, at_ms, cx)
            }
            Purpose::SetAside => self.was_set_aside(result, cx),
            Purpose::Attach { request, consumer, name } => self.attached(request, consumer, name, result, cx),
            Purpose::Detach { request } => self.detached(request, result, cx),
            Purpose::CountLost { queue } => self.lost_counted(queue, result, cx),
            Purpose::Dispatch { queue, through } => self.dispatched(queue, through, result),
            Purpose::Settle { queue, messages } => self.settled(queue, messages, result),
            Purpose::Requeue { queue, messages } => self.requeued(queue, messages, result, cx),
            Purpose::Reject { queue, messages, reason } => self.rejected(queue, &messages, reason, result, cx),
            Purpose::Fire { timers } => self.fired(&timers, result, cx),
            Purpose::OpenSession { request } => self.session_opened(request, result, cx),
            Purpose::CheckTransaction { request, session, number, words } => {
                self.transaction_checked(request, (session, number), words, result, cx)
            }
            Purpose::Transact { request, session, number, holds } => {
                self.transacted(request, (session, number), &holds, result, cx)
            }
            Purpose::Prepare { request, transaction, holds } => {
                self.prepared(request, *transaction, &holds, result, cx)
            }
            Purpose::Decide { request, name } => self.decided(request, &name, result, cx),
            // Nothing follows from these. `applied` answers the second one, which has no result.
            Purpose::ForgetProducers | Purpose::Settled { .. } => match result {
                OpResult::Done => Ok(()),
                other => Err(other.into()),
            },
        }
    }
}
