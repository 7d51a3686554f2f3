//! How a queue behaves, as options and as text.

use std::str::FromStr;

use baton_domain::{
    DeadLetterOverflow, ExceptionDestination, Expired, QueueName, Reliability, Settings, SettingsPatch,
};
use clap::Args;
use serde_json::{Value, json};

/// What `baton queue create` and `baton queue set` take; what is not named stays.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SettingsArgs {
    /// Where messages go that cannot be delivered: `system`, `none`, or a queue
    #[arg(long, value_name = "QUEUE", value_parser = exception)]
    exception: Option<ExceptionDestination>,
    /// After so many failed deliveries a message goes there; 0: never
    #[arg(long, value_name = "N")]
    max_failed: Option<u32>,
    /// Deliver again so many SECONDS after a failed delivery, twice as long after each further one; 0: at once
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    redelivery_delay: Option<u64>,
    /// That delay grows up to this
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    redelivery_delay_max: Option<u64>,
    /// How long messages live that do not say it themselves; 0: for ever
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    time_to_live: Option<u64>,
    /// What becomes of them then: `drop` or `exception`
    #[arg(long, value_name = "WHAT", value_parser = expired)]
    expired: Option<Expired>,
    /// With so many messages it is full and takes no more; 0: no such bound
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Serve one consumer at a time, the others stand in: `true` or `false`
    #[arg(long, value_name = "BOOL")]
    exclusive: Option<bool>,
    /// What may become of messages that do not say it themselves, for example `reliable-nonpersistent`
    #[arg(long, value_name = "LEVEL")]
    reliability: Option<Reliability>,
    /// Store what is sent to it in each of these queues instead, its own name among them or not; `none`: no more
    #[arg(long, value_name = "QUEUE,...", value_parser = forward)]
    forward_to: Option<Forward>,
    /// What becomes of dead letters that come here when it is full: `wait` where they are, or `drop-oldest` of those here
    #[arg(long, value_name = "WHAT", value_parser = overflow)]
    dead_letter_overflow: Option<DeadLetterOverflow>,
    /// With so many bytes of messages it is full for dead letters; 0: no such bound
    #[arg(long, value_name = "BYTES")]
    max_dead_letter_bytes: Option<u64>,
}

/// None at all takes the forwarding away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Forward(Vec<QueueName>);

fn exception(text: &str) -> Result<ExceptionDestination, String> {
    match text {
        "system" => Ok(ExceptionDestination::System),
        "none" => Ok(ExceptionDestination::None),
        name => QueueName::from_str(name).map(ExceptionDestination::Queue).map_err(|error| error.to_string()),
    }
}

fn forward(text: &str) -> Result<Forward, String> {
    match text {
        "none" => Ok(Forward(Vec::new())),
        names => {
            let names = names.split(',').map(|name| QueueName::from_str(name).map_err(|error| error.to_string()));
            names.collect::<Result<_, _>>().map(Forward)
        }
    }
}

fn expired(text: &str) -> Result<Expired, String> {
    match text {
        "drop" => Ok(Expired::Drop),
        "exception" => Ok(Expired::Exception),
        _ => Err("`drop` or `exception`".to_owned()),
    }
}

fn overflow(text: &str) -> Result<DeadLetterOverflow, String> {
    match text {
        "wait" => Ok(DeadLetterOverflow::Wait),
        "drop-oldest" => Ok(DeadLetterOverflow::DropOldest),
        _ => Err("`wait` or `drop-oldest`".to_owned()),
    }
}

/// Seconds, none included, as milliseconds; no more than ten years.
pub(super) fn millis(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=315_360_000.0).contains(&seconds) => Ok((seconds * 1_000.0).round() as u64),
        Ok(_) | Err(_) => Err("a number of seconds, for example 0.5 or 30".to_owned()),
    }
}

impl SettingsArgs {
    /// What was named.
    pub(super) fn patch(self) -> SettingsPatch {
        SettingsPatch {
            exception: self.exception,
            max_failed_deliveries: self.max_failed,
            redelivery_delay_ms: self.redelivery_delay,
            redelivery_delay_max_ms: self.redelivery_delay_max,
            time_to_live_ms: self.time_to_live,
            expired: self.expired,
            max_messages: self.max_messages,
            exclusive: self.exclusive,
            reliability: self.reliability,
            send_paused: None,
            receive_paused: None,
            forward_to: self.forward_to.map(|to| to.0),
            dead_letter_overflow: self.dead_letter_overflow,
            max_dead_letter_bytes: self.max_dead_letter_bytes,
        }
    }
}

/// The contract for scripts.
pub(super) fn as_json(settings: &Settings) -> Value {
    let exception = match &settings.exception {
        ExceptionDestination::System => "system",
        ExceptionDestination::None => "none",
        ExceptionDestination::Queue(name) => name.as_str(),
    };
    json!({
        "exception": exception,
        "max_failed": settings.max_failed_deliveries,
        "redelivery_delay_ms": settings.redelivery_delay_ms,
        "redelivery_delay_max_ms": settings.redelivery_delay_max_ms,
        "time_to_live_ms": settings.time_to_live_ms,
        "expired": settings.expired,
        "max_messages": settings.max_messages,
        "exclusive": settings.exclusive,
        "reliability": settings.reliability,
        "forward_to": settings.forward_to,
        "send_paused": settings.send_paused,
        "receive_paused": settings.receive_paused,
        "dead_letter_overflow": settings.dead_letter_overflow,
        "max_dead_letter_bytes": settings.max_dead_letter_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let before = Settings { max_messages: 7, exclusive: true, ..Settings::default() };
        let args = SettingsArgs {
            exception: Some(exception("none").unwrap()),
            time_to_live: Some(millis("1.5").unwrap()),
            forward_to: Some(forward("other,more").unwrap()),
            ..SettingsArgs::default()
        };
        let after = args.patch().applied_to(&before);
        let expected = Settings {
            exception: ExceptionDestination::None,
            time_to_live_ms: 1_500,
            forward_to: ["other", "more"].map(|name| QueueName::new(name).unwrap()).to_vec(),
            ..before
        };
        assert_eq!(after, expected);
        let args = SettingsArgs { forward_to: Some(forward("none").unwrap()), ..SettingsArgs::default() };
        assert_eq!(args.patch().applied_to(&after).forward_to, []);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        assert!(exception("a b").unwrap_err().contains("a-z"));
        assert!(forward("a,,b").is_err() && forward("a,b c").is_err());
        assert!(expired("later").unwrap_err().contains("`drop`"));
        for bad in ["-1", "x", "NaN", "1e300"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
        assert_eq!(as_json(&Settings::default())["exception"], "system");
    }
}
