//! Measurements of one producer or consumer, added up at the end. Meters share nothing while messages flow, except the
//! time of the last confirm, written once per batch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;
use hdrhistogram::Histogram;

/// The longest latency with a bucket of its own, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;
/// Initial length of a rate slot.
const SLOT: Duration = Duration::from_millis(100);
/// Above this number of slots, each becomes twice as long.
const SLOTS: usize = 1_024;

/// Counts messages over time, and their latencies.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    started: BootTime,
    count: u64,
    latency_us: Histogram<u32>,
    rate: Rate,
}

impl Meter {
    /// A meter that starts now.
    pub(super) fn new(started: BootTime) -> Self {
        // Grows with the recorded range: a thousand meters stay small.
        let latency_us = Histogram::new(3).expect("three figures are among those that are allowed");
        Self { started, count: 0, latency_us, rate: Rate::default() }
    }

    /// Counts messages that are done now.
    pub(super) fn count(&mut self, count: u64, now: BootTime) {
        self.count += count;
        self.rate.add(now.since(self.started), count);
    }

    /// Records the latency of one message.
    pub(super) fn latency(&mut self, from: BootTime, now: BootTime) {
        let latency = u64::try_from(now.since(from).as_micros()).unwrap_or(u64::MAX);
        // An auto-resizing histogram accepts every value that fits in a machine word.
        let _ = self.latency_us.record(latency.clamp(1, LATENCY_MAX_US));
    }

    /// Merges meters that have the same start.
    pub(super) fn sum(started: BootTime, meters: &[Self]) -> Self {
        let mut sum = Self::new(started);
        for meter in meters {
            sum.count += meter.count;
            // As in `record`.
            let _ = sum.latency_us.add(&meter.latency_us);
            sum.rate.merge(&meter.rate);
        }
        sum
    }

    /// Number of messages.
    pub(super) fn counted(&self) -> u64 {
        self.count
    }

    /// Messages over time.
    pub(super) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Latency percentile in milliseconds; 0 without messages.
    pub(super) fn quantile_ms(&self, part: f64) -> f64 {
        ms(self.latency_us.value_at_quantile(part))
    }

    /// Longest latency, in milliseconds.
    pub(super) fn max_ms(&self) -> f64 {
        ms(self.latency_us.max())
    }

    /// Each recorded latency in milliseconds, at full resolution, with its count.
    pub(super) fn steps(&self) -> Vec<(f64, u64)> {
        let recorded = self.latency_us.iter_recorded();
        let step = |us: u64| ms(self.latency_us.lowest_equivalent(us));
        recorded.map(|step_to| (step(step_to.value_iterated_to()), step_to.count_since_last_iteration())).collect()
    }

    /// Latencies in logarithmic buckets, ten per order of magnitude: upper bound in milliseconds, and number of messages
    /// above the previous bound and up to this one. Empty buckets are left out.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for (latency_ms, count) in self.steps() {
            let upper = bound_ms(latency_ms);
            match buckets.last_mut() {
                Some((last, sum)) if *last == upper => *sum += count,
                Some(_) | None => buckets.push((upper, count)),
            }
        }
        buckets
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 6e8")]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// Rounds up to a tenth of an order of magnitude: 1, 1.259, 1.585, .. 10, 12.59.
fn bound_ms(ms: f64) -> f64 {
    let bound = 10_f64.powf((ms.log10() * 10.0 - 1e-9).ceil() / 10.0);
    (bound * 1e6).round() / 1e6
}

/// Messages over time, in at most [`SLOTS`] slots.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    slot: Duration,
    counts: Vec<u64>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { slot: SLOT, counts: Vec::new() }
    }
}

impl Rate {
    fn add(&mut self, at: Duration, count: u64) {
        let index = loop {
            let index = usize::try_from(at.as_nanos() / self.slot.as_nanos()).unwrap_or(usize::MAX);
            if index < SLOTS {
                break index;
            }
            self.coarsen();
        };
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += count;
    }

    fn coarsen(&mut self) {
        self.slot *= 2;
        self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    }

    fn merge(&mut self, other: &Self) {
        while self.slot < other.slot {
            self.coarsen();
        }
        for (slot, count) in (0..).zip(&other.counts) {
            self.add(other.slot * slot, *count);
        }
    }

    /// Messages per second by slot, with the slot's end in seconds, for the slots that lie entirely before `end`.
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
    pub(super) fn per_second(&self, end: Duration) -> Vec<(f64, f64)> {
        let slots = (1..).map(|number: u32| self.slot * number).take_while(|until| *until <= end);
        let counts = self.counts.iter().copied().chain(std::iter::repeat(0));
        slots.zip(counts).map(|(until, count)| (until.as_secs_f64(), count as f64 / self.slot.as_secs_f64())).collect()
    }
}

/// Longest time without a confirm from any producer.
#[derive(Debug, Default)]
pub(super) struct Silence {
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Silence {
    /// Records a confirm.
    pub(super) fn broken(&self, now: BootTime) {
        let last = self.last_ns.fetch_max(now.0, Ordering::Relaxed);
        let silent = Self::between(last, now);
        if silent > self.longest_ns.load(Ordering::Relaxed) {
            self.longest_ns.fetch_max(silent, Ordering::Relaxed);
        }
    }

    /// The longest silence. A silence that lasts until the end counts.
    pub(super) fn longest(&self, end: BootTime) -> Duration {
        let last = Self::between(self.last_ns.load(Ordering::Relaxed), end);
        Duration::from_nanos(last.max(self.longest_ns.load(Ordering::Relaxed)))
    }

    /// Silence is counted from the first confirm on.
    fn between(last: u64, now: BootTime) -> u64 {
        if last == 0 { 0 } else { now.0.saturating_sub(last) }
    }
}

#[cfg(test)]
mod tests;
