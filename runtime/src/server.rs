//! STUB: stands in for the server until the real one lands; signatures only.
#![allow(missing_docs, clippy::todo, clippy::unused_async)]

use crate::config::ServerConfig;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{0}")]
    Failed(String),
}

pub struct Server;

impl Server {
    pub async fn start(_config: ServerConfig) -> Result<Self, ServerError> {
        Err(ServerError::Failed("the server is not written yet".to_owned()))
    }
    pub async fn failed(&self) -> ServerError {
        todo!()
    }
    pub async fn shutdown(self) {}
}
