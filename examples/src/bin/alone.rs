//! A cluster of one server, laid out and started by the service itself: no command line is needed. Messages outlive the
//! process; for a service that outlives a machine, plan three servers.
//!
//! ```text
//! cargo run --release --bin alone -- /tmp/alone 7300
//! ```

use std::path::PathBuf;

use baton::layout::Layout;
use baton::{ConsumerOptions, Message, ProducerOptions, Server, ServerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("name a directory for the store")?);
    let port = std::env::args().nth(2).ok_or("name a port")?.parse()?;
    if !dir.exists() {
        Layout::plan(1, 0).base_port(port).layout()?.write(&dir)?;
    }
    let server = Server::start(ServerConfig::load(&dir.join("server1.toml"))?).await?;
    let client = server.client();
    client.create_queue("visits").await?;
    client.producer("visits", ProducerOptions::default()).await?.send_confirmed(Message::new("a visit")).await?;
    let received = client.consumer("visits", ConsumerOptions::default()).await?.recv().await?;
    println!("received {}", String::from_utf8_lossy(&received.message.body));
    received.ack_confirmed().await?;
    server.shutdown().await;
    Ok(())
}
