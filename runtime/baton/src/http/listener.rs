//! Serves unauthenticated connections: a fixed number at a time, one request each, with a deadline for the request and
//! one for the connection.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use baton_links::descriptors;
use baton_links::pending::Pending;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Maximum connections; one more closes the oldest.
const CONNECTIONS: usize = 128;
/// Time for a client to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// Maximum lifetime of a connection.
const LIFETIME: Duration = Duration::from_secs(30);
/// Pause of the loop when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until `stopped` says so; requests in flight are finished.
pub(super) async fn run(listener: TcpListener, router: Router, stopped: watch::Receiver<bool>) {
    let mut pending = Pending::new(CONNECTIONS);
    let router = Arc::new(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop(stopped.clone()) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let scarce = descriptors::few_are_left(&stream);
                let connection = tokio::time::timeout(LIFETIME, serve(stream, router.clone(), stopped.clone()));
                // A connection that was too slow, or was closed for a newer one, gets no answer.
                pending.serve(scarce, |_| async { drop(connection.await) });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept an HTTP connection");
                pending.end_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    pending.ended().await;
}

/// Resolves at shutdown.
async fn stop(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means shutdown, too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn serve(stream: TcpStream, router: Arc<Router>, stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(Router::clone(&router));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop(stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}
