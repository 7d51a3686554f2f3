//! Operations of clients: client, request, answer, and the times of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Event, Line};
use super::received::Received;
use super::trace::Epoch;

/// An operation. Times are CLOCK_BOOTTIME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The client.
    pub client: String,
    /// The request.
    pub what: Request,
    /// Time of the request.
    pub asked_ns: u64,
    /// Time of the answer; `None` if there was none, and then its outcome is unknown.
    pub answered_ns: Option<u64>,
    /// The answer.
    pub answer: Answer,
}

/// Requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The acknowledgement of a message.
    Acknowledge {
        /// Its queue.
        destination: String,
        /// Its line.
        line: String,
        /// The newest engine that the consumer knew when it was answered.
        epoch: Option<Epoch>,
    },
    /// The end of a transaction that moves messages.
    Transaction {
        /// Suffix of all messages that it sent.
        tag: String,
        /// The lines that it moves.
        lines: Vec<String>,
        /// True if it was to be committed.
        commit: bool,
    },
    /// A producer's number: the answer is the next one.
    Open {
        /// The producer.
        producer: String,
    },
    /// A message with a number from 1.
    Send {
        /// The producer.
        producer: String,
        /// The number.
        number: u64,
    },
    /// A register is written, or only read.
    Register {
        /// Which.
        register: String,
        /// The field and its new value.
        write: Option<(usize, String)>,
    },
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing, or that it is not known.
    Unknown,
    /// It is done.
    Done,
    /// It is not done, and never will be.
    NotDone(String),
    /// A number.
    Number(u64),
    /// The fields of a register after it was done.
    Saw(Vec<String>),
}

/// The output of a client, in order.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Its operations.
    pub operations: Vec<Operation>,
    /// The messages that it received, with the time.
    pub received: Vec<(u64, Received)>,
    /// The last number that it sent, or received from the engine.
    pub last_number: u64,
}

/// A client that prints events.
struct Reader<'a> {
    client: &'a str,
    /// Its queue, or the name of the producer.
    place: &'a str,
    account: Account,
    epoch: Option<Epoch>,
    /// The message of each id.
    lines: BTreeMap<String, String>,
    /// Operations that wait for an answer, by the id in their events.
    open: BTreeMap<String, usize>,
}

/// Reads what a client printed. `place` is where it consumes, or the name under which it produces. Half a line, of a
/// client that was killed, is left out.
#[must_use]
pub(crate) fn read(client: &str, place: &str, printed: &[String]) -> Account {
    let mut reader = Reader {
        client,
        place,
        account: Account::default(),
        epoch: None,
        lines: BTreeMap::new(),
        open: BTreeMap::new(),
    };
    for line in printed {
        if let Ok(Line { at_ns, event }) = serde_json::from_str(line) {
            reader.take(at_ns, event);
        }
    }
    reader.account
}

impl Reader<'_> {
    fn take(&mut self, at_ns: u64, event: Event) {
        match event {
            Event::Connected { epoch } => self.epoch = Epoch::parse(&epoch).max(self.epoch),
            Event::Got { id, epoch, body, .. } => {
                let received = Received::taken(0, id.clone(), Epoch::parse(&epoch), &body);
                self.epoch = received.epoch.max(self.epoch);
                self.lines.insert(id, received.line.clone());
                self.account.received.push((at_ns, received));
            }
            Event::Acknowledging { ids } => ids.into_iter().for_each(|id| self.acknowledges(at_ns, id)),
            Event::Settled { ids } => self.settled(at_ns, ids.iter()),
            Event::Opening => {
                let producer = self.place.to_owned();
                self.asks(at_ns, "open".to_owned(), Request::Open { producer });
            }
            Event::Opened { next } => {
                self.account.last_number = self.account.last_number.max(next - 1);
                self.answered(at_ns, "open", Answer::Number(next));
            }
            Event::Sending { number } => {
                self.account.last_number = self.account.last_number.max(number);
                let producer = self.place.to_owned();
                self.asks(at_ns, number.to_string(), Request::Send { producer, number });
            }
            Event::Confirmed { number } => self.answered(at_ns, &number.to_string(), Answer::Done),
            Event::Ending { tag, ids, commit } => {
                let lines = ids.iter().filter_map(|id| self.lines.get(id).cloned()).collect();
                if commit {
                    ids.into_iter().for_each(|id| self.acknowledges(at_ns, id));
                }
                self.asks(at_ns, tag.clone(), Request::Transaction { tag, lines, commit });
            }
            Event::Ended { tag, committed, why } => self.transaction_ended(at_ns, &tag, committed, why),
            Event::Asking { register, write } => {
                self.asks(at_ns, "register".to_owned(), Request::Register { register, write });
            }
            Event::Answered { saw } => {
                self.answered(at_ns, "register", saw.map_or(Answer::Done, Answer::Saw));
            }
            Event::Refused { why } => self.answered(at_ns, "register", Answer::NotDone(why)),
            // Its outcome stays unknown.
            Event::Unanswered { .. } => drop(self.open.remove("register")),
        }
    }

    fn asks(&mut self, asked_ns: u64, key: String, what: Request) {
        let client = self.client.to_owned();
        self.open.insert(key, self.account.operations.len());
        let operation = Operation { client, what, asked_ns, answered_ns: None, answer: Answer::Unknown };
        self.account.operations.push(operation);
    }

    fn answered(&mut self, at_ns: u64, key: &str, answer: Answer) {
        let Some(at) = self.open.remove(key) else { return };
        if let Some(operation) = self.account.operations.get_mut(at) {
            (operation.answered_ns, operation.answer) = (Some(at_ns), answer);
            if let Request::Acknowledge { epoch, .. } = &mut operation.what {
                *epoch = self.epoch;
            }
        }
    }

    fn acknowledges(&mut self, at_ns: u64, id: String) {
        let (line, destination) = (self.lines.get(&id).cloned().unwrap_or_default(), self.place.to_owned());
        self.asks(at_ns, id, Request::Acknowledge { destination, line, epoch: None });
    }

    fn settled<'a>(&mut self, at_ns: u64, ids: impl Iterator<Item = &'a String>) {
        ids.for_each(|id| self.answered(at_ns, id, Answer::Done));
    }

    /// Acknowledgements of a transaction are settled with its commit; after a rollback they count as never requested.
    fn transaction_ended(&mut self, at_ns: u64, tag: &str, committed: bool, why: String) {
        let asked_ns = self.open.get(tag).and_then(|at| self.account.operations.get(*at)).map(|it| it.asked_ns);
        self.answered(at_ns, tag, if committed { Answer::Done } else { Answer::NotDone(why.clone()) });
        let operations = &self.account.operations;
        let of_it = |at: usize| {
            let operation = operations.get(at);
            operation.is_some_and(|it| matches!(it.what, Request::Acknowledge { .. }) && Some(it.asked_ns) == asked_ns)
        };
        let ids: Vec<String> = self.open.iter().filter(|(_, at)| of_it(**at)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.answered(at_ns, &id, if committed { Answer::Done } else { Answer::NotDone(why.clone()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(events: Vec<Event>) -> Vec<String> {
        let lines = (1..).zip(events).map(|(at_ns, event)| Line { at_ns, event });
        lines.map(|line| serde_json::to_string(&line).expect("it is JSON")).collect()
    }

    fn got(id: &str, body: &str) -> Event {
        Event::Got { id: id.to_owned(), epoch: "0.7".to_owned(), redeliveries: 0, body: body.to_owned() }
    }

    #[test]
    fn acknowledgements_are_answered_one_by_one_and_the_last_never() {
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect();
        let mut lines = printed(vec![
            got("0.8.0", "p 00000001"),
            got("0.8.1", "p 00000002"),
            Event::Acknowledging { ids: ids(&["0.8.0", "0.8.1"]) },
            Event::Connected { epoch: "0.9".to_owned() },
            Event::Settled { ids: ids(&["0.8.0"]) },
        ]);
        lines.push("{\"at_ns\":9,\"event".to_owned());
        let account = read("c", "q", &lines);
        let answers: Vec<_> = account.operations.iter().map(|it| (it.asked_ns, it.answered_ns)).collect();
        assert_eq!(answers, [(3, Some(5)), (3, None)]);
        let epoch = Some(Epoch(0, 9));
        let (destination, line) = ("q".to_owned(), "p 00000001".to_owned());
        assert_eq!(account.operations[0].what, Request::Acknowledge { destination, line, epoch });
        assert_eq!(account.received.len(), 2);
    }

    #[test]
    fn what_a_transaction_took_is_acknowledged_with_its_commit_only() {
        let ids = vec!["0.8.0".to_owned()];
        for (committed, answer) in [(true, Answer::Done), (false, Answer::NotDone("w".to_owned()))] {
            let account = read(
                "m",
                "q",
                &printed(vec![
                    got("0.8.0", "p 00000001"),
                    Event::Ending { tag: "m/1".to_owned(), ids: ids.clone(), commit: true },
                    Event::Ended { tag: "m/1".to_owned(), committed, why: "w".to_owned() },
                ]),
            );
            let answers: Vec<_> = account.operations.iter().map(|it| it.answer.clone()).collect();
            assert_eq!(answers, [answer.clone(), answer]);
            assert!(
                matches!(&account.operations[1].what, Request::Transaction { lines, .. } if lines == &["p 00000001"])
            );
        }
    }

    #[test]
    fn numbers_and_registers_keep_what_was_answered() {
        let events = vec![
            Event::Opening,
            Event::Opened { next: 5 },
            Event::Sending { number: 5 },
            Event::Confirmed { number: 5 },
            Event::Sending { number: 6 },
            Event::Asking { register: "r".to_owned(), write: None },
            Event::Answered { saw: Some(vec!["1".to_owned()]) },
            Event::Asking { register: "r".to_owned(), write: None },
            Event::Unanswered { why: String::new() },
        ];
        let account = read("p", "p", &printed(events));
        let answers: Vec<_> = account.operations.iter().map(|it| it.answer.clone()).collect();
        let saw = Answer::Saw(vec!["1".to_owned()]);
        assert_eq!(answers, [Answer::Number(5), Answer::Done, Answer::Unknown, saw, Answer::Unknown]);
        assert_eq!(account.last_number, 6);
    }
}
