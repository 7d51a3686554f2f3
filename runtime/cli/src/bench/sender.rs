//! A producer as the bench uses it: sends without waiting, and hears of confirms once a batch.

use std::sync::Arc;

use baton::client::{Client, Producer, ProducerEvent, ProducerOptions};
use baton_domain::clock::BootTime;
use baton_domain::{Message, QueueName};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Failure;

use super::GIVE_UP;

/// What the time of sending takes of a body.
pub(super) const STAMP_BYTES: usize = size_of::<u64>();

/// What messages carry.
#[derive(Debug, Clone)]
pub(super) struct Body {
    fill: Bytes,
    stamped: bool,
}

impl Body {
    /// Bodies of so many bytes, which begin with the time of sending if they are `stamped`.
    pub(super) fn new(size: usize, stamped: bool) -> Self {
        assert!(!stamped || size >= STAMP_BYTES, "{size} bytes have no room for the time");
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

/// When a message that is stamped was sent. The clock is this machine's, and both ends are in this process.
pub(super) fn sent_at(message: &Message) -> Option<BootTime> {
    message.body.first_chunk().map(|stamp| BootTime(u64::from_be_bytes(*stamp)))
}

/// Where messages go in. Sends from any thread.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    producer: Producer,
    body: Body,
}

impl Outlet {
    /// Sends a message, for which the producer's window has to have room; false if the producer is gone.
    pub(super) fn send(&self, at: BootTime) -> bool {
        // Its confirm comes as an event, together with others.
        self.producer.try_send(self.body.message(at)).is_ok()
    }
}

/// A producer and what it reports.
pub(super) struct Sender {
    outlet: Outlet,
    /// Never more than there are unconfirmed messages.
    events: mpsc::UnboundedReceiver<ProducerEvent>,
}

impl Sender {
    /// A producer that connects by itself; at most `window` messages may be unconfirmed.
    pub(super) async fn spawn(client: &Client, queue: &QueueName, window: usize, body: Body) -> Result<Self, Failure> {
        let options = ProducerOptions {
            window_messages: window,
            // The window is counted in messages alone.
            window_bytes: (window * (body.fill.len() + 64)).max(1024 * 1024),
            give_up: Some(GIVE_UP),
            ..ProducerOptions::default()
        };
        let (sink, events) = mpsc::unbounded_channel();
        let sink = Arc::new(move |event| drop(sink.send(event)));
        let producer = client.producer_with_events(queue, options, sink).await?;
        Ok(Self { outlet: Outlet { producer, body }, events })
    }

    /// Where its messages go in.
    pub(super) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Waits until the engine takes messages.
    pub(super) async fn connected(&mut self) -> Result<(), Failure> {
        while !matches!(self.event().await?, ProducerEvent::Connected { .. }) {}
        Ok(())
    }

    /// Waits for the next confirm: how many messages are confirmed since the producer began.
    pub(super) async fn confirmed(&mut self) -> Result<u64, Failure> {
        loop {
            if let ProducerEvent::Confirmed { through } = self.event().await? {
                return Ok(through);
            }
        }
    }

    /// Why the producer takes nothing any more.
    pub(super) async fn why_gone(&mut self) -> Failure {
        loop {
            if let Err(why) = self.event().await {
                return why;
            }
        }
    }

    /// The next event; those that end the bench are failures.
    async fn event(&mut self) -> Result<ProducerEvent, Failure> {
        match self.events.recv().await {
            Some(ProducerEvent::Refused { why, .. }) => Err(Failure::new(format!("not sent: {why}"))),
            Some(ProducerEvent::Failed { why, .. }) => Err(Failure::new(format!("not confirmed: {why}"))),
            None => Err(Failure::new("a producer stopped")),
            Some(
                event @ (ProducerEvent::Connected { .. }
                | ProducerEvent::Disconnected
                | ProducerEvent::Confirmed { .. }
                | ProducerEvent::Resent { .. }),
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
