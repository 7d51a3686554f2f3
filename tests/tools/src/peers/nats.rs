//! NATS: three servers with JetStream. The clients are in `client`.

mod client;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use baton_tests::http::get;
use baton_tests::ports::PortBlock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::RunningSystem;
use super::daemon::{Daemon, output, wait};
use super::load::run;
use super::workload::{Load, Sample};

/// The program of Debian's package.
const PROGRAM: &str = "/usr/sbin/nats-server";
const SERVERS: u16 = 3;
/// Deadline for the start of the cluster.
const LIMIT: Duration = Duration::from_secs(60);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

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
        let servers = Servers::new(ports.first());
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

impl RunningSystem for Nats {
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
    // Without Debian's package it is found elsewhere.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| PROGRAM.into())
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Client,
    Route,
    Monitor,
}

/// The addresses of the servers, and the leader of the stream.
#[derive(Debug)]
struct Servers {
    first_port: u16,
    leader: AtomicU16,
}

impl Servers {
    fn new(first_port: u16) -> Self {
        Self { first_port, leader: AtomicU16::new(1) }
    }

    fn name(&self, number: u16) -> String {
        format!("nats{number}")
    }

    fn address(&self, number: u16, port: Port) -> String {
        let group = match port {
            Port::Client => 0,
            Port::Route => 1,
            Port::Monitor => 2,
        };
        format!("127.0.0.1:{}", self.first_port + group * SERVERS + number - 1)
    }

    /// Defaults, except the cluster: `sync_interval` is 2 minutes. A message may be 8 MiB.
    fn config(&self, number: u16, dir: &Path) -> String {
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_server_has_ports_of_its_own_and_knows_all_routes() {
        let servers = Servers::new(15_000);
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
