use std::sync::atomic::{AtomicUsize, Ordering};

use baton_client::protocol::{EngineStatus, QuorumStatus, ServerStatus};
use baton_domain::{Policy, Role, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Fixed {
    ready: Result<(), String>,
}

impl HttpSource for Fixed {
    fn trouble(&self) -> Option<String> {
        self.ready.clone().err()
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }

    fn metrics(&self) -> BoxFuture<'_, Metrics> {
        Box::pin(async { Metrics::new(ServerName::new("server1").unwrap()) })
    }

    fn status(&self) -> BoxFuture<'_, Status> {
        Box::pin(async {
            Status {
                engine: EngineStatus {
                    state: "stopped".to_owned(),
                    server: None,
                    epoch: None,
                    since: None,
                    reason: "no <quorum>".to_owned(),
                },
                policy: Policy::default(),
                servers: vec![ServerStatus {
                    name: ServerName::new("server1").unwrap(),
                    role: Role::Server,
                    up: true,
                    engine: "standby".to_owned(),
                    leader: false,
                    lag: None,
                    preference: Some(1),
                    trouble: None,
                    fail_back: None,
                }],
                quorum: QuorumStatus { needed: 2, up: 1 },
                database: None,
            }
        })
    }
}

/// Never finds out.
struct Hangs {
    asked: AtomicUsize,
}

impl HttpSource for Hangs {
    fn trouble(&self) -> Option<String> {
        None
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> BoxFuture<'_, Metrics> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }

    fn status(&self) -> BoxFuture<'_, Status> {
        Box::pin(std::future::pending())
    }
}

async fn start(ready: Result<(), String>) -> HttpServer {
    serve("127.0.0.1:0", Arc::new(Fixed { ready })).await.unwrap()
}

async fn get_path(server: &HttpServer, path: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_is_life_and_ready_is_the_engine() {
    let server = start(Ok(())).await;
    assert!(get_path(&server, "/health").await.starts_with("HTTP/1.1 200"));
    assert!(get_path(&server, "/ready").await.starts_with("HTTP/1.1 200"));
    assert!(get_path(&server, "/nothing").await.starts_with("HTTP/1.1 404"));
    server.shutdown().await;

    let server = start(Err("the engine is started on server2".to_owned())).await;
    let answer = get_path(&server, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("live; the engine is started on server2\n"));
    let answer = get_path(&server, "/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("the engine is started on server2\n"), "{answer}");
}

#[tokio::test]
async fn metrics_are_text_and_the_console_is_a_page() {
    let server = start(Ok(())).await;
    let answer = get_path(&server, "/metrics").await;
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4") && answer.contains("\nbaton_store_leads 0\n"),
        "{answer}"
    );
    let answer = get_path(&server, "/").await;
    assert!(answer.contains("content-type: text/html") && answer.contains("<td>server1</td>"), "{answer}");
    assert!(answer.contains("no &lt;quorum&gt;") && answer.contains("http-equiv=\"refresh\""), "{answer}");
}

#[tokio::test]
async fn silent_connections_lock_nobody_out_and_do_not_stop_the_shutdown() {
    let server = start(Ok(())).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let asked = tokio::time::timeout(Duration::from_secs(4), get_path(&server, "/health")).await;
    assert!(asked.expect("in time").starts_with("HTTP/1.1 200"));
    let address = server.address();
    server.shutdown().await;
    assert!(TcpListener::bind(address).await.is_ok(), "the port is free after the shutdown");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_has_a_deadline() {
    let server = start(Ok(())).await;
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nhost").await.unwrap();
    let began = tokio::time::Instant::now();
    let mut answer = Vec::new();
    // Closed, with or without words.
    let _ = slow.read_to_end(&mut answer).await;
    assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
}

/// An answer that takes work waits for nobody, and takes no place from health.
#[tokio::test]
async fn work_has_a_bound_and_health_is_outside_it() {
    let hung = Arc::new(Hangs { asked: AtomicUsize::new(0) });
    let server = serve("127.0.0.1:0", hung.clone()).await.unwrap();
    let asks: Vec<_> = (0..ANSWERS)
        .map(|_| {
            let address = server.address();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                std::future::pending::<()>().await;
            })
        })
        .collect();
    while hung.asked.load(Ordering::SeqCst) < ANSWERS {
        tokio::task::yield_now().await;
    }
    assert!(get_path(&server, "/metrics").await.starts_with("HTTP/1.1 503"));
    assert!(get_path(&server, "/health").await.starts_with("HTTP/1.1 200"));
    asks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = start(Ok(())).await;
    let address = server.address().to_string();
    let error = serve(&address, Arc::new(Fixed { ready: Ok(()) })).await.unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
}
