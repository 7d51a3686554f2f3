//! A cluster of one server, configured and started by the service itself: no command line and no configuration file.
//! Messages outlive the process; for a service that outlives a machine, plan three servers.
//!
//! ```text
//! cargo run --release --bin alone -- /tmp/alone 7300
//! ```

use std::path::PathBuf;

use baton::config::Secrets;
use baton::layout::Layout;
use baton::{ClusterId, ConsumerOptions, Message, ProducerOptions, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("name a directory for the store")?);
    let port = std::env::args().nth(2).ok_or("name a port")?.parse()?;
    let layout = Layout::plan(1, 0).base_port(port).layout()?;
    // No other process links to this server, so nobody else has to know its secrets.
    let secrets = Secrets::random()?;
    let config = layout.server_config("server1", &dir, ClusterId(*b"example of alone"), secrets)?;
    if !dir.exists() {
        layout.format(&config)?;
    }
    let server = Server::start(config).await?;
    let client = server.client();
    client.create_queue("visits").await?;
    client.producer("visits", ProducerOptions::default()).await?.send_confirmed(Message::new("a visit")).await?;
    let received = client.consumer("visits", ConsumerOptions::default()).await?.recv().await?;
    println!("received {}", String::from_utf8_lossy(&received.message.body));
    received.ack_confirmed().await?;
    server.shutdown().await;
    Ok(())
}
