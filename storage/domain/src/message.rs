//! Messages, as sent by producers and as stored.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::properties::{PRIORITY_DEFAULT, PRIORITY_MAX};
use super::{Fields, Properties, Reliability, Value, exception_header};

/// A message to send: headers, properties for the engine, and an opaque body of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names and values, in the producer's order.
    pub headers: Vec<(String, String)>,
    /// Properties for the engine; `None`: defaults.
    pub properties: Option<Box<Properties>>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// A message with a body and nothing else.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the priority, 0 to 9; higher is delivered first.
    #[must_use]
    pub fn with_priority(self, priority: u8) -> Self {
        self.with(|properties| properties.priority = priority)
    }

    /// Sets the time to live; replaces an inherited deadline.
    #[must_use]
    pub fn with_time_to_live(self, time: Duration) -> Self {
        self.with(|properties| (properties.time_to_live_ms, properties.deadline_ms) = (millis(time), 0))
    }

    /// Sets the delivery delay: the message is not delivered before.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        self.with(|properties| properties.delay_ms = millis(delay))
    }

    /// Sets the correlation id.
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        self.with(|properties| properties.correlation_id = id.into())
    }

    /// Sets the reply queue.
    #[must_use]
    pub fn with_reply_to(self, queue: impl Into<String>) -> Self {
        self.with(|properties| properties.reply_to = queue.into())
    }

    /// Sets the topic under which it is published.
    #[must_use]
    pub fn with_topic(self, topic: impl Into<String>) -> Self {
        self.with(|properties| properties.topic = topic.into())
    }

    /// Sets the reliability level; overrides the destination's default.
    #[must_use]
    pub fn with_reliability(self, reliability: Reliability) -> Self {
        self.with(|properties| properties.reliability = Some(reliability))
    }

    /// Sets the message group: its messages go to one consumer at a time, in order.
    #[must_use]
    pub fn with_group(self, group: impl Into<String>) -> Self {
        self.with(|properties| properties.group = group.into())
    }

    fn with(mut self, change: impl FnOnce(&mut Properties)) -> Self {
        change(self.properties.get_or_insert_default());
        self
    }

    /// The value of the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Priority, 0 to 9.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.properties.as_ref().map_or(PRIORITY_DEFAULT, |properties| properties.priority.min(PRIORITY_MAX))
    }

    /// Correlation id; empty: none.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.correlation_id)
    }

    /// Reply queue; empty: none.
    #[must_use]
    pub fn reply_to(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.reply_to)
    }

    /// Topic; empty: none.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.topic)
    }

    /// Reliability level; `None`: the destination's default.
    #[must_use]
    pub fn reliability(&self) -> Option<Reliability> {
        self.properties.as_ref().and_then(|properties| properties.reliability)
    }

    /// Message group; empty: none.
    #[must_use]
    pub fn group(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.group)
    }

    /// Delivery delay, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self) -> u64 {
        self.properties.as_ref().map_or(0, |properties| properties.delay_ms)
    }

    /// Expiry if it is accepted at `at_ms` by a destination with the default time to live `default_ms`: all in
    /// milliseconds, the times since 1970; 0: never.
    #[must_use]
    pub fn expires_ms(&self, at_ms: u64, default_ms: u64) -> u64 {
        let own = |of: fn(&Properties) -> u64| self.properties.as_deref().map_or(0, of);
        let (deadline_ms, own_ms) = (own(|of| of.deadline_ms), own(|of| of.time_to_live_ms));
        match if own_ms == 0 { default_ms } else { own_ms } {
            _ if deadline_ms != 0 => deadline_ms,
            0 => 0,
            live_ms => at_ms.saturating_add(live_ms),
        }
    }

    /// The form delivered to a consumer of a message that expires then (0: never): sent on, it has no delay, and keeps its
    /// deadline.
    #[must_use]
    pub fn delivered(mut self, expires_ms: u64) -> Self {
        if expires_ms != 0 || self.asks_for_time() {
            let properties = self.properties.get_or_insert_default();
            (properties.delay_ms, properties.deadline_ms) = (0, expires_ms);
        }
        self
    }

    /// Removes delay, time to live and deadline: its next destination sets the time to live.
    pub fn without_times(&mut self) {
        if self.asks_for_time()
            && let Some(properties) = &mut self.properties
        {
            (properties.delay_ms, properties.time_to_live_ms, properties.deadline_ms) = (0, 0, 0);
        }
    }

    /// Removes the delay.
    pub fn without_delay(&mut self) {
        if let Some(properties) = &mut self.properties {
            properties.delay_ms = 0;
        }
    }

    fn asks_for_time(&self) -> bool {
        let asks = |of: &Properties| of.delay_ms != 0 || of.time_to_live_ms != 0 || of.deadline_ms != 0;
        self.properties.as_deref().is_some_and(asks)
    }

    /// Bytes that count against the size limit of a message: as [`Self::size`], without the headers added by an exception
    /// destination.
    #[must_use]
    pub fn limited_size(&self) -> usize {
        let ours = self.headers.iter().filter(|(name, _)| exception_header::is_one(name));
        let uncounted = ours.map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.size() - uncounted.min(exception_header::UNCOUNTED_MAX)
    }

    /// Bytes that count against size limits: body, header names and values, texts of the properties.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + self.properties.as_ref().map_or(0, |properties| properties.size())
    }
}

/// Fields for selectors: `priority`, `topic`, `correlation_id`, `reply_to` and `group`; any other name is a header's.
impl Fields for Message {
    fn field(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "priority" => Some(Value::Number(f64::from(self.priority()))),
            "topic" => named(self.topic()),
            "correlation_id" => named(self.correlation_id()),
            "reply_to" => named(self.reply_to()),
            "group" => named(self.group()),
            header => self.header(header).map(|value| Value::Text(value.into())),
        }
    }
}

/// `None` for an empty text.
fn named(text: &str) -> Option<Value<'_>> {
    (!text.is_empty()).then(|| Value::Text(text.into()))
}

/// Saturates: some hundred million years.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// The message as sent.
    pub message: Message,
    /// Time of acceptance, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// Time of expiry, in Unix milliseconds by the engine's clock; 0: never.
    pub expires_ms: u64,
    /// Number of redeliveries so far: it was refused, or its consumer went away.
    pub redeliveries: u32,
}
