//! Settings of a queue, as options and as JSON.

use std::str::FromStr;

use baton_domain::{
    DeadLetterOverflow, ExceptionDestination, Expired, QueueName, Reliability, Settings, SettingsPatch,
};
use clap::Args;
use serde_json::{Value, json};

/// Settings options of `baton queue create` and `baton queue set`; settings that are not named stay.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SettingsArgs {
    /// Exception destination of dead letters: `system`, `none`, or a queue
    #[arg(long, value_name = "QUEUE", value_parser = exception)]
    exception: Option<ExceptionDestination>,
    /// Failed deliveries after which a message becomes a dead letter; 0 = unlimited
    #[arg(long, value_name = "N")]
    max_failed: Option<u32>,
    /// Backoff after a failed delivery, doubled after each further one; 0 = redeliver at once
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    redelivery_delay: Option<u64>,
    /// Maximum redelivery backoff
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    redelivery_delay_max: Option<u64>,
    /// Default time to live of messages; 0 = unlimited
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    time_to_live: Option<u64>,
    /// Expired messages: `drop` them, or send them to the `exception` destination
    #[arg(long, value_name = "WHAT", value_parser = expired)]
    expired: Option<Expired>,
    /// Maximum number of messages; a full queue accepts no more; 0 = unlimited
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Serve one consumer at a time, with the others on standby: `true` or `false`
    #[arg(long, value_name = "BOOL")]
    exclusive: Option<bool>,
    /// Default reliability level of messages, for example `reliable-nonpersistent`
    #[arg(long, value_name = "LEVEL")]
    reliability: Option<Reliability>,
    /// Forward messages to these queues instead of storing them (name the queue itself to store them, too); `none`: stop
    #[arg(long, value_name = "QUEUE,...", value_parser = forward)]
    forward_to: Option<Forward>,
    /// When full, dead letters for this queue `wait` in their source queue, or it drops its oldest ones: `drop-oldest`
    #[arg(long, value_name = "WHAT", value_parser = overflow)]
    dead_letter_overflow: Option<DeadLetterOverflow>,
    /// Bytes of messages at which the queue is full for dead letters; 0 = unlimited
    #[arg(long, value_name = "BYTES")]
    max_dead_letter_bytes: Option<u64>,
}

/// Forward targets; an empty list ends forwarding.
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
        _ => Err("expected `drop` or `exception`".to_owned()),
    }
}

fn overflow(text: &str) -> Result<DeadLetterOverflow, String> {
    match text {
        "wait" => Ok(DeadLetterOverflow::Wait),
        "drop-oldest" => Ok(DeadLetterOverflow::DropOldest),
        _ => Err("expected `wait` or `drop-oldest`".to_owned()),
    }
}

/// Seconds as milliseconds; from 0 to ten years.
pub(super) fn millis(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=315_360_000.0).contains(&seconds) => Ok((seconds * 1_000.0).round() as u64),
        Ok(_) | Err(_) => Err("expected a number of seconds, for example 0.5 or 30".to_owned()),
    }
}

impl SettingsArgs {
    /// The named settings.
    pub(super) fn patch(self) -> SettingsPatch {
        let mut patch = SettingsPatch::default();
        patch.exception = self.exception;
        patch.max_failed_deliveries = self.max_failed;
        patch.redelivery_delay_ms = self.redelivery_delay;
        patch.redelivery_delay_max_ms = self.redelivery_delay_max;
        patch.time_to_live_ms = self.time_to_live;
        patch.expired = self.expired;
        patch.max_messages = self.max_messages;
        patch.exclusive = self.exclusive;
        patch.reliability = self.reliability;
        patch.forward_to = self.forward_to.map(|to| to.0);
        patch.dead_letter_overflow = self.dead_letter_overflow;
        patch.max_dead_letter_bytes = self.max_dead_letter_bytes;
        patch
    }
}

/// The JSON output: a contract for scripts.
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
