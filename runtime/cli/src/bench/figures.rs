//! The results of a bench, as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::output;

use super::meter::Meter;

/// Percentiles of the latency that are reported: their names in JSON and in text.
const PERCENTILES: [(f64, &str, &str); 4] =
    [(0.5, "p50", "p50"), (0.9, "p90", "p90"), (0.99, "p99", "p99"), (0.999, "p999", "p99.9")];

/// The measurement.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// Confirms of all producers.
    pub(super) produced: Meter,
    /// Receipts of all consumers.
    pub(super) consumed: Meter,
    /// True if receipts have latencies, counted from the send time.
    pub(super) delivery: bool,
    /// Duration.
    pub(super) elapsed: Duration,
    /// Longest time without a confirm.
    pub(super) silence: Duration,
}

impl Measured {
    /// The result in numbers.
    pub(super) fn figures(&self) -> Figures {
        let seconds = self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
        let rate = |meter: &Meter| (meter.counted() as f64 / seconds).round();
        Figures {
            produced_per_s: rate(&self.produced),
            confirm: Latency::of(&self.produced),
            consumed_per_s: rate(&self.consumed),
            delivery: self.delivery.then(|| Latency::of(&self.consumed)),
            longest_silence_ms: (self.silence.as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

/// Latencies, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
struct Latency {
    /// As in [`PERCENTILES`].
    percentiles: [f64; PERCENTILES.len()],
    max: f64,
    histogram: Vec<(f64, u64)>,
}

impl Latency {
    fn of(meter: &Meter) -> Self {
        let percentiles = PERCENTILES.map(|(part, ..)| meter.quantile_ms(part));
        Self { percentiles, max: meter.max_ms(), histogram: meter.buckets() }
    }

    fn add_to(&self, json: &mut Map<String, Value>, what: &str) {
        for ((_, name, _), ms) in PERCENTILES.iter().zip(self.percentiles) {
            json.insert(format!("{what}_{name}_ms"), ms.into());
        }
        json.insert(format!("{what}_max_ms"), self.max.into());
        let histogram =
            self.histogram.iter().map(|(upper, count)| Value::from(vec![(*upper).into(), Value::from(*count)]));
        json.insert(format!("{what}_histogram"), histogram.collect());
    }

    fn lines(&self, what: &str) -> String {
        if self.histogram.is_empty() {
            return String::new();
        }
        let named = PERCENTILES.iter().map(|(_, _, name)| *name).chain(["max"]);
        let values = self.percentiles.into_iter().chain([self.max]);
        named.zip(values).fold(String::new(), |mut text, (name, ms)| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{:<16} {ms:>12.2} ms", format!("{what} {name}"));
            text
        })
    }
}

/// The result of a bench.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    produced_per_s: f64,
    confirm: Latency,
    consumed_per_s: f64,
    delivery: Option<Latency>,
    longest_silence_ms: f64,
}

impl Figures {
    /// The JSON output: a contract for scripts.
    pub(super) fn as_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("produced_per_s".to_owned(), self.produced_per_s.into());
        self.confirm.add_to(&mut json, "confirm");
        json.insert("consumed_per_s".to_owned(), self.consumed_per_s.into());
        if let Some(delivery) = &self.delivery {
            delivery.add_to(&mut json, "delivery");
        }
        json.insert("longest_silence_ms".to_owned(), self.longest_silence_ms.into());
        Value::Object(json)
    }

    /// The text output.
    pub(super) fn as_text(&self) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded rate, never negative")]
        let rate = |what, rate: f64| format!("{what:<16} {:>12} messages/s\n", output::thousands(rate as u64));
        let mut text = rate("produced", self.produced_per_s);
        text += &self.confirm.lines("confirm");
        text += &rate("consumed", self.consumed_per_s);
        if let Some(delivery) = &self.delivery {
            text += &delivery.lines("delivery");
        }
        text + &format!("{:<16} {:>12.2} ms\n", "longest silence", self.longest_silence_ms)
    }
}

#[cfg(test)]
mod tests {
    use baton_domain::clock::BootTime;

    use super::*;

    fn measured(delivery: bool) -> Measured {
        let at = |ms| BootTime(1_000_000_000) + Duration::from_millis(ms);
        let mut meter = Meter::new(at(0));
        meter.latency(at(0), at(10));
        meter.count(1, at(10));
        let (elapsed, silence) = (Duration::from_millis(250), Duration::from_micros(1_234));
        Measured { produced: meter.clone(), consumed: meter, delivery, elapsed, silence }
    }

    fn keys(measured: &Measured) -> Vec<String> {
        measured.figures().as_json().as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract() {
        let latency = |what: &str| {
            ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "histogram"].map(|name| format!("{what}_{name}"))
        };
        let rates = ["produced_per_s", "consumed_per_s", "longest_silence_ms"].map(str::to_owned);
        let mut expected = [latency("confirm").as_slice(), &rates].concat();
        expected.sort_unstable();
        assert_eq!(keys(&measured(false)), expected);
        expected.extend(latency("delivery"));
        expected.sort_unstable();
        assert_eq!(keys(&measured(true)), expected);
    }

    #[test]
    fn rates_are_a_second_and_latencies_in_milliseconds() {
        let figures = measured(true).figures();
        assert_eq!((figures.produced_per_s, figures.consumed_per_s, figures.longest_silence_ms), (4.0, 4.0, 1.234));
        let json = figures.as_json();
        assert_eq!(json["confirm_histogram"], serde_json::json!([[10.0, 1]]));
        assert!(json["delivery_p999_ms"].as_f64().is_some_and(|ms| (9.99..=10.01).contains(&ms)), "{json}");
    }

    #[test]
    fn the_text_is_a_line_a_figure() {
        let text = measured(true).figures().as_text();
        assert_eq!(text.lines().count(), 3 + 2 * (PERCENTILES.len() + 1), "{text}");
        assert!(text.contains("confirm p99.9           10.01 ms\n") && text.contains("delivery max"), "{text}");
    }
}
