//! STUB: stands in for the client until the real one lands; signatures only.
#![allow(missing_docs, clippy::todo, clippy::unused_async)]

use std::future::Future;
use std::time::Duration;

use baton_actors::protocol::{DirectoryReply, DirectoryRequest, QueueStatus, Status};
use baton_storage::{ClusterId, Message, MessageId, QueueName, ServerName};

use crate::config::{Secret, TlsFiles};

#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub servers: Vec<String>,
    pub cluster: ClusterId,
    pub cookie: Secret,
    pub tls: Option<TlsFiles>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    #[error("{0}")]
    Failed(String),
}

pub struct Client;
#[derive(Clone)]
pub struct Producer;
#[derive(Clone)]
pub struct Consumer;

#[derive(Debug, Clone)]
pub struct ProducerOptions {
    pub window_messages: usize,
    pub window_bytes: usize,
    pub give_up: Option<Duration>,
    pub call_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            window_messages: 10_000,
            window_bytes: 8 * 1024 * 1024,
            give_up: None,
            call_timeout: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    pub credit: u32,
    pub call_timeout: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self { credit: 1_000, call_timeout: Duration::from_secs(5) }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SendError(String);

#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConsumerFailure(String);

#[derive(Debug)]
pub struct Confirmation;

impl Future for Confirmation {
    type Output = Result<u64, SendError>;
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        todo!()
    }
}

#[derive(Debug, Clone)]
pub struct Received {
    pub message: Message,
    pub id: MessageId,
    pub redelivered: bool,
    pub redeliveries: u32,
}

impl Client {
    pub async fn connect(_config: ClientConfig) -> Result<Self, ClientError> {
        Err(ClientError::Failed("the client is not written yet".to_owned()))
    }
    pub async fn create_queue(&self, _queue: &QueueName) -> Result<bool, ClientError> {
        todo!()
    }
    pub async fn delete_queue(&self, _queue: &QueueName) -> Result<(), ClientError> {
        todo!()
    }
    pub async fn queues(&self) -> Result<Vec<QueueStatus>, ClientError> {
        todo!()
    }
    pub async fn producer(&self, _queue: &QueueName, _options: ProducerOptions) -> Result<Producer, ClientError> {
        todo!()
    }
    pub async fn consumer(&self, _queue: &QueueName, _options: ConsumerOptions) -> Result<Consumer, ClientError> {
        todo!()
    }
    pub async fn admin(&self, _request: DirectoryRequest) -> Result<DirectoryReply, ClientError> {
        todo!()
    }
    pub async fn ask(&self, _server: &ServerName, _request: DirectoryRequest) -> Result<DirectoryReply, ClientError> {
        todo!()
    }
    pub async fn status(&self) -> Result<Status, ClientError> {
        todo!()
    }
    pub async fn close(self) {}
}

impl Producer {
    pub async fn send(&self, _message: Message) -> Result<Confirmation, SendError> {
        todo!()
    }
    pub async fn close(&self) -> Result<(), SendError> {
        todo!()
    }
}

impl Consumer {
    pub async fn recv(&self) -> Result<Received, ConsumerFailure> {
        todo!()
    }
    pub fn try_recv(&self) -> Result<Option<Received>, ConsumerFailure> {
        todo!()
    }
    pub fn acknowledge(&self, _id: MessageId) -> Result<(), ConsumerFailure> {
        todo!()
    }
    pub fn pause(&self) -> Result<(), ConsumerFailure> {
        todo!()
    }
    pub async fn flush(&self) -> Result<(), ConsumerFailure> {
        todo!()
    }
    pub async fn close(&self) -> Result<(), ConsumerFailure> {
        todo!()
    }
}
