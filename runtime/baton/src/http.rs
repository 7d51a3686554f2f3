//! A server's HTTP port: `/health`, `/ready`, `/metrics` and a page for people at `/`.
//!
//! Reads only, asks for no secret and shows none. Bounded: a fixed number of connections, each for a limited time, and a
//! fixed number of answers at a time that take work; health and readiness take none and are always answered.

mod listener;
mod metrics;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use baton_client::protocol::Status;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

pub use metrics::{LinkMetrics, Metrics, QueueMetrics};

/// How long a handler may take to find out.
const ANSWER: Duration = Duration::from_secs(5);
/// How many answers that take work may be worked on at a time.
const ANSWERS: usize = 8;
/// How long answers that are on their way may take at shutdown.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a server tells over HTTP.
pub trait HttpSource: Send + Sync + 'static {
    /// What an operator should look at although the process lives, in words. Must not block.
    fn trouble(&self) -> Option<String>;

    /// Whether the engine is started on this server; if not, why, in words. Must not block.
    ///
    /// # Errors
    /// The words.
    fn ready(&self) -> Result<(), String>;

    /// This server in numbers.
    fn metrics(&self) -> BoxFuture<'_, Metrics>;

    /// The cluster, as this server sees it.
    fn status(&self) -> BoxFuture<'_, Status>;
}

/// Why the HTTP port is not served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It cannot be listened on.
    #[error("cannot listen on {address} for HTTP: {why}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        why: String,
    },
}

/// A port that is served, until [`HttpServer::shutdown`] or until it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl HttpServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, gives answers that are on their way a moment, and frees the port.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(FAREWELL, &mut self.serving).await.is_err() {
            self.serving.abort();
            // It was aborted: only that it is gone matters.
            let _ = (&mut self.serving).await;
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves `source` on `listen`, `host:port`.
///
/// # Errors
/// [`HttpError::Listen`] if the address is in use, or none of this machine.
pub async fn serve(listen: &str, source: Arc<dyn HttpSource>) -> Result<HttpServer, HttpError> {
    let failed = |error: std::io::Error| HttpError::Listen { address: listen.to_owned(), why: error.to_string() };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(listener::run(listener, router(source), stopped));
    Ok(HttpServer { address, stop, serving })
}

fn router(source: Arc<dyn HttpSource>) -> Router {
    let room = Arc::new(Semaphore::new(ANSWERS));
    let bounded = from_fn(move |request: Request, next: Next| {
        let room = room.clone();
        async move {
            match room.try_acquire() {
                Ok(_permit) => next.run(request).await,
                Err(_) => busy(),
            }
        }
    });
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/", get(console))
        .route_layer(bounded)
        .route("/health", get(health))
        .route("/ready", get(ready))
        .with_state(source)
}

async fn health(State(source): State<Arc<dyn HttpSource>>) -> String {
    match source.trouble() {
        None => "live\n".to_owned(),
        Some(why) => format!("live; {why}\n"),
    }
}

async fn ready(State(source): State<Arc<dyn HttpSource>>) -> Response {
    match source.ready() {
        Ok(()) => "the engine is started here\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics_text(State(source): State<Arc<dyn HttpSource>>) -> Response {
    match tokio::time::timeout(ANSWER, source.metrics()).await {
        Ok(metrics) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.to_text()).into_response(),
        Err(_) => slow(),
    }
}

async fn console(State(source): State<Arc<dyn HttpSource>>) -> Response {
    match tokio::time::timeout(ANSWER, source.status()).await {
        Ok(status) => Html(page::page(&status)).into_response(),
        Err(_) => slow(),
    }
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many requests at a time: ask again in a moment\n").into_response()
}

fn slow() -> Response {
    (StatusCode::GATEWAY_TIMEOUT, "the server did not find out in time\n").into_response()
}

#[cfg(test)]
mod tests;
