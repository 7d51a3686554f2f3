use baton_actors::protocol::{EngineStatus, QuorumStatus, ServerStatus};
use baton_storage::{Policy, Role, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Fixed {
    ready: Result<(), String>,
}

impl HttpSource for Fixed {
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
                }],
                quorum: QuorumStatus { needed: 2, up: 1 },
            }
        })
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
    assert!(get_path(&server, "/health").await.starts_with("HTTP/1.1 200"));
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
async fn silent_connections_wait_in_line_and_do_not_stop_the_server() {
    let server = start(Ok(())).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    assert!(get_path(&server, "/health").await.starts_with("HTTP/1.1 200"));
    let address = server.address();
    server.shutdown().await;
    assert!(TcpListener::bind(address).await.is_ok(), "the port is free after the shutdown");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = start(Ok(())).await;
    let address = server.address().to_string();
    let error = serve(&address, Arc::new(Fixed { ready: Ok(()) })).await.unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
}
