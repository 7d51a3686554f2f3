//! Clients of RabbitMQ: a connection and a channel each.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::FutureExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use super::super::load::{Confirm, Consumer, Peer, Producer};
use super::super::workload::Load;

/// The queue.
const NAME: &str = "bench";
/// Deliveries that a consumer has without having acknowledged them.
const PREFETCH: u16 = 256;
/// Delivery mode 2: to be kept on disk. A quorum queue does so anyway.
const PERSISTENT: u8 = 2;
/// Deadline of a connection.
const LIMIT: Duration = Duration::from_secs(30);

/// The node for clients: the one on which the queue was declared, which leads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broker {
    pub(super) port: u16,
}

impl Broker {
    async fn connect(self) -> Result<Line, String> {
        let address = format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port);
        let connecting = Connection::connect(&address, ConnectionProperties::default());
        let connected = tokio::time::timeout(LIMIT, connecting).await.map_err(|error| text(&error))?;
        let connection = connected.map_err(|error| text(&error))?;
        let channel = connection.create_channel().await.map_err(|error| text(&error))?;
        Ok(Line { channel, _connection: connection })
    }
}

/// A connection, which closes when it is dropped, and its channel.
struct Line {
    channel: Channel,
    _connection: Connection,
}

impl Peer for Broker {
    type Producer = Publisher;
    type Consumer = Subscriber;

    async fn create(&self, _: &Load) -> Result<(), String> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(3));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let line = self.connect().await?;
        line.channel.queue_declare(NAME.into(), options, arguments).await.map(drop).map_err(|error| text(&error))
    }

    async fn producer(&self) -> Result<Publisher, String> {
        let line = self.connect().await?;
        line.channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|error| text(&error))?;
        Ok(Publisher(line))
    }

    // Acknowledgements are never confirmed, and delete the message.
    async fn consumer(&self, _: &Load) -> Result<Subscriber, String> {
        let line = self.connect().await?;
        let channel = &line.channel;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(|error| text(&error))?;
        let deliveries =
            channel.basic_consume(NAME.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await;
        Ok(Subscriber { deliveries: deliveries.map_err(|error| text(&error))?, _line: line })
    }

    async fn delete(&self) -> Result<(), String> {
        let line = self.connect().await?;
        let deleted = line.channel.queue_delete(NAME.into(), QueueDeleteOptions::default()).await;
        deleted.map(drop).map_err(|error| text(&error))
    }
}

/// Publishes to the queue.
pub(super) struct Publisher(Line);

impl Producer for Publisher {
    async fn send(&self, body: &Bytes) -> Result<Confirm, String> {
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let publishing =
            self.0.channel.basic_publish("".into(), NAME.into(), BasicPublishOptions::default(), body, properties);
        let confirm = publishing.await.map_err(|error| text(&error))?;
        Ok(confirm
            .map(|confirmation| match confirmation {
                Ok(Confirmation::Ack(None)) => Ok(()),
                Ok(other) => Err(format!("RabbitMQ: not confirmed: {other:?}")),
                Err(error) => Err(text(&error)),
            })
            .boxed())
    }
}

/// Receives from the queue.
pub(super) struct Subscriber {
    deliveries: lapin::Consumer,
    _line: Line,
}

impl Consumer for Subscriber {
    async fn consume(&mut self) -> Result<(), String> {
        let delivery = self.deliveries.next().await.ok_or("the deliveries ended")?.map_err(|error| text(&error))?;
        delivery.ack(BasicAckOptions::default()).await.map(drop).map_err(|error| text(&error))
    }
}

fn text(error: &dyn std::fmt::Display) -> String {
    format!("RabbitMQ: {error}")
}
