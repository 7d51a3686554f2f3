//! A service with a server inside. Start one instance a server file: each holds a replica of the store, and one of them
//! hosts the engine. All of them produce and consume, wherever the engine is.
//!
//! ```text
//! baton init /tmp/cluster --witnesses 0
//! for f in /tmp/cluster/server?.toml; do cargo run --release --bin embedded -- $f & done
//! ```
//! Kill the instance that says that it hosts the engine: another one does, and the visits go on.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use baton::client::{ConsumerOptions, Message, ProducerOptions, QueueName};
use baton::{Client, Server, ServerConfig};
use tokio::signal::unix::{SignalKind, signal};

/// Until a majority of the instances is up there is no engine that could create the queue.
async fn queue(client: &Client) -> Result<QueueName, Box<dyn Error>> {
    let queue = QueueName::new("visits")?;
    while let Err(why) = client.create_queue(&queue).await {
        println!("waiting: {why}");
    }
    Ok(queue)
}

async fn serve(client: &Client, name: &str) -> Result<(), Box<dyn Error>> {
    let queue = queue(client).await?;
    let producer = client.producer(&queue, ProducerOptions::default()).await?;
    let consumer = client.consumer(&queue, ConsumerOptions::default()).await?;
    let mut engine = client.session().engine();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut visits = 0_u64;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                visits += 1;
                // The confirmation may be dropped: the message is sent all the same.
                drop(producer.send(Message::new(format!("visit {visits} at {name}"))).await?);
            }
            received = consumer.recv() => {
                let received = received?;
                println!("{name} handles {}", String::from_utf8_lossy(&received.message.body));
                received.ack().await?;
            }
            changed = engine.changed() => {
                changed?;
                if let Some(at) = &*engine.borrow_and_update() {
                    let host = &at.peer.info().name;
                    println!("{}", if host == name { format!("{name} hosts the engine") } else { format!("the engine is on {host}") });
                }
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("name the server file that `baton init` wrote")?;
    let config = ServerConfig::load(Path::new(&file))?;
    let name = config.name.to_string();
    // What the server itself has to say is logged with `tracing`; here only the service speaks.
    let server = Server::start(config).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let client = server.client();
    let outcome = tokio::select! {
        ended = serve(&client, &name) => ended,
        why = server.failed() => Err(why.into()),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Hands the engine over first, if it is here.
    server.shutdown().await;
    outcome
}
