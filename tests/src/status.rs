//! The output of `baton status --json` and `baton queue list --json`.

use serde::{Deserialize, Deserializer, Serialize};

/// The whole of `baton status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The engine.
    pub engine: Engine,
    /// The placement policy.
    pub policy: Policy,
    /// Servers and witnesses, in the order they joined.
    pub servers: Vec<Server>,
    /// The quorum; none where the log is in a database.
    #[serde(default, deserialize_with = "or_none")]
    pub quorum: Quorum,
    /// The database; all empty where servers keep replicas.
    #[serde(default)]
    pub store: Store,
}

/// The engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Engine {
    /// started, starting, stopping, stopped or unknown.
    pub state: String,
    /// Its host.
    pub server: Option<String>,
    /// Its epoch, `generation.index`.
    pub epoch: Option<String>,
    /// Time of its activation, in Unix milliseconds.
    pub since: Option<u64>,
    /// Reason for its location, or for not being started.
    pub reason: String,
}

/// The placement policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// high-availability or none.
    pub assistance: String,
    /// The operator's list.
    pub preferred: Vec<String>,
    /// True if the engine fails back.
    pub fail_back: bool,
    /// True if it stays stopped when no preferred server is available.
    pub preferred_only: bool,
    /// True if it moves only on command.
    pub manual: bool,
}

/// A server or a witness.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// server or witness.
    pub role: String,
    /// True if it can be reached.
    pub up: bool,
    /// The state of its engine instance, or unknown.
    pub engine: String,
    /// True if it leads the store.
    pub leader: bool,
    /// Log entries that it is behind; `None` is unknown.
    pub lag: Option<u64>,
    /// Its place in the list of preferred servers, from 1.
    pub preference: Option<u32>,
    /// Its trouble, in words.
    pub trouble: Option<String>,
    /// That the engine does not fail back to it yet.
    #[serde(default)]
    pub fail_back: Option<FailBackWait>,
}

/// A server that the engine does not fail back to yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailBackWait {
    /// Consecutive losses of the server soon after it took the engine.
    pub losses: u32,
    /// Until when the engine waits, in Unix milliseconds.
    pub waits_until: u64,
}

/// What keeps the messages: replicas, or a database.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Store {
    /// replicated or database.
    pub kind: String,
    /// True if the database answers.
    pub reached: Option<bool>,
    /// `synchronous_standby_names` of the database.
    pub standby: Option<String>,
    /// The database's timeline, which grows when a standby is promoted.
    pub timeline: Option<u32>,
    /// What the database lost, in words.
    pub regressed: Option<String>,
}

/// The quorum.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Quorum {
    /// Voters that a majority needs.
    pub needed: u32,
    /// Voters that are up.
    pub up: u32,
}

/// A queue of `baton queue list --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages stored.
    pub depth: u64,
    /// Messages delivered and not settled.
    pub in_flight: u64,
    /// Messages that wait for their time.
    #[serde(default)]
    pub delayed: u64,
    /// Consumers attached.
    pub consumers: u64,
}

fn or_none<'de, D: Deserializer<'de>>(quorum: D) -> Result<Quorum, D::Error> {
    Option::deserialize(quorum).map(Option::unwrap_or_default)
}

impl Status {
    /// The server of that name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// True if the engine is started on that server.
    #[must_use]
    pub fn started_on(&self, name: &str) -> bool {
        self.engine.state == "started" && self.engine.server.as_deref() == Some(name)
    }

    /// The server on which the engine is started.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.engine.server.as_deref().filter(|_| self.engine.state == "started")
    }

    /// The engine's epoch as numbers that sort: generation, then log index.
    #[must_use]
    pub fn epoch(&self) -> Option<(u64, u64)> {
        let (generation, index) = self.engine.epoch.as_deref()?.split_once('.')?;
        Some((generation.parse().ok()?, index.parse().ok()?))
    }

    /// The servers whose engine instance is started.
    #[must_use]
    pub fn instances_started(&self) -> Vec<&str> {
        self.servers.iter().filter(|server| server.engine == "started").map(|server| server.name.as_str()).collect()
    }

    /// True if every member is up and has all log entries.
    #[must_use]
    pub fn all_caught_up(&self) -> bool {
        self.servers.iter().all(Server::caught_up)
    }
}

impl Server {
    /// True if it is up and has all log entries (except those in flight under load).
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.up && self.lag.is_some_and(|lag| lag < 100)
    }
}
