//! What the examples share: connecting to the cluster whose file is the first argument.
//!
//! ```text
//! baton init /tmp/cluster && for f in /tmp/cluster/{server,witness}?.toml; do baton server $f & done
//! cargo run --release --bin producer -- /tmp/cluster/cluster.toml
//! ```

use std::error::Error;
use std::path::Path;

use baton::client::{Client, ClientConfig, ToQueueName};
use baton::config::ClusterConfig;

/// Connects to the cluster that the first argument names, and creates the queue if it is not there.
///
/// # Errors
/// What is wrong, in one line.
pub async fn connect(queue: impl ToQueueName) -> Result<Client, Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("name the cluster file that `baton init` wrote")?;
    let client = Client::connect(ClientConfig::from(ClusterConfig::load(Path::new(&file))?)).await?;
    client.create_queue(queue).await?;
    Ok(client)
}
