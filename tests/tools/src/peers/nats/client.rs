//! Clients of NATS: a JetStream stream with three replicas in files, and pull consumers with explicit acknowledgements.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, Message};
use baton_tests::clock::Deadline;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::FutureExt as _;
use futures::stream::FuturesUnordered;

use super::super::load::{Confirm, Consumer, Peer, Producer};
use super::super::workload::{Consumed, Load};
use super::{Port, SERVERS, Servers};

/// Of the stream, of its subject, and of the consumer that all consumers share.
const NAME: &str = "bench";
/// Messages that a consumer has without having acknowledged them.
const PREFETCH: usize = 256;
/// Deadline for the stream's leader, and the interval of the checks.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

impl Servers {
    async fn connect(&self, number: u16) -> Result<Context, String> {
        let client = async_nats::connect(self.address(number, Port::Client)).await.map_err(|error| text(&error))?;
        Ok(jetstream::new(client))
    }

    /// Finds out which server leads the stream, as far as both others follow it.
    async fn find_leader(&self, context: &Context) -> Result<(), String> {
        let mut stream = context.get_stream(NAME).await.map_err(|error| text(&error))?;
        let cluster = stream.info().await.map_err(|error| text(&error))?.cluster.clone().ok_or("no cluster")?;
        let current = cluster.replicas.iter().filter(|replica| replica.current).count();
        match (1..=SERVERS).find(|number| cluster.leader.as_deref() == Some(&self.name(*number))) {
            Some(leader) if current + 1 == usize::from(SERVERS) => {
                self.leader.store(leader, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(format!("the stream has no leader with two followers: {cluster:?}")),
        }
    }

    async fn connect_leader(&self) -> Result<Context, String> {
        self.connect(self.leader.load(Ordering::Relaxed)).await
    }
}

impl Peer for Servers {
    type Producer = Publisher;
    type Consumer = Puller;

    async fn create(&self, load: &Load) -> Result<(), String> {
        let kept = load.consumed == Consumed::Kept;
        let config = Config {
            name: NAME.to_owned(),
            subjects: vec![NAME.to_owned()],
            num_replicas: usize::from(SERVERS),
            storage: StorageType::File,
            retention: if kept { RetentionPolicy::Limits } else { RetentionPolicy::WorkQueue },
            ..Config::default()
        };
        let context = self.connect(1).await?;
        // A cluster that has just come up refuses the first ones, and a stream has no leader at once.
        retry(async || context.create_stream(config.clone()).await.map_err(|error| text(&error))).await?;
        retry(async || self.find_leader(&context).await).await?;
        let consumer = pull::Config {
            durable_name: Some(NAME.to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 2 * 4 * PREFETCH as i64,
            ..pull::Config::default()
        };
        context.create_consumer_on_stream(consumer, NAME).await.map(drop).map_err(|error| text(&error))
    }

    async fn producer(&self) -> Result<Publisher, String> {
        self.connect_leader().await.map(Publisher)
    }

    async fn consumer(&self, load: &Load) -> Result<Puller, String> {
        let context = self.connect_leader().await?;
        let consumer: PullConsumer =
            context.get_consumer_from_stream(NAME, NAME).await.map_err(|error| text(&error))?;
        let messages = consumer.stream().max_messages_per_batch(PREFETCH).messages().await;
        Ok(Puller {
            messages: messages.map_err(|error| text(&error))?,
            confirmed: load.consumed == Consumed::Confirmed,
            acknowledging: FuturesUnordered::new(),
            _context: context,
        })
    }

    async fn delete(&self) -> Result<(), String> {
        self.connect(1).await?.delete_stream(NAME).await.map(drop).map_err(|error| text(&error))
    }
}

/// Publishes to the stream.
pub(super) struct Publisher(Context);

impl Producer for Publisher {
    async fn send(&self, body: &Bytes) -> Result<Confirm, String> {
        let confirm = self.0.publish(NAME, body.clone()).await.map_err(|error| text(&error))?;
        Ok(confirm.into_future().map(|confirmed| confirmed.map(drop).map_err(|error| text(&error))).boxed())
    }
}

/// Pulls from the consumer that all share.
pub(super) struct Puller {
    messages: pull::Stream,
    /// True if a message counts only once the server has confirmed its acknowledgement (`double_ack`).
    confirmed: bool,
    acknowledging: FuturesUnordered<Confirm>,
    _context: Context,
}

impl Consumer for Puller {
    async fn consume(&mut self) -> Result<(), String> {
        loop {
            let message = tokio::select! {
                Some(confirmed) = self.acknowledging.next() => return confirmed,
                message = self.messages.next(), if self.acknowledging.len() < PREFETCH => message,
            };
            let message = message.ok_or("the messages ended")?.map_err(|error| text(&error))?;
            if !self.confirmed {
                return message.ack().await.map_err(|error| text(&error));
            }
            self.acknowledging.push(double_ack(message).boxed());
        }
    }
}

async fn double_ack(message: Message) -> Result<(), String> {
    message.double_ack().await.map_err(|error| text(&error))
}

/// Again and again until it succeeds, for as long as the limit.
async fn retry<T>(mut attempt: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Deadline::within(LIMIT);
    loop {
        match attempt().await {
            Err(_) if !deadline.passed() => tokio::time::sleep(PAUSE).await,
            ended => return ended,
        }
    }
}

fn text(error: &dyn std::fmt::Display) -> String {
    format!("NATS: {error}")
}
