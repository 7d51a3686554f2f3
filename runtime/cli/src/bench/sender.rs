//! The bench's producer: sends without waiting, and reads confirms in batches.

use std::sync::Arc;

use baton::client::{Client, Producer, ProducerEvent, ProducerOptions};
use baton_domain::clock::BootTime;
use baton_domain::{Message, QueueName};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Failure;

use super::GIVE_UP;

/// Bytes of a body used by the send time.
pub(super) const STAMP_BYTES: usize = size_of::<u64>();

/// Contents of the messages.
#[derive(Debug, Clone)]
pub(super) struct Body {
    fill: Bytes,
    stamped: bool,
}

impl Body {
    /// Bodies of this size, which begin with the send time if they are `stamped`.
    pub(super) fn new(size: usize, stamped: bool) -> Self {
        assert!(!stamped || size >= STAMP_BYTES, "a stamp does not fit in {size} bytes");
        Self { fill: Bytes::from(vec![b'x'; size]), stamped }
    }

    fn message(&self, at: BootTime) -> Message {
        if !self.stamped {
            return Message::new(self.fill.clone());
        }
        let mut body = self.fill.to_vec();
        body[..STAMP_BYTES].copy_from_slice(&at.0.to_be_bytes());
        Message::new(body)
    }
}

/// Send time of a stamped message. Both ends are in this process and use this machine's clock.
pub(super) fn sent_at(message: &Message) -> Option<BootTime> {
    message.body.first_chunk().map(|stamp| BootTime(u64::from_be_bytes(*stamp)))
}

/// The sending half. Sends from any thread.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    producer: Producer,
    body: Body,
}

impl Outlet {
    /// Sends a message; the producer's window must have room. False if the producer is gone.
    pub(super) fn send(&self, at: BootTime) -> bool {
        // The confirm arrives as an event, batched with others.
        self.producer.try_send(self.body.message(at)).is_ok()
    }
}

/// A producer and its events.
pub(super) struct Sender {
    outlet: Outlet,
    /// Bounded by the number of unconfirmed messages.
    events: mpsc::UnboundedReceiver<ProducerEvent>,
}

impl Sender {
    /// A producer that connects by itself, with at most `window` unconfirmed messages.
    pub(super) async fn spawn(client: &Client, queue: &QueueName, window: usize, body: Body) -> Result<Self, Failure> {
        let options = ProducerOptions {
            window_messages: window,
            // The window is bounded by messages only, not by bytes.
            window_bytes: (window * (body.fill.len() + 64)).max(1024 * 1024),
            give_up: Some(GIVE_UP),
            ..ProducerOptions::default()
        };
        let (sink, events) = mpsc::unbounded_channel();
        let sink = Arc::new(move |event| drop(sink.send(event)));
        let producer = client.producer_with_events(queue, options, sink).await?;
        Ok(Self { outlet: Outlet { producer, body }, events })
    }

    /// The sending half.
    pub(super) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Waits until the engine accepts messages.
    pub(super) async fn connected(&mut self) -> Result<(), Failure> {
        while !matches!(self.event().await?, ProducerEvent::Connected { .. }) {}
        Ok(())
    }

    /// Waits for the next confirm; returns the number of messages confirmed so far.
    pub(super) async fn confirmed(&mut self) -> Result<u64, Failure> {
        loop {
            if let ProducerEvent::Confirmed { through } = self.event().await? {
                return Ok(through);
            }
        }
    }

    /// The reason why the producer ended.
    pub(super) async fn why_gone(&mut self) -> Failure {
        loop {
            if let Err(why) = self.event().await {
                return why;
            }
        }
    }

    /// The next event; an event that ends the bench is a failure.
    async fn event(&mut self) -> Result<ProducerEvent, Failure> {
        match self.events.recv().await {
            Some(ProducerEvent::Refused { why, .. }) => Err(Failure::new(format!("not sent: {why}"))),
            Some(ProducerEvent::Failed { why, .. }) => Err(Failure::new(format!("not confirmed: {why}"))),
            None => Err(Failure::new("a producer stopped")),
            Some(
                event @ (ProducerEvent::Connected { .. }
                | ProducerEvent::Disconnected
                | ProducerEvent::Confirmed { .. }
                | ProducerEvent::Resent { .. }
                | ProducerEvent::LinkLost { .. }),
            ) => Ok(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sending_comes_out_of_a_body_as_it_went_in() {
        let at = BootTime(0x0102_0304_0506_0708);
        let message = Body::new(9, true).message(at);
        assert_eq!((message.body.len(), message.body[8]), (9, b'x'));
        assert_eq!(sent_at(&message), Some(at));
        assert_eq!(Body::new(3, false).message(at), Message::new("xxx"));
        assert_eq!(sent_at(&Message::new("short")), None);
    }
}
