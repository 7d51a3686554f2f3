//! What the policy sees, and what it decides: plain values.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{ActivationReason, Policy, Role, ServerName};

/// A server, as the storage leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// Its name.
    pub name: ServerName,
    /// What it does.
    pub role: Role,
    /// Since when it has been up without a break; `None` while it is down.
    pub up_since: Option<BootTime>,
    /// Whether it was ever up since this process started.
    pub seen: bool,
    /// Whether its replica could lead the store once it is level.
    pub may_lead: bool,
    /// How many log entries its replica is behind; `None` is unknown.
    pub lag: Option<u64>,
    /// Since when it is caught up, as long as this server has led.
    pub caught_up_since: Option<BootTime>,
    /// Why its engine instance cannot run there at present.
    pub cannot_host: Option<String>,
    /// Whether it is to run there in spite of that where no other server can have it.
    pub at_need: bool,
    /// Whether it has told this leader that it can host the engine, or why not.
    pub reported: bool,
    /// Until when the engine does not go to it merely because it is more preferred: hand-overs to it failed.
    pub distrusted_until: Option<BootTime>,
    /// Until when the engine does not fail back to it: it was lost more than once soon after it took the engine.
    pub paused_until: Option<BootTime>,
    /// Until when no hand-over to it is tried, because the last one failed.
    pub damped_until: Option<BootTime>,
}

/// The engine, as the storage leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineHere {
    /// It does not run: never placed, or its host lost the leadership, or it was stopped.
    Idle,
    /// It is starting or started here, under the newest activation.
    RunsHere,
    /// It is draining here before a planned stop.
    Stopping,
}

/// All that [`super::decide`] looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Now.
    pub now: BootTime,
    /// This server, the storage leader.
    pub me: ServerName,
    /// Since when this server leads.
    pub leads_since: BootTime,
    /// When this process started.
    pub started_at: BootTime,
    /// All members, in the order in which they joined.
    pub servers: Vec<ServerView>,
    /// The policy.
    pub policy: Policy,
    /// Where an operator moved the engine to.
    pub hold: Option<ServerName>,
    /// The host of the newest activation.
    pub last_host: Option<ServerName>,
    /// Why that activation was made.
    pub last_reason: Option<ActivationReason>,
    /// Whether the whole cluster was started again since then.
    pub cold_start: bool,
    /// Whether the policy was changed while the engine ran nowhere.
    pub policy_changed: bool,
    /// Whether an engine instance of this process ran before.
    pub ran_here: bool,
    /// Why the newest activation was stopped, if that was on purpose.
    pub stopped_for: Option<ActivationReason>,
    /// The engine.
    pub engine: EngineHere,
    /// Whether the list of preferred servers changed and the engine has to be placed anew.
    pub place_anew: bool,
    /// Whether this server is shutting down.
    pub leaving: bool,
    /// The store here writes nothing: a sync does not return, or there is no space or no descriptor left.
    pub disk_fails: bool,
    /// The policy's times and bounds.
    pub timing: PolicyTiming,
}

/// The policy's times and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyTiming {
    /// How long a server must have been up before the engine fails back to it.
    pub fail_back_stability: Duration,
    /// How long a process waits after its start for servers earlier in the list that it has not yet seen.
    pub start_grace: Duration,
    /// How long a new leader waits to hear how far the others are.
    pub lag_grace: Duration,
    /// The most log entries that a server may be behind and count as caught up; the hand-over sends it the rest.
    pub caught_up_entries: u64,
    /// How lately a replica must have answered the leader to count as caught up.
    pub heard_within: Duration,
    /// How long after a failed hand-over none to the same server is tried, and after a failure of a server's engine none is
    /// started there even where no other server is left. For a merely more preferred server it is five
    /// times as long, and twice as long each time, up to 64 times.
    pub hand_over_damping: Duration,
    /// How long a voter must be out of everybody's reach before it loses its vote.
    pub dead_voter_after: Duration,
    /// How long a server is passed over after its engine instance failed; twice as long each time, up to 16 times.
    pub engine_failure_cooldown: Duration,
    /// How long an engine instance may be missing until its server is passed over.
    pub engine_missing_max: Duration,
    /// How long a server must host the engine for its earlier losses to be forgotten. One that is lost sooner is failed back
    /// to later each time, from the second loss in a row on.
    pub hosted_well: Duration,
    /// How long after the second such loss the engine does not fail back; twice as long after each further one.
    pub loss_pause: Duration,
    /// The longest such pause.
    pub loss_pause_max: Duration,
    /// How long a sync of the store's log may take until its server is passed over: the disk hangs.
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

/// What the storage leader does about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It runs where it belongs, or a change of it is under way.
    Stay,
    /// Start it here.
    ActivateHere {
        /// Why.
        reason: ActivationReason,
    },
    /// Stop it here if it runs, and hand leadership to a server that will start it.
    HandOver {
        /// Where to.
        to: ServerName,
        /// Why.
        reason: ActivationReason,
    },
    /// Stop it here: the policy forbids this server, and no other can take it.
    Stop {
        /// Why, in words.
        why: String,
    },
    /// Lead, but keep it stopped.
    KeepStopped {
        /// Why, in words.
        why: String,
    },
    /// This server shuts down, and the one to take over needs a moment.
    AwaitSuccessor,
    /// It is too early to tell.
    Wait {
        /// For what, in words.
        why: String,
    },
}
