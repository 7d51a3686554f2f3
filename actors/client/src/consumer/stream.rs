//! A consumer as a stream of messages.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;

use super::{Consumer, ConsumerFailure, Received};

/// The messages of a consumer, as they arrive. Ends after the error that ends the consumer, or when the consumer is
/// closed.
pub struct ConsumerStream {
    consumer: Consumer,
    next: Option<BoxFuture<'static, Result<Received, ConsumerFailure>>>,
    ended: bool,
}

impl std::fmt::Debug for ConsumerStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerStream").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

impl Consumer {
    /// A stream of the messages that [`Consumer::recv`] would return. A stream that is dropped has taken no message
    /// that it did not return.
    #[must_use]
    pub fn stream(&self) -> ConsumerStream {
        ConsumerStream { consumer: self.clone(), next: None, ended: false }
    }
}

impl Stream for ConsumerStream {
    type Item = Result<Received, ConsumerFailure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let consumer = &this.consumer;
        let next = this.next.get_or_insert_with(|| {
            let consumer = consumer.clone();
            Box::pin(async move { consumer.recv().await })
        });
        let received = match next.as_mut().poll(context) {
            Poll::Ready(received) => received,
            Poll::Pending => return Poll::Pending,
        };
        this.next = None;
        this.ended = received.is_err();
        match received {
            Err(ConsumerFailure::Closed) => Poll::Ready(None),
            received => Poll::Ready(Some(received)),
        }
    }
}
