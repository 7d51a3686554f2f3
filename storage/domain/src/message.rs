//! Messages, as a producer sends them and as the store holds them.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::properties::{PRIORITY_DEFAULT, PRIORITY_MAX};
use super::{Fields, Properties, Reliability, Value, exception_header};

/// What a producer sends: headers, what it asks of the engine, and a body of bytes that the engine never looks into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names and values, in the producer's order.
    pub headers: Vec<(String, String)>,
    /// What it asks of the engine; `None`: nothing.
    pub properties: Option<Box<Properties>>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// A message of a body alone.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With that priority, 0 to 9: higher ones are delivered first.
    #[must_use]
    pub fn with_priority(self, priority: u8) -> Self {
        self.with(|properties| properties.priority = priority)
    }

    /// No longer delivered after so long. A deadline that it has from elsewhere ends.
    #[must_use]
    pub fn with_time_to_live(self, time: Duration) -> Self {
        self.with(|properties| (properties.time_to_live_ms, properties.deadline_ms) = (millis(time), 0))
    }

    /// Not delivered before so long.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        self.with(|properties| properties.delay_ms = millis(delay))
    }

    /// With what ties an answer to it.
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        self.with(|properties| properties.correlation_id = id.into())
    }

    /// With the queue that an answer is to go to.
    #[must_use]
    pub fn with_reply_to(self, queue: impl Into<String>) -> Self {
        self.with(|properties| properties.reply_to = queue.into())
    }

    /// Published under that topic.
    #[must_use]
    pub fn with_topic(self, topic: impl Into<String>) -> Self {
        self.with(|properties| properties.topic = topic.into())
    }

    /// At that level, whatever its destination says.
    #[must_use]
    pub fn with_reliability(self, reliability: Reliability) -> Self {
        self.with(|properties| properties.reliability = Some(reliability))
    }

    /// In that group: its messages go to one consumer at a time, in order.
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

    /// From 0 to 9.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.properties.as_ref().map_or(PRIORITY_DEFAULT, |properties| properties.priority.min(PRIORITY_MAX))
    }

    /// What ties an answer to it; empty: nothing.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.correlation_id)
    }

    /// The queue that an answer is to go to; empty: none.
    #[must_use]
    pub fn reply_to(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.reply_to)
    }

    /// What it is about; empty: nothing.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.topic)
    }

    /// What may become of it; `None`: as its destination says.
    #[must_use]
    pub fn reliability(&self) -> Option<Reliability> {
        self.properties.as_ref().and_then(|properties| properties.reliability)
    }

    /// The group that it is in; empty: none.
    #[must_use]
    pub fn group(&self) -> &str {
        self.properties.as_ref().map_or("", |properties| &properties.group)
    }

    /// How long it waits before it can be delivered, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self) -> u64 {
        self.properties.as_ref().map_or(0, |properties| properties.delay_ms)
    }

    /// When it expires if it is taken at `at_ms` by a destination whose messages live for `default_ms` unless they say it
    /// themselves: all in milliseconds, the times since 1970; 0: never.
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

    /// As a consumer has it that expires then (0: never): sent on, it waits for nothing a second time, and keeps its
    /// deadline.
    #[must_use]
    pub fn delivered(mut self, expires_ms: u64) -> Self {
        if expires_ms != 0 || self.asks_for_time() {
            let properties = self.properties.get_or_insert_default();
            (properties.delay_ms, properties.deadline_ms) = (0, expires_ms);
        }
        self
    }

    /// Ends what it asks for in time: its delay is over, and how long it lives its next destination says.
    pub fn without_times(&mut self) {
        if self.asks_for_time()
            && let Some(properties) = &mut self.properties
        {
            (properties.delay_ms, properties.time_to_live_ms, properties.deadline_ms) = (0, 0, 0);
        }
    }

    /// Ends its delay.
    pub fn without_delay(&mut self) {
        if let Some(properties) = &mut self.properties {
            properties.delay_ms = 0;
        }
    }

    fn asks_for_time(&self) -> bool {
        let asks = |of: &Properties| of.delay_ms != 0 || of.time_to_live_ms != 0 || of.deadline_ms != 0;
        self.properties.as_deref().is_some_and(asks)
    }

    /// What the message counts against the limit of a message's size, in bytes: as [`Self::size`], without the headers that
    /// an exception destination put on it.
    #[must_use]
    pub fn limited_size(&self) -> usize {
        let ours = self.headers.iter().filter(|(name, _)| exception_header::is_one(name));
        let uncounted = ours.map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.size() - uncounted.min(exception_header::UNCOUNTED_MAX)
    }

    /// What the message counts against size limits, in bytes: body, header names and values, texts of its properties.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + self.properties.as_ref().map_or(0, |properties| properties.size())
    }
}

/// What a selector can ask for: `priority`, `topic`, `correlation_id`, `reply_to` and `group`, and any other name is a header's.
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

/// An empty text is none.
fn named(text: &str) -> Option<Value<'_>> {
    (!text.is_empty()).then(|| Value::Text(text.into()))
}

/// Times beyond some hundred million years count as that.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A message as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// What was sent.
    pub message: Message,
    /// When the engine took it, in Unix milliseconds by the engine's clock.
    pub at_ms: u64,
    /// When it expires, in Unix milliseconds by the engine's clock; 0: never.
    pub expires_ms: u64,
    /// How often it was handed back (refused, or its consumer went away) since it was stored.
    pub redeliveries: u32,
}
