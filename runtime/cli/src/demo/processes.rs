//! The demo's server processes and their directory. All of them end with the demo.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use baton::config::ClusterConfig;
use baton::layout::Layout;
use baton_domain::random;
use tokio::process::{Child, Command};

use super::logs::last_line;
use super::postgres::Postgres;
use crate::init::{self, DatabaseUrl};
use crate::{Failure, stderr};

/// Servers that can host the engine.
pub(super) const SERVERS: u16 = 3;
/// Witnesses.
const WITNESSES: u16 = 2;
/// Ports are taken from below the range that the system gives to outgoing connections: a server that is started
/// again must find its port free.
const PORTS: std::ops::Range<u16> = 12_000..30_000;

/// A directory that is removed when it is dropped.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            // Leftovers stay in the system's directory for temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[derive(Debug)]
struct Node {
    name: String,
    child: Option<Child>,
}

/// The processes, in the layout's order.
#[derive(Debug)]
pub(super) struct Processes {
    nodes: Vec<Node>,
    /// The database that the demo started.
    postgres: Option<Postgres>,
    // Dropped after the processes, which write to it.
    directory: Directory,
}

/// Consecutive ports that are free now.
fn free_ports(count: u16) -> Result<Vec<u16>, Failure> {
    const TRIES: usize = 200;
    for _ in 0..TRIES {
        let span = u64::from(PORTS.end - PORTS.start - count);
        let first = PORTS.start + u16::try_from(random::number() % span).unwrap_or(0);
        let ports: Vec<u16> = (first..first + count).collect();
        if ports.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return Ok(ports);
        }
    }
    Err(Failure::new(format!("no {count} free ports in a row on 127.0.0.1 from {} to {}", PORTS.start, PORTS.end)))
}

impl Processes {
    /// Creates a cluster in a new temporary directory; starts no server. `database` is the URL of the database that keeps
    /// its log; without a URL one is started.
    pub(super) async fn lay_out(keep: bool, database: Option<Option<DatabaseUrl>>) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("baton-demo-{:016x}", random::number()));
        let directory = Directory { path, keep };
        let members = SERVERS + if database.is_some() { 0 } else { WITNESSES };
        let ports = free_ports(2 * members)?;
        let (ports, http) = ports.split_at(usize::from(members));
        let layout = Layout::loopback(SERVERS, ports, http)?;
        let cluster = directory.path.join("cluster");
        let postgres = match database {
            None => {
                layout.write(&cluster)?;
                None
            }
            Some(Some(DatabaseUrl(url))) => {
                let schema = format!("baton_demo_{:08x}", random::number() >> 32);
                layout.write_with_database(&cluster, init::database(&url, &schema)?).await?;
                stderr::say(&format!("the schema {schema} stays in the database: DROP SCHEMA {schema} CASCADE"));
                None
            }
            Some(None) => {
                let postgres = Postgres::start(&directory.path.join("postgres")).await?;
                layout.write_with_database(&cluster, init::database(&postgres.url(), "baton")?).await?;
                Some(postgres)
            }
        };
        let nodes =
            layout.members().iter().map(|planned| Node { name: planned.name.to_string(), child: None }).collect();
        Ok(Self { nodes, postgres, directory })
    }

    /// The configuration for clients.
    pub(super) fn cluster(&self) -> Result<ClusterConfig, Failure> {
        Ok(ClusterConfig::load(&self.directory.path.join("cluster").join("cluster.toml"))?)
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Starts a server. From the main thread only: the process ends with the thread that started it.
    pub(super) fn start(&mut self, name: &str) -> Result<(), Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(format!("cannot find the path of this program: {error}")))?;
        let log = self.log(name);
        let file = self.directory.path.join("cluster").join(format!("{name}.toml"));
        let cannot = |error: std::io::Error| Failure::new(format!("cannot start {name}: {error}"));
        let out = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(cannot)?;
        let child = Command::new(program)
            .args(["server", "--with-parent"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(cannot)?)
            .stderr(out)
            // Ctrl-C in the terminal is for the demo, which ends its servers itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        if let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) {
            node.child = Some(child);
        }
        Ok(())
    }

    /// Ends a server with SIGKILL.
    pub(super) async fn kill(&mut self, name: &str) -> Result<(), Failure> {
        let child = self.nodes.iter_mut().find(|node| node.name == name).and_then(|node| node.child.take());
        match child {
            Some(mut child) => child.kill().await.map_err(|error| Failure::new(format!("cannot kill {name}: {error}"))),
            None => Err(Failure::new(format!("{name} is not running"))),
        }
    }

    /// An error if a server ended that was not killed.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            let ended = node.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                let name = node.name.clone();
                let last = last_line(&self.log(&name));
                return Err(Failure::new(format!("{name} ended unexpectedly ({status}): {last}")));
            }
        }
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path.join(format!("{name}.log"))
    }

    /// Ends all processes and waits until they are gone; returns the directory, if it is kept.
    pub(super) async fn end(mut self) -> Option<PathBuf> {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                // One that has already ended needs no killing.
                let _ = child.kill().await;
            }
        }
        if let Some(postgres) = self.postgres.take() {
            postgres.end().await;
        }
        self.directory.keep.then(|| self.directory.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_the_demo_unless_it_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        for keep in [false, true] {
            let path = temp.path().join(format!("{keep}"));
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("file"), "x").unwrap();
            drop(Directory { path: path.clone(), keep });
            assert_eq!(path.exists(), keep);
        }
    }

    #[test]
    fn ports_are_in_a_row_and_out_of_the_way() {
        let ports = free_ports(10).unwrap();
        assert!(ports.windows(2).all(|pair| pair[1] == pair[0] + 1) && ports.len() == 10);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
