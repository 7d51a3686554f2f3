//! Transactions: what is taken off queues and what is sent, on any destinations, as one.
//!
//! A session numbers its transactions as a producer numbers its messages, so that one whose answer was lost can be sent
//! again. Nothing of a transaction is done unless all of it can be: above all, each message that it takes off must still
//! be there. So a message that was delivered to two consumers, because one of them was thought dead, is taken off by one
//! transaction, and what the other one did is not done.

use std::io;

use super::engine::write_queue;
use super::messages::{Entry, earlier, note_arrival};
use super::records::ProducerRecord;
use super::{Machine, Tables, Writer};
use crate::{Changes, DestinationKind, Lane, MessageId, OpResult, ProducerId, QueueId, TransactionSend, topic};

/// In the place of a producer's queue: the record is a session's. No queue has that number.
pub(super) const SESSIONS: QueueId = QueueId(0);

impl Machine {
    pub(super) fn open_session(
        &mut self,
        at_ms: u64,
        session: ProducerId,
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let known = self.producer(session, tables)?;
        let record = match known {
            Some(known) => ProducerRecord { at_ms: known.at_ms.max(at_ms), ..known },
            None => ProducerRecord { queue: SESSIONS, last: 0, at_ms },
        };
        if known != Some(record) {
            self.write_producer(session, record, writer);
        }
        Ok(OpResult::Producer { queue: record.queue, next: record.last + 1 })
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn transact(
        &mut self,
        entry: &mut Entry,
        session: ProducerId,
        number: u64,
        sends: &[TransactionSend],
        settles: &[(QueueId, Vec<MessageId>)],
        tables: &dyn Tables,
        writer: &mut Writer<'_>,
    ) -> io::Result<OpResult> {
        let Some(known) = self.producer(session, tables)?.filter(|known| known.queue == SESSIONS) else {
            return Ok(OpResult::ProducerUnknown);
        };
        let expected = known.last + 1;
        if number == 0 || number > expected {
            return Ok(OpResult::Gap { expected });
        }
        if number < expected {
            // It was done; its answer was lost.
            return Ok(OpResult::Done);
        }
        if let Some(why) = self.cannot_transact(sends, settles, tables)? {
            return Ok(OpResult::Refused { why });
        }
        let mut changes = Changes::default();
        for (queue, messages) in settles {
            for id in messages {
                if self.leave(*queue, *id, tables, writer)? {
                    changes.removed.push((*queue, *id));
                }
            }
            if let Some(state) = self.queues.get(queue) {
                write_queue(state, writer);
            }
        }
        let mut copies = Vec::new();
        for TransactionSend { queue, messages } in sends {
            let targets = self.names.get(queue).map(|queue| self.forwarded(*queue));
            copies.extend(targets.into_iter().flatten().map(|target| (target, messages)));
        }
        for (queue, messages) in copies {
            let due_ms = if self.kind(queue) == Some(&DestinationKind::TopicSpace) {
                let first = entry.next;
                let published = self.publish(entry, queue, messages, writer);
                for (subscription, places) in published.matched {
                    let Some(state) = self.queues.get(&subscription) else { continue };
                    for at in places {
                        let priority = messages.get(at as usize).map_or(0, crate::Message::priority);
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
                self.store(entry, queue, messages, false, Some(&mut changes), writer)
            };
            changes.due_ms = earlier(changes.due_ms, due_ms);
        }
        let record = ProducerRecord { last: number, at_ms: known.at_ms.max(entry.at_ms), ..known };
        self.write_producer(session, record, writer);
        Ok(OpResult::Changed(changes))
    }

    /// Why a transaction cannot be done as a whole.
    fn cannot_transact(
        &mut self,
        sends: &[TransactionSend],
        settles: &[(QueueId, Vec<MessageId>)],
        tables: &dyn Tables,
    ) -> io::Result<Option<String>> {
        for TransactionSend { queue, messages } in sends {
            let kind = self.names.get(queue).and_then(|number| self.kind(*number));
            let wrong = match kind {
                None => Some(format!("there is no queue {queue}")),
                Some(DestinationKind::Subscription(_)) => {
                    Some(format!("{queue} is a subscription: send to its topic space"))
                }
                Some(DestinationKind::TopicSpace) => {
                    messages.iter().find_map(|message| topic::check_topic(message.topic()).err()).map(|e| e.to_string())
                }
                Some(DestinationKind::Queue) => None,
            };
            if wrong.is_some() {
                return Ok(wrong);
            }
        }
        for (queue, messages) in settles {
            for (at, id) in messages.iter().enumerate() {
                if messages[..at].contains(id) {
                    return Ok(Some(format!("message {id} is in the transaction twice")));
                }
                if self.recent.get(*queue, *id, tables)?.is_none() {
                    return Ok(Some(format!(
                        "message {id} is not there any more: somebody else took it, or it expired"
                    )));
                }
            }
        }
        Ok(None)
    }
}
