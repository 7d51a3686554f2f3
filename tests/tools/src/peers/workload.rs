//! The loads on each system, and the figure of each load that counts.

use serde::{Deserialize, Serialize};

use super::System;

/// Messages of the backlog for each second that a workload is measured for.
const BACKLOG_PER_S: usize = 40_000;

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Four producers, 256 unconfirmed messages each.
    Produce,
    /// One producer that waits for each confirm.
    OneAtATime,
    /// Four producers and four consumers together.
    Both,
    /// Four consumers drain a backlog.
    Consume,
    /// The same, while the confirm of each acknowledgement is waited for, where that is something else.
    ConsumeConfirmed,
    /// The same with acknowledged messages kept, where that is possible.
    ConsumeKept,
    /// Four producers, messages of 1 KiB.
    Produce1KiB,
    /// Four producers, messages of 1 MiB.
    Produce1MiB,
}

/// Parameters of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Side by side; before the consumers, where there is a backlog.
    pub producers: usize,
    /// Unconfirmed messages per producer.
    pub window: usize,
    /// Side by side.
    pub consumers: usize,
    /// Bytes per message.
    pub size: usize,
    /// Messages that the consumers find, and drain; 0: they consume while the producers produce.
    pub backlog: usize,
    /// The treatment of consumed messages.
    pub consumed: Consumed,
    /// Time of the measurement; a backlog is measured until it is drained.
    pub secs: u64,
}

/// Treatments of consumed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumed {
    /// It is acknowledged and thereby deleted.
    Deleted,
    /// The same, and it counts once the acknowledgement was confirmed.
    Confirmed,
    /// It is acknowledged and stays.
    Kept,
}

impl Workload {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 8] = [
        Self::Produce,
        Self::OneAtATime,
        Self::Both,
        Self::Consume,
        Self::ConsumeConfirmed,
        Self::ConsumeKept,
        Self::Produce1KiB,
        Self::Produce1MiB,
    ];

    /// The load, for this many seconds.
    #[must_use]
    pub fn load(self, secs: u64) -> Load {
        let consumed = Consumed::Deleted;
        let wide = Load { producers: 4, window: 256, consumers: 0, size: 256, backlog: 0, consumed, secs };
        let backlog = BACKLOG_PER_S * usize::try_from(secs).unwrap_or(1);
        let drain = Load { consumers: 4, backlog, ..wide };
        match self {
            Self::Produce => wide,
            Self::OneAtATime => Load { producers: 1, window: 1, ..wide },
            Self::Both => Load { consumers: 4, ..wide },
            Self::Consume => drain,
            Self::ConsumeConfirmed => Load { consumed: Consumed::Confirmed, ..drain },
            Self::ConsumeKept => Load { consumed: Consumed::Kept, ..drain },
            Self::Produce1KiB => Load { size: 1 << 10, ..wide },
            Self::Produce1MiB => Load { size: 1 << 20, window: 4, ..wide },
        }
    }

    /// True if a system is measured with it: Baton confirms every acknowledgement, RabbitMQ none, and both delete
    /// acknowledged messages.
    #[must_use]
    pub fn is_for(self, system: System) -> bool {
        self.variant_of() == self || system == System::Nats
    }

    /// The load of which it is a variant for NATS alone; else itself.
    #[must_use]
    pub fn variant_of(self) -> Self {
        match self {
            Self::Consume | Self::ConsumeConfirmed | Self::ConsumeKept => Self::Consume,
            Self::Produce | Self::OneAtATime | Self::Both | Self::Produce1KiB | Self::Produce1MiB => self,
        }
    }

    /// As in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce, 4 producers x 256 outstanding",
            Self::OneAtATime => "produce, 1 producer x 1 outstanding",
            Self::Both => "produce and consume, 4 producers x 256, 4 consumers",
            Self::Consume => "consume a backlog, 4 consumers",
            Self::ConsumeConfirmed => "the same, NATS with double_ack",
            Self::ConsumeKept => "the same, NATS keeps what is acknowledged",
            Self::Produce1KiB => "produce messages of 1 KiB, 4 x 256",
            Self::Produce1MiB => "produce messages of 1 MiB, 4 x 4",
        }
    }
}

/// A system's result under a load; the keys are those of `baton bench --json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Confirmed messages per second.
    pub produced_per_s: f64,
    /// Messages received and acknowledged per second.
    pub consumed_per_s: f64,
    /// From the sending of a message to its confirm.
    pub confirm_p50_ms: f64,
    /// The same: of a hundred messages ninety-nine took at most as long.
    pub confirm_p99_ms: f64,
}

/// A figure of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Messages confirmed per second.
    Produced,
    /// Messages consumed per second.
    Consumed,
    /// Megabytes (10^6 bytes) confirmed per second.
    ProducedMb,
    /// The median latency.
    P50,
    /// The 99th percentile of the latency.
    P99,
}

impl Measure {
    /// The figure.
    #[must_use]
    pub fn of(self, sample: &Sample, load: &Load) -> f64 {
        match self {
            Self::Produced => sample.produced_per_s,
            Self::Consumed => sample.consumed_per_s,
            Self::ProducedMb => sample.produced_per_s * load.size as f64 / 1e6,
            Self::P50 => sample.confirm_p50_ms,
            Self::P99 => sample.confirm_p99_ms,
        }
    }

    /// The unit of its count.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Produced | Self::Consumed => "messages/s",
            Self::ProducedMb => "MB/s",
            Self::P50 => "ms, p50",
            Self::P99 => "ms, p99",
        }
    }
}

/// The figures that are reported, in the table's order.
pub(super) const ROWS: [(Workload, Measure); 11] = [
    (Workload::Produce, Measure::Produced),
    (Workload::Produce, Measure::P50),
    (Workload::Produce, Measure::P99),
    (Workload::OneAtATime, Measure::P50),
    (Workload::OneAtATime, Measure::P99),
    (Workload::Both, Measure::Consumed),
    (Workload::Consume, Measure::Consumed),
    (Workload::ConsumeConfirmed, Measure::Consumed),
    (Workload::ConsumeKept, Measure::Consumed),
    (Workload::Produce1KiB, Measure::Produced),
    (Workload::Produce1MiB, Measure::ProducedMb),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_reported_and_its_load_makes_what_is_reported() {
        for workload in Workload::ALL {
            assert!(ROWS.iter().any(|(row, _)| *row == workload), "{workload:?}");
        }
        for (workload, measure) in ROWS {
            let load = workload.load(5);
            assert!(load.producers > 0 && load.window > 0, "{workload:?}");
            assert_eq!(measure == Measure::Consumed, load.consumers > 0, "{workload:?}");
        }
        assert_eq!(Workload::Consume.load(5).backlog, 200_000);
    }

    #[test]
    fn megabytes_are_of_the_messages_size() {
        let sample = Sample { produced_per_s: 10.0, consumed_per_s: 0.0, confirm_p50_ms: 0.0, confirm_p99_ms: 0.0 };
        assert_eq!(Measure::ProducedMb.of(&sample, &Workload::Produce1MiB.load(1)), 10.48576);
    }

    #[test]
    fn a_sample_is_read_from_what_baton_bench_prints() {
        let json = r#"{"produced_per_s": 1.0, "confirm_p50_ms": 2.0, "confirm_p99_ms": 3.0, "consumed_per_s": 4.0,
            "longest_silence_ms": 5.0}"#;
        let sample: Sample = serde_json::from_str(json).unwrap();
        assert_eq!((sample.produced_per_s, sample.consumed_per_s), (1.0, 4.0));
    }
}
