//! The account of the demo: every confirmed message must be received, once and in order.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

/// One stream: the messages of one producer, numbered from 1.
#[derive(Debug, Default)]
struct Stream {
    sent: u64,
    confirmed: u64,
    received: HashSet<u64>,
    last: u64,
    duplicates: u64,
    out_of_order: u64,
}

/// A placement of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlacementSeen {
    /// Its host.
    pub(super) server: String,
    /// Its epoch.
    pub(super) epoch: String,
    /// Time of its activation, in Unix milliseconds.
    pub(super) at_ms: u64,
    /// The reason.
    pub(super) reason: String,
}

/// Counts messages sent, confirmed and received, in one stream per producer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    streams: BTreeMap<u32, Stream>,
}

impl Ledger {
    /// Counts a message that is sent.
    pub(super) fn sent(&mut self, stream: u32) {
        self.streams.entry(stream).or_default().sent += 1;
    }

    /// Confirms the stream's next message: confirms arrive in order.
    pub(super) fn confirmed(&mut self, stream: u32) {
        self.streams.entry(stream).or_default().confirmed += 1;
    }

    /// Counts a message that the stream's consumer received.
    pub(super) fn received(&mut self, stream: u32, number: u64) {
        let stream = self.streams.entry(stream).or_default();
        if !stream.received.insert(number) {
            stream.duplicates += 1;
        } else if number < stream.last {
            stream.out_of_order += 1;
        }
        stream.last = stream.last.max(number);
    }

    /// The current totals.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stream in self.streams.values() {
            totals.sent += stream.sent;
            totals.confirmed += stream.confirmed;
            totals.received += stream.received.len() as u64;
            totals.duplicates += stream.duplicates;
            totals.out_of_order += stream.out_of_order;
            totals.lost += (1..=stream.confirmed).filter(|number| !stream.received.contains(number)).count() as u64;
        }
        totals
    }
}

/// Totals over all streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) confirmed: u64,
    /// Distinct messages received.
    pub(super) received: u64,
    /// Confirmed and not received.
    pub(super) lost: u64,
    /// Received more than once.
    pub(super) duplicates: u64,
    /// Received after a later one of their stream.
    pub(super) out_of_order: u64,
}

/// The result of the demo.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Account {
    pub(super) totals: Totals,
    pub(super) placements: Vec<PlacementSeen>,
    /// Each outage with the time without a confirm, in milliseconds.
    pub(super) outages: Vec<(String, f64)>,
}

impl Account {
    /// The JSON output: a contract for scripts.
    pub(super) fn as_json(&self) -> Value {
        let Totals { sent, confirmed, received, lost, duplicates, out_of_order } = self.totals;
        let placements: Vec<Value> = self
            .placements
            .iter()
            .map(|seen| json!({"server": seen.server, "epoch": seen.epoch, "at_ms": seen.at_ms, "reason": seen.reason}))
            .collect();
        let outages: Vec<f64> = self.outages.iter().map(|(_, ms)| *ms).collect();
        json!({
            "sent": sent, "confirmed": confirmed, "received": received, "lost": lost, "duplicates": duplicates,
            "out_of_order": out_of_order, "placements": placements, "outages_ms": outages,
        })
    }

    /// Success if every confirmed message was received, once and in order.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let Totals { lost, duplicates, out_of_order, .. } = self.totals;
        let faults: Vec<String> = [(lost, "lost"), (duplicates, "received twice"), (out_of_order, "out of order")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(format!("messages were {}", faults.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(sent: u64, confirmed: u64, received: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        (0..sent).for_each(|_| ledger.sent(1));
        (0..confirmed).for_each(|_| ledger.confirmed(1));
        received.iter().for_each(|number| ledger.received(1, *number));
        ledger
    }

    #[test]
    fn lost_twice_and_out_of_order_are_told_apart() {
        /// Sent, confirmed, numbers received, and of them (received, lost, duplicates, out of order).
        type Row = (u64, u64, &'static [u64], (u64, u64, u64, u64));
        let rows: [Row; 6] = [
            (3, 3, &[1, 2, 3], (3, 0, 0, 0)),
            (3, 3, &[1, 3], (2, 1, 0, 0)),
            (3, 2, &[1, 2], (2, 0, 0, 0)),
            (3, 3, &[1, 2, 2, 3], (3, 0, 1, 0)),
            (3, 3, &[1, 3, 2], (3, 0, 0, 1)),
            (3, 3, &[1, 2, 3, 1], (3, 0, 1, 0)),
        ];
        for (sent, confirmed, received, expected) in rows {
            let totals = ledger(sent, confirmed, received).totals();
            let found = (totals.received, totals.lost, totals.duplicates, totals.out_of_order);
            assert_eq!(found, expected, "{received:?}");
            let account = Account { totals, placements: vec![], outages: vec![] };
            assert_eq!(account.verdict().is_ok(), expected.1 + expected.2 + expected.3 == 0);
        }
    }

    #[test]
    fn streams_do_not_mix() {
        let mut ledger = ledger(2, 2, &[1, 2]);
        ledger.sent(2);
        ledger.confirmed(2);
        ledger.received(2, 1);
        let totals = ledger.totals();
        assert_eq!((totals.sent, totals.received, totals.duplicates, totals.out_of_order), (3, 3, 0, 0));
    }

    #[test]
    fn the_json_is_the_contract() {
        let account = Account {
            totals: ledger(2, 2, &[1, 2]).totals(),
            placements: vec![PlacementSeen {
                server: "server1".to_owned(),
                epoch: "0.5".to_owned(),
                at_ms: 17,
                reason: "start".to_owned(),
            }],
            outages: vec![("kill -9 server1".to_owned(), 412.5)],
        };
        assert_eq!(
            account.as_json(),
            json!({
                "sent": 2, "confirmed": 2, "received": 2, "lost": 0, "duplicates": 0, "out_of_order": 0,
                "placements": [{"server": "server1", "epoch": "0.5", "at_ms": 17, "reason": "start"}],
                "outages_ms": [412.5],
            })
        );
    }
}
