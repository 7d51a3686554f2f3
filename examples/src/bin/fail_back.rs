//! Fail back: names the preferred servers, switches fail back on, and shows where the engine goes.
//!
//! ```text
//! cargo run --release --bin fail_back -- cluster.toml server1,server2
//! ```
//! While it runs, stop server1: the engine goes to server2. Start it again: once it has caught up and been there for a
//! while (5 s by default), the engine goes back.

use std::error::Error;
use std::time::Duration;

use baton::client::{
    Assistance, Client, ConsumerOptions, DirectoryReply, DirectoryRequest, EngineAt, Policy, ServerName,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = baton_examples::connect("fail-back").await?;
    let names = std::env::args().nth(2).ok_or("name the preferred servers: server1,server2")?;
    let preferred = names.split(',').map(ServerName::new).collect::<Result<_, _>>()?;

    let policy = Policy { assistance: Assistance::None, preferred, fail_back: true, ..Policy::default() };
    match client.admin(DirectoryRequest::SetPolicy(policy)).await? {
        DirectoryReply::Done => println!("fail back is on; preferred: {names}"),
        DirectoryReply::Refused(why) => return Err(why.into()),
        other => return Err(format!("unexpected answer {other:?}").into()),
    }

    // A consumer follows the engine by itself; here it only shows that it does.
    let consumer = client.consumer("fail-back", ConsumerOptions::default()).await?;
    let mut engine = client.session().engine();
    let mut before = String::new();
    loop {
        let now = match &*engine.borrow_and_update() {
            Some(EngineAt { peer, epoch }) => format!("the engine is on {} (epoch {epoch})", peer.info().name),
            None => "no engine is started".to_owned(),
        };
        if now != before {
            println!("{now}; {}", reason(&client).await?);
            before = now;
        }
        tokio::select! {
            changed = engine.changed() => changed?,
            received = consumer.recv() => received?.ack().await?,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    consumer.close().await?;
    client.close().await;
    Ok(())
}

/// The reason why the engine is where it is. For a moment it is placed and not started yet.
async fn reason(client: &Client) -> Result<String, Box<dyn Error>> {
    for _ in 0..20 {
        let engine = client.status().await?.engine;
        if engine.state == "started" {
            return Ok(engine.reason);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(client.status().await?.engine.reason)
}
