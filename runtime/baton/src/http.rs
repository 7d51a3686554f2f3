//! A server's HTTP port: `/health`, `/ready`, `/metrics` and a status page at `/`.
//!
//! Read-only, without authentication and without secrets. Bounded: a fixed number of connections, each for a limited
//! time, and a fixed number of concurrent expensive requests; health and readiness are cheap and always answered.

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

pub use metrics::{DatabaseMetrics, LinkMetrics, Metrics, QueueMetrics};

/// Time limit of a handler.
const ANSWER: Duration = Duration::from_secs(5);
/// Maximum concurrent expensive requests.
const ANSWERS: usize = 8;
/// Time that requests in flight get at shutdown.
const FAREWELL: Duration = Duration::from_secs(1);

/// The source of the HTTP answers.
pub trait HttpSource: Send + Sync + 'static {
    /// A problem for the operator although the process is live, as text. Must not block.
    fn trouble(&self) -> Option<String>;

    /// Success if the engine is started on this server; else the reason, as text. Must not block.
    ///
    /// # Errors
    /// The reason.
    fn ready(&self) -> Result<(), String>;

    /// The metrics of this server.
    fn metrics(&self) -> BoxFuture<'_, Metrics>;

    /// The status of the cluster, as this server sees it.
    fn status(&self) -> BoxFuture<'_, Status>;
}

/// Error of the HTTP port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for HTTP")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// An HTTP port that is served, until [`HttpServer::shutdown`] or until it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl HttpServer {
    /// Its listen address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, gives requests in flight a moment, and frees the port.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(FAREWELL, &mut self.serving).await.is_err() {
            self.serving.abort();
            // It was aborted: only its end matters.
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
/// [`HttpError::Listen`] if the address is in use, or not one of this machine.
pub async fn serve(listen: &str, source: Arc<dyn HttpSource>) -> Result<HttpServer, HttpError> {
    let failed = |source| HttpError::Listen { address: listen.to_owned(), source };
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
    (StatusCode::SERVICE_UNAVAILABLE, "too many concurrent requests: retry in a moment\n").into_response()
}

fn slow() -> Response {
    (StatusCode::GATEWAY_TIMEOUT, "status request timed out\n").into_response()
}

#[cfg(test)]
mod tests;
