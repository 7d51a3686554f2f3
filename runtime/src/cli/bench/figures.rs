//! What a bench measures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_storage::clock::BootTime;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::cli::output;

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Collects from all producers and consumers.
#[derive(Debug)]
pub(super) struct Meter {
    started: BootTime,
    confirms: Mutex<Confirms>,
    consumed: AtomicU64,
}

#[derive(Debug)]
struct Confirms {
    latency_us: Histogram<u64>,
    count: u64,
    last: Option<BootTime>,
    longest_silence: Duration,
}

impl Meter {
    /// A meter that starts now.
    pub(super) fn new(started: BootTime) -> Result<Self, String> {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
            .map_err(|error| format!("the histogram cannot be made: {error}"))?;
        let confirms = Confirms { latency_us, count: 0, last: None, longest_silence: Duration::ZERO };
        Ok(Self { started, confirms: Mutex::new(confirms), consumed: AtomicU64::new(0) })
    }

    /// Counts a confirm of any producer.
    pub(super) fn confirmed(&self, sent_at: BootTime, now: BootTime) {
        let mut confirms = self.confirms.lock().unwrap_or_else(PoisonError::into_inner);
        confirms.count += 1;
        let latency = u64::try_from(now.since(sent_at).as_micros()).unwrap_or(u64::MAX);
        confirms.latency_us.saturating_record(latency.clamp(1, LATENCY_MAX_US));
        confirms.silence_until(now);
        confirms.last = confirms.last.max(Some(now));
    }

    /// Counts a message that was received.
    pub(super) fn consumed(&self) {
        self.consumed.fetch_add(1, Ordering::Relaxed);
    }

    /// The figures, at the end of the run.
    pub(super) fn figures(&self, now: BootTime) -> Figures {
        let mut confirms = self.confirms.lock().unwrap_or_else(PoisonError::into_inner);
        // What stayed silent until the end was silent, too.
        confirms.silence_until(now);
        let seconds = now.since(self.started).as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
        let rate = |count: u64| (count as f64 / seconds).round();
        #[expect(clippy::cast_precision_loss, reason = "at most 6e8")]
        let quantile = |at: f64| confirms.latency_us.value_at_quantile(at) as f64 / 1_000.0;
        Figures {
            produced_per_s: rate(confirms.count),
            confirm_p50_ms: quantile(0.50),
            confirm_p99_ms: quantile(0.99),
            consumed_per_s: rate(self.consumed.load(Ordering::Relaxed)),
            longest_silence_ms: (confirms.longest_silence.as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

impl Confirms {
    /// The time since the last confirm of any producer, if there was one.
    fn silence_until(&mut self, now: BootTime) {
        if let Some(last) = self.last {
            self.longest_silence = self.longest_silence.max(now.since(last));
        }
    }
}

/// The result of a bench.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    produced_per_s: f64,
    confirm_p50_ms: f64,
    confirm_p99_ms: f64,
    consumed_per_s: f64,
    longest_silence_ms: f64,
}

impl Figures {
    /// The contract for scripts.
    pub(super) fn as_json(&self) -> Value {
        json!({
            "produced_per_s": self.produced_per_s,
            "confirm_p50_ms": self.confirm_p50_ms,
            "confirm_p99_ms": self.confirm_p99_ms,
            "consumed_per_s": self.consumed_per_s,
            "longest_silence_ms": self.longest_silence_ms,
        })
    }

    /// The same for people.
    pub(super) fn as_text(&self) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded rate, never negative")]
        let whole = |rate: f64| output::thousands(rate as u64);
        format!(
            "produced         {:>12} messages/s\nconfirm p50      {:>12.2} ms\nconfirm p99      {:>12.2} ms\n\
             consumed         {:>12} messages/s\nlongest silence  {:>12.2} ms\n",
            whole(self.produced_per_s),
            self.confirm_p50_ms,
            self.confirm_p99_ms,
            whole(self.consumed_per_s),
            self.longest_silence_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootTime {
        BootTime(1_000_000_000) + Duration::from_millis(ms)
    }

    #[test]
    fn silence_counts_from_the_first_confirm_over_all_producers() {
        let meter = Meter::new(at(0)).unwrap();
        meter.confirmed(at(0), at(500));
        meter.confirmed(at(500), at(510));
        // Another producer's confirm that was timed a little earlier.
        meter.confirmed(at(500), at(509));
        meter.confirmed(at(510), at(810));
        meter.consumed();
        let figures = meter.figures(at(1_000));
        assert_eq!(figures.longest_silence_ms, 300.0);
        assert_eq!((figures.produced_per_s, figures.consumed_per_s), (4.0, 1.0));
        assert!((9.0..=11.0).contains(&figures.confirm_p50_ms), "{figures:?}");
        assert!((499.0..=501.0).contains(&figures.confirm_p99_ms), "{figures:?}");
        assert_eq!(meter.figures(at(2_000)).longest_silence_ms, 1_190.0, "silent until the end");
    }

    #[test]
    fn without_a_confirm_there_is_no_silence() {
        assert_eq!(Meter::new(at(0)).unwrap().figures(at(9_000)).longest_silence_ms, 0.0);
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract() {
        let json = Meter::new(at(0)).unwrap().figures(at(1)).as_json();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected =
            ["produced_per_s", "confirm_p50_ms", "confirm_p99_ms", "consumed_per_s", "longest_silence_ms"];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
}
