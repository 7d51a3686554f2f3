//! Due times of messages at a steady rate. Latency counts from the due time, not from the send time: a stall delays every
//! message that was due during it (otherwise "coordinated omission" hides the stall).

use std::time::Duration;

use baton_domain::clock::BootTime;

/// A steady rate, shared by producers in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    started: BootTime,
    /// Messages per second.
    rate: u64,
    producers: u64,
    total: u64,
}

impl Schedule {
    /// A rate in messages per second, and a duration in seconds.
    pub(super) fn new(started: BootTime, rate: u64, secs: u64, producers: u64) -> Self {
        Self { started, rate, producers, total: rate * secs }
    }

    /// Total number of messages.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Due time of a message. Numbers count from 0 over all producers.
    pub(super) fn due(&self, number: u64) -> BootTime {
        let (number, rate) = (u128::from(number), u128::from(self.rate));
        let nanoseconds = u64::try_from(number * 1_000_000_000 / rate).unwrap_or(u64::MAX);
        self.started + Duration::from_nanos(nanoseconds)
    }

    /// The producer that sends it.
    pub(super) fn producer_of(&self, number: u64) -> u64 {
        number % self.producers
    }

    /// Due time of a message, by its number within its producer, from 0.
    pub(super) fn due_of(&self, producer: u64, own: u64) -> BootTime {
        self.due(own * self.producers + producer)
    }

    /// Number of messages of one producer.
    pub(super) fn share(&self, producer: u64) -> u64 {
        share(self.total, self.producers, producer)
    }
}

/// The share of one of `parts` in a total: shares differ by at most one, the first are the larger ones.
pub(super) fn share(total: u64, parts: u64, part: u64) -> u64 {
    total / parts + u64::from(part < total % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_equal_distances_over_the_whole_time() {
        let schedule = Schedule::new(BootTime(500), 3, 2, 2);
        let due: Vec<u64> = (0..schedule.total()).map(|number| schedule.due(number).0 - 500).collect();
        assert_eq!(due, [0, 333_333_333, 666_666_666, 1_000_000_000, 1_333_333_333, 1_666_666_666]);
        // A day at the highest rate does not overflow.
        let long = Schedule::new(BootTime(0), 10_000_000, 86_400, 1);
        assert_eq!(long.due(long.total()).0, 86_400_000_000_000);
    }

    #[test]
    fn each_message_is_one_producers_and_due_at_one_time() {
        let schedule = Schedule::new(BootTime(7), 1_000, 1, 7);
        let mut own = [0; 7];
        for number in 0..schedule.total() {
            let producer = schedule.producer_of(number);
            let mine = &mut own[usize::try_from(producer).unwrap()];
            assert_eq!(schedule.due_of(producer, *mine), schedule.due(number), "{number}");
            *mine += 1;
        }
        assert_eq!(own.to_vec(), (0..7).map(|producer| schedule.share(producer)).collect::<Vec<_>>());
    }

    #[test]
    fn shares_differ_by_one_at_most() {
        for (total, parts, expected) in [(10, 3, vec![4, 3, 3]), (2, 4, vec![1, 1, 0, 0]), (8, 2, vec![4, 4])] {
            assert_eq!((0..parts).map(|part| share(total, parts, part)).collect::<Vec<_>>(), expected);
        }
    }
}
