//! Transactions: acknowledgements and sends on any destinations as one step.
//!
//! A session numbers its transactions as a producer numbers its messages, so that a transaction whose answer was lost
//! can be sent again. A transaction is done as a whole or not at all: above all, each message that it takes off a queue
//! must still exist. So a message that was delivered to two consumers, because one of them was thought dead, is
//! acknowledged by one transaction, and the other transaction is rolled back.

use std::collections::HashSet;
use std::io;

use baton_domain::seeded::{self, Bug};
use baton_domain::{
    Changes, DestinationKind, Destinations, Lane, MessageId, OpResult, Prepared, ProducerId, QueueId, SessionId,
    TransactionName, TransactionSend, topic,
};

use super::apply::{Apply, earlier};
use super::messages::note_arrival;
use super::records::{ProducerRecord, damaged, decode, encode};
use super::{Family, Machine, Tables};

/// Queue number in the records of sessions. No queue has it.
pub(super) const SESSIONS: QueueId = QueueId(0);

/// Key of a session among the producers.
fn key(session: SessionId) -> ProducerId {
    ProducerId(session.0)
}

/// Reads the name of a transaction in doubt from its record's key.
pub(crate) fn name_of(key: &[u8]) -> io::Result<TransactionName> {
    let name = std::str::from_utf8(key).ok().and_then(|name| TransactionName::new(name).ok());
    name.ok_or_else(|| damaged("invalid transaction name in a record's key"))
}

impl Machine {
    pub(super) fn open_session(&mut self, apply: &mut Apply<'_>, session: SessionId) -> io::Result<OpResult> {
        let known = self.producer(key(session), apply.tables)?;
        let record = known.unwrap_or_else(|| ProducerRecord::new(SESSIONS, apply.at_ms)).heard(apply.at_ms);
        if known != Some(record) {
            self.write_producer(key(session), record, &mut apply.writer);
        }
        Ok(record.registered(false))
    }

    pub(super) fn transact(
        &mut self,
        apply: &mut Apply<'_>,
        session: SessionId,
        number: u64,
        sends: &[TransactionSend],
        settles: &[(QueueId, Vec<MessageId>)],
    ) -> io::Result<OpResult> {
        let known = match self.judge(session, number, apply.tables)? {
            Ok(known) => known,
            Err(OpResult::Done) if seeded::is(Bug::TransactionTwice) => {
                return Ok(OpResult::Changed(self.carry_out(apply, sends, &[])?));
            }
            Err(result) => return Ok(result),
        };
        if let Some(refused) = self.cannot_transact(sends, settles, apply.tables)? {
            return Ok(refused);
        }
        let half = seeded::is(Bug::HalfTransaction) && number % 8 == 1;
        let sends = if half { &sends[..sends.len().min(1)] } else { sends };
        let changes = self.carry_out(apply, sends, settles)?;
        self.write_producer(
            key(session),
            ProducerRecord { last: number, ..known.heard(apply.at_ms) },
            &mut apply.writer,
        );
        Ok(OpResult::Changed(changes))
    }

    /// The session's record if this is its next number; else the answer.
    fn judge(
        &mut self,
        session: SessionId,
        number: u64,
        tables: &dyn Tables,
    ) -> io::Result<Result<ProducerRecord, OpResult>> {
        let Some(known) = self.producer(key(session), tables)?.filter(|known| known.queue == SESSIONS) else {
            return Ok(Err(OpResult::ProducerUnknown));
        };
        let expected = known.last.saturating_add(1);
        if number == 0 || number > expected {
            return Ok(Err(OpResult::Gap { expected }));
        }
        // A lower number was done before; its answer was lost.
        Ok(if number < expected { Err(OpResult::Done) } else { Ok(known) })
    }

    /// Stores a transaction that can be done, until it is decided.
    pub(super) fn prepare(
        &mut self,
        apply: &mut Apply<'_>,
        name: &TransactionName,
        prepared: Prepared,
    ) -> io::Result<OpResult> {
        let known = match self.judge(prepared.session, prepared.number, apply.tables)? {
            Ok(known) => known,
            Err(OpResult::Done) if !self.in_doubt.contains(name) => {
                return Ok(OpResult::Refused { why: format!("the transaction {name} was decided already") });
            }
            Err(result) => return Ok(result),
        };
        if self.in_doubt.contains(name) {
            return Ok(OpResult::Refused { why: format!("another transaction {name} is in doubt") });
        }
        if let Some(refused) = self.cannot_transact(&prepared.sends, &prepared.settles, apply.tables)? {
            return Ok(refused);
        }
        let record = ProducerRecord { last: prepared.number, ..known.heard(prepared.at_ms) };
        self.write_producer(key(prepared.session), record, &mut apply.writer);
        apply.writer.put(Family::InDoubt, name.as_str().as_bytes(), &encode(&prepared));
        self.in_doubt.insert(name.clone());
        Ok(OpResult::Done)
    }

    /// Commits or drops a prepared transaction. The messages that it takes off queues exist: engines give them to
    /// nobody.
    pub(super) fn resolve(
        &mut self,
        apply: &mut Apply<'_>,
        name: &TransactionName,
        commit: bool,
    ) -> io::Result<OpResult> {
        if !self.in_doubt.remove(name) {
            return Ok(OpResult::NoSuchTransaction);
        }
        let key = name.as_str().as_bytes();
        apply.writer.delete(Family::InDoubt, key);
        if !commit {
            return Ok(OpResult::Done);
        }
        let record =
            apply.tables.get(Family::InDoubt, key)?.ok_or_else(|| damaged("a prepared transaction is not there"))?;
        let Prepared { sends, settles, .. } = decode(&record)?;
        Ok(OpResult::Changed(self.carry_out(apply, &sends, &settles)?))
    }

    fn carry_out(
        &mut self,
        apply: &mut Apply<'_>,
        sends: &[TransactionSend],
        settles: &[(QueueId, Vec<MessageId>)],
    ) -> io::Result<Changes> {
        let mut changes = Changes::default();
        for (queue, messages) in settles {
            for id in messages {
                if self.leave(apply, *queue, *id)? {
                    changes.removed.push((*queue, *id));
                }
            }
            if let Some(state) = self.queues.get(queue) {
                apply.writer.queue_changed(state.id);
            }
        }
        let mut copies = Vec::new();
        for TransactionSend { queue, messages } in sends {
            let targets = self.names.get(queue).map(|queue| self.forwarded(*queue));
            copies.extend(targets.into_iter().flatten().map(|target| (target, messages)));
        }
        for (queue, messages) in copies {
            let due_ms = if self.kind(queue) == Some(&DestinationKind::TopicSpace) {
                let (first, all) = (apply.next, messages.iter().collect::<Vec<_>>());
                let published = self.publish(apply, queue, messages.iter());
                for (subscription, places) in published.matched {
                    let Some(state) = self.queues.get(&subscription) else { continue };
                    for at in places {
                        let priority = all.get(at as usize).map_or(0, |message| message.asks().priority());
                        note_arrival(
                            &mut changes,
                            subscription,
                            &state.name,
                            first.after(at, Lane::of_priority(priority)),
                        );
                    }
                }
                published.due_ms
            } else {
                self.store(apply, queue, messages.iter(), false, Some(&mut changes))
            };
            changes.due_ms = earlier(changes.due_ms, due_ms);
        }
        Ok(changes)
    }

    /// The answer to a transaction that cannot be done as a whole.
    fn cannot_transact(
        &mut self,
        sends: &[TransactionSend],
        settles: &[(QueueId, Vec<MessageId>)],
        tables: &dyn Tables,
    ) -> io::Result<Option<OpResult>> {
        for TransactionSend { queue, messages } in sends {
            let kind = self.names.get(queue).and_then(|number| self.kind(*number));
            let wrong = match kind {
                None => Some(format!("there is no queue {queue}")),
                Some(DestinationKind::Subscription(_)) => {
                    Some(format!("{queue} is a subscription: send to its topic space"))
                }
                Some(DestinationKind::TopicSpace) => messages
                    .iter()
                    .find_map(|message| topic::check_topic(message.asks().topic()).err())
                    .map(|e| e.to_string()),
                Some(DestinationKind::Queue) => None,
            };
            if let Some(why) = wrong {
                return Ok(Some(OpResult::Refused { why }));
            }
        }
        let mut seen = HashSet::new();
        for (queue, messages) in settles {
            for id in messages {
                if !seen.insert((*queue, *id)) {
                    let why = format!("message {id} is in the transaction twice");
                    return Ok(Some(OpResult::Refused { why }));
                }
                if self.known(*queue, *id, tables)?.is_none() {
                    return Ok(Some(OpResult::Gone { message: *id }));
                }
            }
        }
        Ok(None)
    }
}
