//! The metrics of a server, in Prometheus format.

use std::fmt::{Display, Write};
use std::time::Duration;

use baton_client::protocol::EngineState;
use baton_domain::{Epoch, QueueName, ServerName};

/// Source: Prometheus, "Exposition formats", text-based format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A snapshot of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The server.
    pub server: ServerName,
    /// The state of its engine instance.
    pub engine: EngineState,
    /// The newest activation that this server has applied.
    pub epoch: Epoch,
    /// True if it leads the store.
    pub leads: bool,
    /// The store's term: increases with every election.
    pub term: u64,
    /// The last log index on disk here.
    pub last_index: u64,
    /// The last log index applied here.
    pub applied_index: u64,
    /// Lag of each other replica; known to the leader only.
    pub lag: Vec<(ServerName, u64)>,
    /// The other servers, and the state of their links.
    pub peers: Vec<LinkMetrics>,
    /// Clients linked to this server.
    pub clients: u64,
    /// Free bytes on the store's disk.
    pub free_bytes: u64,
    /// The queues; empty unless the engine is started here.
    pub queues: Vec<QueueMetrics>,
    /// Transactions that are prepared and not decided; 0 unless the engine is started here.
    pub in_doubt: u64,
    /// Age of the oldest of them, in seconds; 0 if there is none.
    pub in_doubt_oldest_seconds: u64,
    /// The database that keeps the log; `None` where replicas keep it.
    pub database: Option<DatabaseMetrics>,
    /// Messages confirmed since the engine was started here.
    pub confirmed: u64,
    /// Messages delivered since the engine was started here.
    pub delivered: u64,
    /// Messages acknowledged since the engine was started here.
    pub acknowledged: u64,
}

/// The database that keeps the log, as this server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseMetrics {
    /// True if it answers.
    pub reached: bool,
    /// Grows with every promotion of a standby.
    pub timeline: u32,
    /// True while it lacks commands that it had.
    pub regressed: bool,
    /// Time left of this server's lease; zero if it does not hold it.
    pub lease: Duration,
}

/// A link to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkMetrics {
    /// The other server.
    pub server: ServerName,
    /// True if the link is up.
    pub up: bool,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMetrics {
    /// Its name.
    pub name: QueueName,
    /// Messages stored.
    pub depth: u64,
    /// Of these, messages in the engine's memory only.
    pub nonpersistent: u64,
    /// Messages dropped for lack of room since the engine started.
    pub dropped: u64,
    /// Dead letters kept in the queue because no exception destination accepts them.
    pub kept: u64,
    /// Messages in flight: delivered and not settled.
    pub in_flight: u64,
    /// Consumers attached.
    pub consumers: u64,
    /// Slow ones among them.
    pub slow_consumers: u64,
    /// True if the queue is deleted with its consumer.
    pub temporary: bool,
}

/// The label shared by all temporary queues: their names are random, and each would stay a series for ever. No queue has
/// such a name.
const TEMPORARY: &str = "(temporary)";

impl Metrics {
    /// The numbers of a server that does nothing yet.
    #[must_use]
    pub fn new(server: ServerName) -> Self {
        Self {
            server,
            engine: EngineState::Standby,
            epoch: Epoch::default(),
            leads: false,
            term: 0,
            last_index: 0,
            applied_index: 0,
            lag: Vec::new(),
            peers: Vec::new(),
            clients: 0,
            free_bytes: 0,
            queues: Vec::new(),
            in_doubt: 0,
            in_doubt_oldest_seconds: 0,
            database: None,
            confirmed: 0,
            delivered: 0,
            acknowledged: 0,
        }
    }

    /// The Prometheus text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = Text(String::new());
        text.family("baton_info", "gauge", "The server and its version.");
        text.sample("baton_info", &[("server", self.server.as_str()), ("version", baton_domain::seeded::VERSION)], 1);
        text.family(
            "baton_engine_state",
            "gauge",
            "The state of this server's engine instance: 1 for the current state.",
        );
        for (state, word) in [
            (EngineState::Standby, "standby"),
            (EngineState::Starting, "starting"),
            (EngineState::Started, "started"),
            (EngineState::Stopping, "stopping"),
        ] {
            text.sample("baton_engine_state", &[("state", word)], u64::from(self.engine == state));
        }
        for (name, help, value) in [
            (
                "baton_engine_epoch_generation",
                "The generation of the newest activation.",
                u64::from(self.epoch.generation),
            ),
            ("baton_engine_epoch_index", "The log index of the newest activation.", self.epoch.index),
            ("baton_store_leads", "1 if this server leads the store.", u64::from(self.leads)),
            ("baton_store_term", "The store's term: increases with every election.", self.term),
            ("baton_store_last_index", "The last log index on disk here.", self.last_index),
            ("baton_store_applied_index", "The last log index applied here.", self.applied_index),
            ("baton_store_free_bytes", "Free bytes on the store's disk.", self.free_bytes),
            ("baton_clients", "Clients linked to this server.", self.clients),
            ("baton_transactions_in_doubt", "Transactions that are prepared and not decided.", self.in_doubt),
            (
                "baton_transactions_in_doubt_oldest_seconds",
                "Age of the oldest transaction in doubt since it was prepared.",
                self.in_doubt_oldest_seconds,
            ),
        ] {
            text.family(name, "gauge", help);
            text.sample(name, &[], value);
        }
        for (name, help, value) in [
            ("baton_engine_confirmed_total", "Messages confirmed since the engine was started here.", self.confirmed),
            ("baton_engine_delivered_total", "Messages delivered since the engine was started here.", self.delivered),
            (
                "baton_engine_acknowledged_total",
                "Messages acknowledged since the engine was started here.",
                self.acknowledged,
            ),
        ] {
            text.family(name, "counter", help);
            text.sample(name, &[], value);
        }
        text.family("baton_replica_lag_entries", "gauge", "Lag of a replica in log entries, as known to the leader.");
        for (server, lag) in &self.lag {
            text.sample("baton_replica_lag_entries", &[("server", server.as_str())], *lag);
        }
        text.family("baton_peer_up", "gauge", "1 if there is a link to that server.");
        for peer in &self.peers {
            text.sample("baton_peer_up", &[("server", peer.server.as_str())], u64::from(peer.up));
        }
        self.database(&mut text);
        self.queues(&mut text);
        text.0
    }

    fn database(&self, text: &mut Text) {
        let Some(database) = &self.database else { return };
        for (name, help, value) in [
            ("baton_database_reached", "1 if the database answers this server.", u64::from(database.reached)),
            (
                "baton_database_timeline",
                "The database's timeline: grows with each promotion.",
                database.timeline.into(),
            ),
            (
                "baton_database_regressed",
                "1 while the database lacks commands that it had confirmed.",
                u64::from(database.regressed),
            ),
        ] {
            text.family(name, "gauge", help);
            text.sample(name, &[], value);
        }
        let name = "baton_database_lease_remaining_seconds";
        text.family(name, "gauge", "Time left of this server's lease; 0 if it does not hold it.");
        text.sample(name, &[], database.lease.as_secs_f64());
    }

    fn queues(&self, text: &mut Text) {
        type Family = (&'static str, &'static str, fn(&QueueMetrics) -> u64);
        let families: [Family; 7] = [
            ("baton_queue_depth", "Messages in the queue, those in flight included.", |queue| queue.depth),
            ("baton_queue_in_flight", "Messages in flight: delivered and not settled.", |queue| queue.in_flight),
            ("baton_queue_consumers", "Attached consumers.", |queue| queue.consumers),
            ("baton_queue_nonpersistent", "Part of the depth that is in memory only.", |queue| queue.nonpersistent),
            ("baton_queue_dropped", "Messages dropped for lack of room since the engine started.", |queue| {
                queue.dropped
            }),
            (
                "baton_queue_kept",
                "Dead letters kept in the queue because no exception destination accepts them.",
                |queue| queue.kept,
            ),
            (
                "baton_queue_slow_consumers",
                "Slow consumers: credit used up and nothing settled, while messages wait.",
                |queue| queue.slow_consumers,
            ),
        ];
        let temporary = || self.queues.iter().filter(|queue| queue.temporary);
        for (name, help, value) in families {
            text.family(name, "gauge", help);
            for queue in self.queues.iter().filter(|queue| !queue.temporary) {
                text.sample(name, &[("queue", queue.name.as_str())], value(queue));
            }
            if temporary().next().is_some() {
                text.sample(name, &[("queue", TEMPORARY)], temporary().map(value).sum::<u64>());
            }
        }
        let name = "baton_temporary_queues";
        text.family(name, "gauge", "Temporary queues of requesters and subscribers; their values are summed.");
        text.sample(name, &[], temporary().count() as u64);
    }
}

/// The text under construction. Our names hold no character that must be escaped in a label.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect::<Vec<_>>().join(",");
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_belongs_to_a_family_that_was_announced_once() {
        let name = |name: &str| ServerName::new(name).unwrap();
        let mut metrics = Metrics::new(name("server1"));
        metrics.engine = EngineState::Started;
        metrics.epoch = Epoch { generation: 1, index: 17 };
        metrics.lag = vec![(name("server2"), 3)];
        metrics.peers = vec![LinkMetrics { server: name("server2"), up: true }];
        let queue = QueueName::new("a/b").unwrap();
        metrics.queues = vec![QueueMetrics {
            name: queue,
            depth: 5,
            nonpersistent: 4,
            dropped: 6,
            kept: 7,
            in_flight: 2,
            consumers: 3,
            slow_consumers: 1,
            temporary: false,
        }];
        for name in ["answers.1", "subscriber.2"] {
            let (name, temporary) = (QueueName::new(name).unwrap(), true);
            metrics.queues.push(QueueMetrics { name, temporary, ..metrics.queues[0].clone() });
        }
        (metrics.in_doubt, metrics.in_doubt_oldest_seconds) = (2, 90);
        let lease = Duration::from_millis(1_500);
        metrics.database = Some(DatabaseMetrics { reached: true, timeline: 1, regressed: false, lease });
        let text = metrics.to_text();
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                families.push(family.split(' ').next().unwrap());
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert_eq!(families.last(), Some(&sample.split('{').next().unwrap()), "{line}");
            }
        }
        let mut unique = families.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), families.len());
        for expected in [
            "baton_engine_state{state=\"started\"} 1",
            "baton_engine_state{state=\"standby\"} 0",
            "baton_engine_epoch_index 17",
            "baton_replica_lag_entries{server=\"server2\"} 3",
            "baton_peer_up{server=\"server2\"} 1",
            "baton_queue_depth{queue=\"a/b\"} 5",
            "baton_queue_nonpersistent{queue=\"a/b\"} 4",
            "baton_queue_dropped{queue=\"a/b\"} 6",
            "baton_queue_kept{queue=\"a/b\"} 7",
            "baton_queue_slow_consumers{queue=\"a/b\"} 1",
            "baton_queue_depth{queue=\"(temporary)\"} 10",
            "baton_queue_consumers{queue=\"(temporary)\"} 6",
            "baton_temporary_queues 2",
            "baton_transactions_in_doubt 2",
            "baton_transactions_in_doubt_oldest_seconds 90",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        assert!(!text.contains("answers.1"), "a series of its own: {text}");
    }
}
