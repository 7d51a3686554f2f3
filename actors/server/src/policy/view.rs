//! The view of the policy, and its decisions: plain values.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{ActivationReason, Policy, Role, ServerName};

/// A server, as the storage leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// Its name.
    pub name: ServerName,
    /// Its role.
    pub role: Role,
    /// Start of its time up; `None` while it is down.
    pub up_since: Option<BootTime>,
    /// True if it was ever up since this process started.
    pub seen: bool,
    /// True if its replica could lead the store once it is level.
    pub may_lead: bool,
    /// How many log entries its replica is behind; `None` is unknown.
    pub lag: Option<u64>,
    /// The time since which it is caught up, within the leadership of this server.
    pub caught_up_since: Option<BootTime>,
    /// The reason why the engine cannot run there now.
    pub cannot_host: Option<String>,
    /// May host as a last resort.
    pub at_need: bool,
    /// True if it has reported to this leader whether it can host the engine.
    pub reported: bool,
    /// Until then the engine does not move to it only because it is more preferred: hand-overs to it failed.
    pub distrusted_until: Option<BootTime>,
    /// Until then the engine does not fail back to it: it was lost repeatedly soon after it took the engine.
    pub paused_until: Option<BootTime>,
    /// Until then no hand-over to it is tried: the last one failed.
    pub damped_until: Option<BootTime>,
}

/// The engine, as the storage leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineHere {
    /// It does not run: it was never activated, its host lost the leadership, or it was stopped.
    Idle,
    /// It is starting or started here, under the newest activation.
    RunsHere,
    /// It is draining here before a planned stop.
    Stopping,
}

/// The input of [`super::decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Now.
    pub now: BootTime,
    /// This server, the storage leader.
    pub me: ServerName,
    /// Start of the leadership of this server.
    pub leads_since: BootTime,
    /// Start of this process.
    pub started_at: BootTime,
    /// All members, in the order in which they joined.
    pub servers: Vec<ServerView>,
    /// The policy.
    pub policy: Policy,
    /// The server to which an operator moved the engine.
    pub hold: Option<ServerName>,
    /// The host of the newest activation.
    pub last_host: Option<ServerName>,
    /// The reason of that activation.
    pub last_reason: Option<ActivationReason>,
    /// True if all servers were restarted after that activation.
    pub cold_start: bool,
    /// True if the policy was changed while the engine was stopped.
    pub policy_changed: bool,
    /// True if an engine instance of this process ran before.
    pub ran_here: bool,
    /// The reason why the newest activation was stopped, if on purpose.
    pub stopped_for: Option<ActivationReason>,
    /// The engine.
    pub engine: EngineHere,
    /// True if the list of preferred servers changed, so that the engine must be placed again.
    pub place_anew: bool,
    /// True if this server is shutting down.
    pub leaving: bool,
    /// True if the store here writes nothing: a sync hangs, or no space or descriptor is left.
    pub disk_fails: bool,
    /// The policy's times and bounds.
    pub timing: PolicyTiming,
}

/// The policy's times and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyTiming {
    /// Time for which a server must be up before the engine fails back to it.
    pub fail_back_stability: Duration,
    /// Time after the start of a process in which it waits for servers earlier in the list.
    pub start_grace: Duration,
    /// Time in which a new leader waits for the progress of the others.
    pub lag_grace: Duration,
    /// Maximum lag, in log entries, of a server that counts as caught up; the hand-over sends it the rest.
    pub caught_up_entries: u64,
    /// How lately a replica must have answered the leader to count as caught up.
    pub heard_within: Duration,
    /// How long after a failed hand-over none to the same server is tried, and after a failure of a server's engine none is
    /// started there even where no other server is left. For a merely more preferred server it is five
    /// times as long, and twice as long each time, up to 64 times.
    pub hand_over_damping: Duration,
    /// How long a voter must be out of everybody's reach before it loses its vote.
    pub dead_voter_after: Duration,
    /// Time for which a server is passed over after its engine instance failed; doubled each time, up to 16 times.
    pub engine_failure_cooldown: Duration,
    /// Time without an engine instance after which its server is passed over.
    pub engine_missing_max: Duration,
    /// Hosting time after which earlier losses of a server are forgotten. From the second consecutive loss on, failback to
    /// the server is delayed more each time.
    pub hosted_well: Duration,
    /// Pause of failback after the second such loss; doubled after each further one.
    pub loss_pause: Duration,
    /// Maximum of that pause.
    pub loss_pause_max: Duration,
    /// Duration of a sync of the store's log after which the disk counts as hanging, and its server is passed over.
    pub sync_waits_max: Duration,
}

impl PolicyTiming {
    /// Whether a server that is `lag` log entries behind, as far as that is known, could take over at once.
    #[must_use]
    pub fn is_caught_up(&self, may_lead: bool, lag: Option<u64>) -> bool {
        may_lead && lag.is_some_and(|lag| lag <= self.caught_up_entries)
    }
}

impl Default for PolicyTiming {
    fn default() -> Self {
        Self {
            fail_back_stability: Duration::from_secs(5),
            start_grace: Duration::from_secs(3),
            lag_grace: Duration::from_millis(300),
            caught_up_entries: 256,
            heard_within: Duration::from_millis(300),
            hand_over_damping: Duration::from_secs(1),
            dead_voter_after: Duration::from_secs(10),
            engine_failure_cooldown: Duration::from_secs(30),
            engine_missing_max: Duration::from_secs(1),
            hosted_well: Duration::from_secs(600),
            loss_pause: Duration::from_secs(10),
            loss_pause_max: Duration::from_secs(300),
            sync_waits_max: Duration::from_secs(1),
        }
    }
}

/// The storage leader's decision about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It runs where it belongs, or a change is in progress.
    Stay,
    /// Start it here.
    ActivateHere {
        /// The reason.
        reason: ActivationReason,
    },
    /// Stop it here if it runs, and hand leadership to a server that will start it.
    HandOver {
        /// The next host.
        to: ServerName,
        /// The reason.
        reason: ActivationReason,
    },
    /// Stop it here: the policy forbids this server, and no other can take it.
    Stop {
        /// The reason, as text.
        why: String,
    },
    /// Lead, but keep it stopped.
    KeepStopped {
        /// The reason, as text.
        why: String,
    },
    /// This server shuts down, and its successor needs a moment.
    AwaitSuccessor,
    /// It is too early to decide.
    Wait {
        /// The event to wait for, as text.
        why: String,
    },
}
