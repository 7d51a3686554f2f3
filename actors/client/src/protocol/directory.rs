//! Requests of clients and servers to the directory of a server ([`crate::wire::Service::Directory`]).

use baton_domain::{ChangeId, Epoch, Policy, PolicyChange, ReplicaId, Role, ServerName, Standing};
use serde::{Deserialize, Serialize};

use super::{EngineState, PlacementNews};

/// Requests to a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryRequest {
    /// Asks for the engine's location; answered with [`DirectoryReply::News`]. From then on the client receives
    /// changes.
    Where,
    /// Asks for this server's state; answered with [`DirectoryReply::Report`].
    Report,
    /// Asks for the cluster's state; answered with [`DirectoryReply::Status`], without a quorum too.
    Status,
    /// Sets the policy; answered with [`DirectoryReply::Done`].
    SetPolicy(Policy),
    /// Moves the engine; answered with [`DirectoryReply::Done`] once it is started there.
    Move {
        /// Target server.
        server: ServerName,
    },
    /// Adds a member; answered with [`DirectoryReply::Done`].
    AddMember {
        /// Its name.
        name: ServerName,
        /// Its role.
        role: Role,
        /// Address to dial.
        address: String,
    },
    /// Removes a member; answered with [`DirectoryReply::Done`].
    RemoveMember {
        /// Its name.
        name: ServerName,
    },
    /// A server without a store asks for a replica id (servers' token required); answered with [`DirectoryReply::Admitted`].
    Join {
        /// Its name.
        name: ServerName,
        /// Its role.
        role: Role,
        /// Address to dial.
        address: String,
    },
    /// Commits a marker; answered with [`DirectoryReply::Marked`].
    Mark,
    /// The running hash that this server recorded at the marker; answered with [`DirectoryReply::Hash`].
    HashAt {
        /// The marker's log index.
        index: u64,
    },
    /// Changes the given parts of the policy; answered with [`DirectoryReply::Policy`].
    ChangePolicy(PolicyChange),
    /// Ends an operator's hold on that server, if there is one; answered with [`DirectoryReply::Done`].
    Release {
        /// The server.
        server: ServerName,
    },
    /// Which replica does this server know that member to have; answered with [`DirectoryReply::ReplicaOf`].
    ReplicaOf {
        /// The member.
        name: ServerName,
    },
    /// Asks for the standing of that replica of that server in the cluster, as far as the asked server knows; answered
    /// with [`DirectoryReply::Standing`].
    StandingOf {
        /// The server.
        name: ServerName,
        /// Its replica.
        replica: ReplicaId,
    },
    /// Sets the address of a server; answered with [`DirectoryReply::Done`].
    SetAddress {
        /// Its name.
        name: ServerName,
        /// Address to dial.
        address: String,
    },
    /// Changes the cluster, unless a request of that id did it before; answered as `request`.
    Once {
        /// Drawn for each change.
        change: ChangeId,
        /// One for which [`DirectoryRequest::is_change`] is true.
        request: Box<DirectoryRequest>,
    },
}

impl DirectoryRequest {
    /// True if it is an operator's change of the cluster, which another operator's later change could make harmful if it
    /// were applied twice.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::SetPolicy(_)
            | Self::ChangePolicy(_)
            | Self::Move { .. }
            | Self::AddMember { .. }
            | Self::RemoveMember { .. }
            | Self::SetAddress { .. } => true,
            Self::Where
            | Self::Report
            | Self::Status
            | Self::Join { .. }
            | Self::Mark
            | Self::HashAt { .. }
            | Self::Release { .. }
            | Self::ReplicaOf { .. }
            | Self::StandingOf { .. }
            | Self::Once { .. } => false,
        }
    }

    /// True if a repetition does no harm when the outcome of the first request is unknown.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::AddMember { .. } | Self::RemoveMember { .. } | Self::Join { .. } => false,
            Self::Where
            | Self::Report
            | Self::Status
            | Self::SetPolicy(_)
            | Self::ChangePolicy(_)
            | Self::Move { .. }
            | Self::Release { .. }
            | Self::ReplicaOf { .. }
            | Self::StandingOf { .. }
            | Self::SetAddress { .. }
            | Self::Once { .. }
            | Self::Mark
            | Self::HashAt { .. } => true,
        }
    }

    /// True if it removes that server.
    #[must_use]
    pub fn removes(&self, server: &ServerName) -> bool {
        match self {
            Self::RemoveMember { name } => name == server,
            Self::Once { request, .. } => request.removes(server),
            _ => false,
        }
    }
}

/// Answers of a directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DirectoryReply {
    /// The engine's location.
    News(PlacementNews),
    /// This server's state.
    Report(ServerReport),
    /// The cluster's state.
    Status(Status),
    /// Done.
    Done,
    /// The replica id, the cluster's id and generation for a new store.
    Admitted {
        /// The id.
        replica: ReplicaId,
        /// The cluster's id.
        cluster: baton_domain::ClusterId,
        /// The cluster's generation.
        generation: u32,
    },
    /// The marker's log index and the hash at the server that answers.
    Marked {
        /// The index.
        index: u64,
    },
    /// The hash at the marker; `None` if this replica has not applied it (yet).
    Hash(Option<u128>),
    /// Ask that server instead (the storage leader), if one is known.
    Elsewhere(Option<ServerName>),
    /// Nothing was done, for this reason, in words for an operator.
    Refused(String),
    /// The policy as it is now.
    Policy(Policy),
    /// The member's replica; `None` if it is no member, as far as the answering server knows.
    ReplicaOf(Option<ReplicaId>),
    /// The replica's standing in the cluster.
    Standing(Standing),
}

/// A server's report to the other servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Its name.
    pub name: ServerName,
    /// Its role.
    pub role: Role,
    /// Its replica.
    pub replica: Option<ReplicaId>,
    /// Its engine instance.
    pub engine: EngineState,
    /// The epoch of its engine instance, if it is not standby.
    pub epoch: Option<Epoch>,
    /// True if it leads the store.
    pub leads: bool,
    /// The last log index that it applied.
    pub applied: u64,
    /// The servers that it has links to.
    pub reaches: Vec<ServerName>,
    /// Free bytes on the file system of its store, less what the store needs for its own work.
    pub free_bytes: u64,
    /// Reason why it cannot host the engine or serve its store, in words.
    pub trouble: Option<String>,
    /// May host the engine as a last resort despite `trouble`, if no other server can.
    pub at_need: bool,
    /// Reason why it keeps the engine stopped, if it leads the store; else empty.
    pub why: String,
    /// While its replica is filled by a snapshot: how much has arrived, and of how much, in bytes.
    pub filling: Option<(u64, u64)>,
    /// Time in which it elects nobody after it heard a leader, in milliseconds: the same on all servers.
    pub election_max_ms: u64,
    /// True if it is shutting down.
    #[serde(default)]
    pub leaving: bool,
    /// If it leads the store: the servers that the engine does not fail back to yet.
    #[serde(default)]
    pub waits: Vec<FailBackWait>,
    /// The database that keeps the log, as it sees it; `None` where replicas keep it.
    #[serde(default)]
    pub database: Option<DatabaseStatus>,
}

impl ServerReport {
    /// The report of a server that has no store, or has not opened it.
    #[must_use]
    pub fn of_no_store(name: ServerName, role: Role, election_max_ms: u64) -> Self {
        Self {
            name,
            role,
            replica: None,
            engine: EngineState::Standby,
            epoch: None,
            leads: false,
            applied: 0,
            reaches: Vec::new(),
            free_bytes: 0,
            trouble: None,
            at_need: false,
            why: String::new(),
            filling: None,
            election_max_ms,
            leaving: false,
            waits: Vec::new(),
            database: None,
        }
    }
}

/// A server that the engine does not fail back to yet: it was lost repeatedly soon after it took the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailBackWait {
    /// The server.
    pub server: ServerName,
    /// Consecutive losses of the host.
    pub losses: u32,
    /// Until when the engine waits, in Unix milliseconds by the clock of the storage leader.
    pub until_ms: u64,
}

/// The engine in `baton status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// started, starting, stopping, stopped, or unknown.
    pub state: String,
    /// Its host.
    pub server: Option<ServerName>,
    /// Its epoch.
    pub epoch: Option<String>,
    /// Time of its activation, in Unix milliseconds.
    pub since: Option<u64>,
    /// Reason for its location, or for not being started.
    pub reason: String,
}

/// A server in `baton status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: ServerName,
    /// server or witness.
    pub role: Role,
    /// True if it can be reached.
    pub up: bool,
    /// The state of its engine instance, or unknown.
    pub engine: String,
    /// True if it leads the store.
    pub leader: bool,
    /// Log entries that it is behind; `None` is unknown.
    pub lag: Option<u64>,
    /// Its place in the list of preferred servers, from 1; `None` if it has none.
    pub preference: Option<u32>,
    /// Its trouble, in words.
    pub trouble: Option<String>,
    /// That the engine does not fail back to it yet.
    #[serde(default)]
    pub fail_back: Option<FailBackWait>,
}

impl ServerStatus {
    /// A remark for people: its trouble, or else that the engine does not fail back to it yet.
    #[must_use]
    pub fn remark(&self, now_ms: u64) -> Option<String> {
        let waits = |wait: &FailBackWait| {
            let left_s = wait.until_ms.saturating_sub(now_ms).div_ceil(1000);
            let losses = wait.losses;
            format!("lost {losses} times in a row soon after it took the engine: failback to it waits {left_s} s")
        };
        self.trouble.clone().or_else(|| self.fail_back.as_ref().map(waits))
    }
}

/// The database that keeps the log, in `baton status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Its name, for people: the program, its version and its place.
    pub name: String,
    /// True if it answers the server that reports.
    pub reached: bool,
    /// Duration of a commit, in microseconds; `None` is unknown.
    pub commit_us: Option<u64>,
    /// Its synchronous standby, for people; empty if its own failover may lose confirmed messages.
    pub standby: String,
    /// Grows with every promotion of a standby.
    pub timeline: u32,
    /// Bytes of what it keeps; `None` is unknown.
    pub log_bytes: Option<u64>,
    /// The last entry of the newest snapshot in it; `None` if there is none, or it is unknown.
    pub snapshot: Option<u64>,
    /// Set while it lacks commands that it had, in words.
    pub regressed: Option<String>,
}

impl DatabaseStatus {
    /// One line for people.
    #[must_use]
    pub fn words(&self) -> String {
        if self.name.is_empty() {
            return "database, not reached yet".to_owned();
        }
        let mut words = self.name.clone();
        if !self.reached {
            words += ": not reached";
        }
        if self.timeline > 0 {
            words += &format!(", timeline {}", self.timeline);
        }
        if let Some(us) = self.commit_us {
            words += &format!(", {}.{} ms per commit", us / 1_000, us % 1_000 / 100);
        }
        if self.standby.is_empty() {
            words += ", no synchronous standby";
        } else {
            words += &format!(", synchronous standby {}", self.standby);
        }
        if let Some(bytes) = self.log_bytes {
            words += &format!(", {} MiB", bytes.div_ceil(1024 * 1024));
        }
        if let Some(index) = self.snapshot {
            words += &format!(", snapshot at {index}");
        }
        match &self.regressed {
            Some(why) => words + "; " + why,
            None => words,
        }
    }
}

/// The quorum in `baton status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumStatus {
    /// Voters that a majority needs.
    pub needed: u32,
    /// Voters that are up.
    pub up: u32,
}

/// The whole of `baton status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The engine.
    pub engine: EngineStatus,
    /// The policy.
    pub policy: Policy,
    /// The servers, in the order they joined.
    pub servers: Vec<ServerStatus>,
    /// The quorum.
    pub quorum: QuorumStatus,
    /// The database that keeps the log; `None` where replicas keep it. Nothing needs a quorum then.
    #[serde(default)]
    pub database: Option<DatabaseStatus>,
}

impl Status {
    /// The status from a server that knows nothing of its cluster, with the reason.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Self {
            engine: EngineStatus {
                state: "unknown".to_owned(),
                server: None,
                epoch: None,
                since: None,
                reason: why.to_owned(),
            },
            policy: Policy::default(),
            servers: Vec::new(),
            quorum: QuorumStatus { needed: 0, up: 0 },
            database: None,
        }
    }
}
