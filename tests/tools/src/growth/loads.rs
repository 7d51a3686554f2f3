//! The loads, the loads that each is compared with, and the bounds.

use serde::Serialize;

use crate::bound::Bound;
use crate::peers::Sample;

/// A load, or a measurement during another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Four producers, 256 unconfirmed messages each.
    Produce,
    /// A thousand producers, 16 each.
    ManyProducers,
    /// A thousand producers that each wait for each confirm.
    ManyWaiting,
    /// A thousand queues with a producer each.
    ManyQueues,
    /// Four producers and four consumers.
    Both,
    /// A thousand queues with a producer and a consumer each.
    ManyQueuesBoth,
    /// One producer that waits for each confirm.
    OneAtATime,
    /// A message every five milliseconds.
    NowAndThen,
    /// Half of the maximum rate of four producers.
    Half,
    /// Four consumers drain a queue that is short.
    DrainShort,
    /// They drain one that is long.
    DrainLong,
    /// Four producers and four consumers, just after that.
    BothAfterLong,
    /// Four producers, while a long queue stays.
    ProduceBesideLong,
}

/// Messages of the short queue.
pub(super) const SHORT: u64 = 500_000;

/// Parameters of loads that depend on the plan, and on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// Seconds of a load without an end of its own.
    pub(super) secs: u64,
    /// Messages of the long queue.
    pub(super) long: u64,
    /// Messages per second of [`Load::Half`].
    pub(super) half: u64,
}

/// The goal of a load: its figure, divided by that of the other load, keeps to the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub(super) load: Load,
    pub(super) bound: Bound,
}

impl Load {
    /// In the order of the table.
    pub const ALL: [Self; 13] = [
        Self::Produce,
        Self::ManyProducers,
        Self::ManyWaiting,
        Self::ManyQueues,
        Self::Both,
        Self::ManyQueuesBoth,
        Self::OneAtATime,
        Self::NowAndThen,
        Self::Half,
        Self::DrainShort,
        Self::DrainLong,
        Self::BothAfterLong,
        Self::ProduceBesideLong,
    ];

    /// True if it takes turns with others: the loads of a long queue do not.
    pub(super) fn takes_turns(self) -> bool {
        !matches!(self, Self::DrainShort | Self::DrainLong | Self::BothAfterLong | Self::ProduceBesideLong)
    }

    /// Arguments of `baton bench`.
    pub(super) fn arguments(self, Scale { secs, long, half }: Scale) -> String {
        let load = match self {
            Self::Produce => "--producers 4".to_owned(),
            Self::ManyProducers => "--producers 1000 --window 16".to_owned(),
            Self::ManyWaiting => "--producers 1000 --window 1".to_owned(),
            Self::ManyQueues => "--producers 1000 --window 16 --queues 1000".to_owned(),
            Self::Both | Self::BothAfterLong => "--producers 4 --consumers 4".to_owned(),
            Self::ManyQueuesBoth => "--producers 1000 --window 16 --queues 1000 --consumers 1000".to_owned(),
            Self::OneAtATime => "--producers 1 --window 1".to_owned(),
            Self::NowAndThen => "--producers 1 --rate 200".to_owned(),
            Self::Half => format!("--producers 4 --rate {half}"),
            Self::DrainShort => format!("--producers 0 --consumers 4 --backlog {SHORT}"),
            Self::DrainLong => format!("--producers 0 --consumers 4 --backlog {long}"),
            Self::ProduceBesideLong => format!("--producers 4 --backlog {long}"),
        };
        format!("{load} --secs {secs}")
    }

    /// As in the table.
    pub(super) fn name(self, Scale { long, half, .. }: Scale) -> String {
        let count = |number: u64| crate::bound::figure(number as f64);
        match self {
            Self::Produce => "4 producers x 256 outstanding".to_owned(),
            Self::ManyProducers => "1,000 producers x 16".to_owned(),
            Self::ManyWaiting => "1,000 producers x 1".to_owned(),
            Self::ManyQueues => "1,000 queues with a producer each x 16".to_owned(),
            Self::Both => "4 producers, 4 consumers".to_owned(),
            Self::ManyQueuesBoth => "1,000 queues with a producer x 16 and a consumer each".to_owned(),
            Self::OneAtATime => "1 producer x 1".to_owned(),
            Self::NowAndThen => "200 messages per second".to_owned(),
            Self::Half => format!("{} messages per second, half of the rate of 4 producers at first", count(half)),
            Self::DrainShort => format!("draining {} messages, 4 consumers", count(SHORT)),
            Self::DrainLong => format!("draining {}", count(long)),
            Self::BothAfterLong => format!("4 producers, 4 consumers, right after {} were drained", count(long)),
            Self::ProduceBesideLong => format!("4 producers, with {} messages that stay in a queue", count(long)),
        }
    }

    /// The figure that counts.
    pub(super) fn figure(self, sample: &Sample) -> f64 {
        match self {
            Self::OneAtATime | Self::NowAndThen | Self::Half => sample.confirm_p50_ms,
            Self::Both | Self::BothAfterLong | Self::ManyQueuesBoth | Self::DrainShort | Self::DrainLong => {
                sample.consumed_per_s
            }
            Self::Produce | Self::ManyProducers | Self::ManyWaiting | Self::ManyQueues | Self::ProduceBesideLong => {
                sample.produced_per_s
            }
        }
    }

    /// Its unit.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::OneAtATime | Self::NowAndThen | Self::Half => "ms, p50",
            _ => "messages/s",
        }
    }

    /// Loads to compare with. An idle cluster is measured in two ways: a message alone counts from when it is sent,
    /// right after the one before it; one now and then from when it is due, as at any rate.
    pub(super) fn beside(self) -> Vec<Comparison> {
        let least = |load, share| vec![Comparison { load, bound: Bound::AtLeast(share) }];
        match self {
            Self::Produce | Self::Both | Self::OneAtATime | Self::NowAndThen | Self::DrainShort => Vec::new(),
            Self::ManyProducers | Self::ManyWaiting | Self::ManyQueues => least(Self::Produce, 0.8),
            Self::ManyQueuesBoth => least(Self::Both, 0.8),
            Self::Half => {
                [Self::OneAtATime, Self::NowAndThen].map(|load| Comparison { load, bound: Bound::AtMost(3.0) }).into()
            }
            Self::DrainLong => least(Self::DrainShort, 0.9),
            Self::BothAfterLong => least(Self::Both, 0.9),
            Self::ProduceBesideLong => least(Self::Produce, 0.9),
        }
    }

    /// As another load's row calls it.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::OneAtATime => "1 producer x 1",
            Self::NowAndThen => "200 per second",
            Self::Both => "4 producers, 4 consumers",
            Self::DrainShort => "the short queue",
            _ => "4 producers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_load_is_held_against_one_of_the_same_unit() {
        for load in Load::ALL {
            for beside in load.beside() {
                assert_eq!(load.unit(), beside.load.unit(), "{load:?}");
                assert_eq!(beside.load.beside(), [], "{load:?}: against one that stands by itself");
            }
        }
    }

    #[test]
    fn what_takes_turns_leaves_no_long_queue() {
        let scale = Scale { secs: 3, long: 7_000_000, half: 5 };
        let long = |load: &Load| load.arguments(scale).contains("7000000");
        assert!(!Load::ALL.iter().filter(|load| load.takes_turns()).any(long));
        assert_eq!(Load::ALL.iter().filter(|load| long(load)).count(), 2);
        assert_eq!(Load::Half.arguments(scale), "--producers 4 --rate 5 --secs 3");
    }
}
