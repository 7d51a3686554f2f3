//! RabbitMQ: three nodes, a quorum queue on all three, publisher confirms. The clients are in `client`.

mod client;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use baton_tests::ports::PortBlock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::RunningSystem;
use super::daemon::{Daemon, output, wait};
use super::load::run;
use super::workload::{Load, Sample, Workload};

use client::Broker;

/// Debian's scripts that do not change the user.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const EPMD: &str = "/usr/bin/epmd";
const NODES: u16 = 3;
/// Deadline for the start of the cluster.
const LIMIT: Duration = Duration::from_secs(180);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const COOKIE: &str = "BATONBENCHPEERS";

/// The cluster.
pub(super) struct RabbitMq {
    // Dropped in this order: the clients, the nodes, their files, their ports.
    runtime: Runtime,
    nodes: Nodes,
    _daemons: Vec<Daemon>,
    temp: TempDir,
    _ports: PortBlock,
}

impl RabbitMq {
    /// Starts three nodes and waits until they are a cluster that puts a quorum queue on all of them.
    pub(super) fn start() -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let temp = tempfile::Builder::new().prefix("baton-rabbitmq-").tempdir().map_err(text)?;
        let (ports, runtime) = (PortBlock::take(), Runtime::new().map_err(text)?);
        let (nodes, dir) = (Nodes { first_port: ports.first() }, temp.path());
        prepare(nodes, dir).map_err(text)?;
        // Our own, so that the nodes neither use the system's nor leave one behind.
        let mut epmd = Command::new(EPMD);
        epmd.args(["-address", "127.0.0.1", "-port", &nodes.epmd_port().to_string()]);
        let mut daemons = vec![Daemon::start(epmd, "epmd", dir)?];
        for number in 1..=NODES {
            daemons.push(Daemon::start(nodes.command("rabbitmq-server", number, dir), &nodes.short(number), dir)?);
        }
        let listens = |number| std::net::TcpStream::connect(("127.0.0.1", nodes.port(number))).is_ok();
        wait(&daemons, "three nodes that listen", LIMIT, || (1..=NODES).all(listens))?;
        let cluster = Self { runtime, nodes, _daemons: daemons, temp, _ports: ports };
        cluster.control(&["await_online_nodes", &NODES.to_string()])?;
        cluster.check_replicas()?;
        Ok(cluster)
    }

    fn control(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.nodes.command("rabbitmqctl", 1, self.temp.path());
        command.args(["--quiet", "--node", &self.nodes.name(1)]).args(arguments);
        output(command, &format!("rabbitmqctl {}", arguments.join(" ")), COMMAND_LIMIT)
    }

    fn broker(&self) -> Broker {
        Broker { port: self.nodes.port(1) }
    }

    /// A queue that is made now is to have a replica on each node: else its figures would be those of one node.
    fn check_replicas(&self) -> Result<(), String> {
        use super::load::Peer as _;
        self.runtime.block_on(self.broker().create(&Workload::Produce.load(1)))?;
        let online = self.control(&["list_queues", "online", "--no-table-headers"])?;
        self.runtime.block_on(self.broker().delete())?;
        match (1..=NODES).find(|number| !online.contains(&self.nodes.name(*number))) {
            None => Ok(()),
            Some(number) => Err(format!("the queue has no replica on {}: {online}", self.nodes.name(number))),
        }
    }
}

impl RunningSystem for RabbitMq {
    fn version(&self) -> Result<String, String> {
        let version = self.control(&["version"])?;
        let erlang = self.control(&["eval", "erlang:system_info(otp_release)."])?;
        Ok(format!("RabbitMQ {version}, Erlang {}", erlang.trim_matches('"')))
    }

    fn measure(&self, load: &Load) -> Result<Sample, String> {
        self.runtime.block_on(Box::pin(run(&self.broker(), load)))
    }
}

/// Writes the files that all nodes need.
fn prepare(nodes: Nodes, dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let cookie = dir.join(".erlang.cookie");
    std::fs::write(&cookie, COOKIE)?;
    // Erlang refuses one that others may read.
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400))?;
    std::fs::write(dir.join("rabbitmq.conf"), nodes.config())?;
    std::fs::write(dir.join("enabled_plugins"), "[].\n")?;
    // In place of the system's.
    std::fs::write(dir.join("rabbitmq-env.conf"), "")?;
    std::fs::write(dir.join("advanced.config"), "[].\n")
}

/// Their names and ports.
#[derive(Debug, Clone, Copy)]
struct Nodes {
    first_port: u16,
}

impl Nodes {
    fn short(self, number: u16) -> String {
        format!("rabbit{number}")
    }

    fn name(self, number: u16) -> String {
        format!("{}@localhost", self.short(number))
    }

    fn port(self, number: u16) -> u16 {
        self.first_port + number - 1
    }

    fn dist_port(self, number: u16) -> u16 {
        self.port(number) + NODES
    }

    fn epmd_port(self) -> u16 {
        self.first_port + 2 * NODES
    }

    fn config(self) -> String {
        let nodes = (1..=NODES)
            .map(|number| format!("cluster_formation.classic_config.nodes.{number} = {}\n", self.name(number)))
            .collect::<String>();
        format!("cluster_formation.peer_discovery_backend = classic_config\n{nodes}disk_free_limit.absolute = 1GB\n")
    }

    /// One of its scripts, for a node; all its files are in `dir` and its ports on the loopback.
    fn command(self, script: &str, number: u16, dir: &Path) -> Command {
        let mut command = Command::new(Path::new(SCRIPTS).join(script));
        let paths = [
            ("HOME", "."),
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
        ];
        command
            .envs(paths.map(|(key, file)| (key, dir.join(file))))
            .env("RABBITMQ_PID_FILE", dir.join(format!("{}.pid", self.short(number))))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join(format!("{}-config", self.short(number))))
            .env("RABBITMQ_NODENAME", self.name(number))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port(number).to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port(number).to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port().to_string())
            .env("LC_ALL", "C.UTF-8")
            // The script execs the node, instead of starting it and staying as its parent.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        command
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nodes_know_each_other_and_share_no_port() {
        let nodes = Nodes { first_port: 15_200 };
        let ports: BTreeSet<u16> = (1..=NODES).flat_map(|n| [nodes.port(n), nodes.dist_port(n)]).collect();
        assert_eq!(ports.len(), 6);
        assert!(!ports.contains(&nodes.epmd_port()));
        assert!(nodes.config().contains("\ncluster_formation.classic_config.nodes.3 = rabbit3@localhost\n"));
    }

    #[test]
    fn a_node_keeps_to_its_directory_and_to_the_loopback() {
        let command = Nodes { first_port: 15_200 }.command("rabbitmq-server", 2, Path::new("/dir"));
        let of = |key: &str| command.get_envs().find(|(name, _)| *name == key).and_then(|(_, value)| value?.to_str());
        assert_eq!(of("RABBITMQ_MNESIA_BASE"), Some("/dir/mnesia"));
        assert_eq!((of("RABBITMQ_NODENAME"), of("RABBITMQ_NODE_PORT")), (Some("rabbit2@localhost"), Some("15201")));
        assert_eq!(of("RABBITMQ_NODE_IP_ADDRESS"), Some("127.0.0.1"));
    }
}
