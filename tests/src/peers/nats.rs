//! NATS: three servers, a JetStream stream with three replicas in files, pull consumers with explicit acknowledgements.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, Message};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::FutureExt as _;
use futures::stream::FuturesUnordered;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Running;
use super::daemon::{Daemon, output, wait};
use super::load::{Confirm, Consumer, Peer, Producer, run};
use super::workload::{Consumed, Load, Sample};
use crate::clock::Deadline;
use crate::http::get;
use crate::ports::PortBlock;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/nats-server";
const SERVERS: u16 = 3;
/// How long the cluster may take to come up, and the stream to get its leader.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// Of the stream, of its subject, and of the consumer that all consumers share.
const NAME: &str = "bench";
/// Messages that a consumer has without having acknowledged them.
const PREFETCH: usize = 256;

/// The cluster.
pub(super) struct Nats {
    // Dropped in this order: the clients, the servers, their files, their ports.
    runtime: Runtime,
    servers: Servers,
    _daemons: Vec<Daemon>,
    _temp: TempDir,
    _ports: PortBlock,
}

impl Nats {
    /// Starts three servers and waits until they are a cluster.
    pub(super) fn start() -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let temp = tempfile::Builder::new().prefix("baton-nats-").tempdir().map_err(text)?;
        let (ports, runtime) = (PortBlock::take(), Runtime::new().map_err(text)?);
        let servers = Servers { first_port: ports.first() };
        let mut daemons = Vec::new();
        for number in 1..=SERVERS {
            let config = temp.path().join(format!("nats{number}.conf"));
            std::fs::write(&config, servers.config(number, temp.path())).map_err(text)?;
            let mut command = Command::new(program());
            command.arg("--config").arg(config);
            daemons.push(Daemon::start(command, &servers.name(number), temp.path())?);
        }
        let healthy = |number| get(&servers.address(number, Port::Monitor), "/healthz", COMMAND_LIMIT);
        wait(&daemons, "a healthy cluster", LIMIT, || {
            (1..=SERVERS).all(|number| healthy(number).is_some_and(|(code, _)| code == 200))
        })?;
        Ok(Self { runtime, servers, _daemons: daemons, _temp: temp, _ports: ports })
    }
}

impl Running for Nats {
    fn version(&self) -> Result<String, String> {
        let mut command = Command::new(program());
        command.arg("--version");
        output(command, "nats-server --version", COMMAND_LIMIT)
    }

    fn measure(&self, load: &Load) -> Result<Sample, String> {
        self.runtime.block_on(Box::pin(run(&self.servers, load)))
    }
}

fn program() -> PathBuf {
    // Where it was not installed from Debian, it lies elsewhere.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| PROGRAM.into())
}

/// Where they listen.
#[derive(Debug, Clone, Copy)]
struct Servers {
    first_port: u16,
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Client,
    Route,
    Monitor,
}

impl Servers {
    fn name(self, number: u16) -> String {
        format!("nats{number}")
    }

    fn address(self, number: u16, port: Port) -> String {
        let group = match port {
            Port::Client => 0,
            Port::Route => 1,
            Port::Monitor => 2,
        };
        format!("127.0.0.1:{}", self.first_port + group * SERVERS + number - 1)
    }

    /// All defaults but for what makes it a cluster: `sync_interval` is 2 minutes. A message may be 8 MiB.
    fn config(self, number: u16, dir: &Path) -> String {
        let route = |number| format!("\"nats://{}\"", self.address(number, Port::Route));
        let routes: Vec<String> = (1..=SERVERS).map(route).collect();
        let name = self.name(number);
        format!(
            "server_name: {name}\nlisten: \"{}\"\nhttp: \"{}\"\nmax_payload: 8388608\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             cluster {{ name: bench, listen: \"{}\", routes: [{}] }}\n",
            self.address(number, Port::Client),
            self.address(number, Port::Monitor),
            dir.join(&name).display(),
            self.address(number, Port::Route),
            routes.join(", ")
        )
    }

    async fn connect(self, number: u16) -> Result<Context, String> {
        let client = async_nats::connect(self.address(number, Port::Client)).await.map_err(|error| text(&error))?;
        Ok(jetstream::new(client))
    }

    /// A connection to the server that leads the stream, as far as there is one and both others follow it.
    async fn connect_leader(self) -> Result<Context, String> {
        let context = self.connect(1).await?;
        let mut stream = context.get_stream(NAME).await.map_err(|error| text(&error))?;
        let cluster = stream.info().await.map_err(|error| text(&error))?.cluster.clone().ok_or("no cluster")?;
        let current = cluster.replicas.iter().filter(|replica| replica.current).count();
        let leader = (1..=SERVERS).find(|number| cluster.leader.as_deref() == Some(&self.name(*number)));
        match leader {
            Some(leader) if current + 1 == usize::from(SERVERS) => self.connect(leader).await,
            _ => Err(format!("the stream has no leader with two followers: {cluster:?}")),
        }
    }
}

impl Peer for Servers {
    type Producer = Publisher;
    type Consumer = Puller;

    async fn create(&self, load: &Load) -> Result<(), String> {
        let kept = load.consumed == Consumed::Kept;
        let config = Config {
            name: NAME.to_owned(),
            subjects: vec![NAME.to_owned()],
            num_replicas: usize::from(SERVERS),
            storage: StorageType::File,
            retention: if kept { RetentionPolicy::Limits } else { RetentionPolicy::WorkQueue },
            ..Config::default()
        };
        let context = self.connect(1).await?;
        // A cluster that has just come up refuses the first ones, and a stream has no leader at once.
        retry(async || context.create_stream(config.clone()).await.map_err(|error| text(&error))).await?;
        let context = retry(|| self.connect_leader()).await?;
        let consumer = pull::Config {
            durable_name: Some(NAME.to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 2 * 4 * PREFETCH as i64,
            ..pull::Config::default()
        };
        context.create_consumer_on_stream(consumer, NAME).await.map(drop).map_err(|error| text(&error))
    }

    async fn producer(&self) -> Result<Publisher, String> {
        self.connect_leader().await.map(Publisher)
    }

    async fn consumer(&self, load: &Load) -> Result<Puller, String> {
        let context = self.connect_leader().await?;
        let consumer: PullConsumer =
            context.get_consumer_from_stream(NAME, NAME).await.map_err(|error| text(&error))?;
        let messages = consumer.stream().max_messages_per_batch(PREFETCH).messages().await;
        Ok(Puller {
            messages: messages.map_err(|error| text(&error))?,
            confirmed: load.consumed == Consumed::Confirmed,
            acknowledging: FuturesUnordered::new(),
            _context: context,
        })
    }

    async fn delete(&self) -> Result<(), String> {
        self.connect(1).await?.delete_stream(NAME).await.map(drop).map_err(|error| text(&error))
    }
}

/// Publishes to the stream.
pub(super) struct Publisher(Context);

impl Producer for Publisher {
    async fn send(&self, body: &Bytes) -> Result<Confirm, String> {
        let confirm = self.0.publish(NAME, body.clone()).await.map_err(|error| text(&error))?;
        Ok(confirm.into_future().map(|confirmed| confirmed.map(drop).map_err(|error| text(&error))).boxed())
    }
}

/// Pulls from the consumer that all share.
pub(super) struct Puller {
    messages: pull::Stream,
    /// Whether a message counts only once the server has confirmed its acknowledgement (`double_ack`).
    confirmed: bool,
    acknowledging: FuturesUnordered<Confirm>,
    _context: Context,
}

impl Consumer for Puller {
    async fn consume(&mut self) -> Result<(), String> {
        loop {
            let message = tokio::select! {
                Some(confirmed) = self.acknowledging.next() => return confirmed,
                message = self.messages.next(), if self.acknowledging.len() < PREFETCH => message,
            };
            let message = message.ok_or("the messages ended")?.map_err(|error| text(&error))?;
            if !self.confirmed {
                return message.ack().await.map_err(|error| text(&error));
            }
            self.acknowledging.push(double_ack(message).boxed());
        }
    }
}

async fn double_ack(message: Message) -> Result<(), String> {
    message.double_ack().await.map_err(|error| text(&error))
}

/// Again and again until it succeeds, for as long as the limit.
async fn retry<T>(mut attempt: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Deadline::within(LIMIT);
    loop {
        match attempt().await {
            Err(_) if !deadline.passed() => tokio::time::sleep(PAUSE).await,
            ended => return ended,
        }
    }
}

fn text(error: &dyn std::fmt::Display) -> String {
    format!("NATS: {error}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_server_has_ports_of_its_own_and_knows_all_routes() {
        let servers = Servers { first_port: 15_000 };
        let ports = [Port::Client, Port::Route, Port::Monitor];
        let addresses: BTreeSet<String> =
            (1..=SERVERS).flat_map(|n| ports.map(|port| servers.address(n, port))).collect();
        assert_eq!(addresses.len(), 9);
        let config = servers.config(2, Path::new("/dir"));
        for part in [
            "server_name: nats2\n",
            "listen: \"127.0.0.1:15001\"\n",
            "store_dir: \"/dir/nats2\"",
            "\"nats://127.0.0.1:15003\", \"nats://127.0.0.1:15004\", \"nats://127.0.0.1:15005\"",
        ] {
            assert!(config.contains(part), "{part} is missing in {config}");
        }
    }
}
