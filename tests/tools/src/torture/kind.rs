//! The kinds of faults.

use serde::{Deserialize, Serialize};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL of one or two members.
    KillMembers,
    /// SIGKILL of the engine's host.
    KillHost,
    /// SIGKILL of the host or of the target while `baton move` runs.
    KillAtMove,
    /// SIGKILL, start, and SIGKILL again during the start.
    KillAtStart,
    /// SIGSTOP of the host, from just above the lease to 5 s, then SIGCONT.
    FreezeHost,
    /// The same with one or two members.
    FreezeMembers,
    /// One or two members' links are down: nobody sees them, clients neither.
    Isolate,
    /// One or two members are cut off from the others; clients still see them.
    Partition,
    /// Packets pass in one direction only.
    OneWay,
    /// Two members do not see each other; all others see both.
    PartialCut,
    /// A firewall at the host answers the others with resets, while the host lives: it must not pass for a death.
    Resets,
    /// A member's link is thin.
    ThinLink,
    /// SIGKILL of everything at once, then everything starts.
    RestartAll,
    /// SIGTERM of the host.
    Terminate,
    /// `baton move` back and forth.
    Moves,
    /// Fail back is switched on with another list, and off again.
    FailBack,
    /// A member is killed and loses its store.
    Wipe,
    /// A member loses its store and is killed, or the one that sends it a snapshot is, in the middle of that.
    KillAtSnapshot,
    /// A member is killed and bits of its store are flipped.
    BitFlip,
    /// A server's disk is full, and has space again.
    DiskFull,
    /// A member's syncs take long.
    SlowDisk,
    /// One or two members lose power: SIGKILL, and the unsynced bytes are lost or a part of them survives.
    PowerLoss,
    /// Power is lost at all members at once.
    PowerLossAll,
    /// A member's wall clock jumps.
    ClockJump,
    /// A share of the packets from and to a member is lost.
    LossyLink,
    /// A member is killed, or loses its power, while it takes a snapshot or purges its log, and now and then once more
    /// while it starts.
    KillAtPurge,
    /// A consumer is killed; another one takes its place.
    KillConsumer,
    /// A producer is killed; another one takes its place.
    KillProducer,
    /// A member's link is thin while a producer sends messages of nearly a mebibyte.
    LargeMessages,
    /// Several operators change the policy at the same time.
    PolicyChanges,
    /// A member is removed, and added again with an empty store.
    MemberChange,
    /// A member is killed and gets an old copy of its store.
    OldCopy,
    /// A member is reached at another address from now on.
    AddressChange,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::KillMembers,
        Self::KillHost,
        Self::KillAtMove,
        Self::KillAtStart,
        Self::FreezeHost,
        Self::FreezeMembers,
        Self::Isolate,
        Self::Partition,
        Self::OneWay,
        Self::PartialCut,
        Self::Resets,
        Self::ThinLink,
        Self::RestartAll,
        Self::Terminate,
        Self::Moves,
        Self::FailBack,
        Self::Wipe,
        Self::KillAtSnapshot,
        Self::BitFlip,
        Self::DiskFull,
        Self::SlowDisk,
        Self::PowerLoss,
        Self::PowerLossAll,
        Self::ClockJump,
        Self::LossyLink,
        Self::KillAtPurge,
        Self::KillConsumer,
        Self::KillProducer,
        Self::LargeMessages,
        Self::PolicyChanges,
        Self::MemberChange,
        Self::OldCopy,
        Self::AddressChange,
    ];

    /// The properties of a kind: one row each.
    fn facts(self) -> Facts {
        match self {
            Self::KillMembers => Facts { restarts_victims: true, takes_victims_away: true, ..plain("kill-members", 2) },
            Self::KillHost => {
                Facts { mixes: true, restarts_victims: true, takes_victims_away: true, ..plain("kill-host", 2) }
            }
            Self::KillAtMove => plain("kill-at-move", 3),
            Self::KillAtStart => Facts { restarts_victims: true, ..plain("kill-at-start", 3) },
            Self::FreezeHost => {
                Facts { mixes: true, parts_clients: true, takes_victims_away: true, ..plain("freeze-host", 2) }
            }
            Self::FreezeMembers => {
                Facts { parts_clients: true, takes_victims_away: true, ..plain("freeze-members", 2) }
            }
            Self::Isolate => Facts { parts_clients: true, takes_victims_away: true, ..plain("isolate", 2) },
            Self::Partition => plain("partition", 2),
            Self::OneWay => Facts { mixes: true, ..plain("one-way", 4) },
            Self::PartialCut => Facts { mixes: true, ..plain("partial-cut", 4) },
            Self::Resets => plain("resets", 2),
            Self::ThinLink => Facts { mixes: true, parts_clients: true, ..plain("thin-link", 4) },
            Self::RestartAll => Facts { restarts_victims: true, ..plain("restart-all", 3) },
            Self::Terminate => {
                Facts { mixes: true, restarts_victims: true, takes_victims_away: true, ..plain("terminate", 2) }
            }
            Self::Moves => Facts { mixes: true, ..plain("moves", 6) },
            Self::FailBack => Facts { mixes: true, ..plain("fail-back", 3) },
            Self::Wipe => {
                Facts { loses_data: true, restarts_victims: true, takes_victims_away: true, ..plain("wipe", 2) }
            }
            Self::KillAtSnapshot => Facts { loses_data: true, ..plain("kill-at-snapshot", 3) },
            Self::BitFlip => Facts { loses_data: true, ..plain("bit-flip", 2) },
            Self::DiskFull => Facts { loses_data: true, ..plain("disk-full", 4) },
            Self::SlowDisk => Facts { mixes: true, ..plain("slow-disk", 4) },
            Self::PowerLoss => Facts { restarts_victims: true, takes_victims_away: true, ..plain("power-loss", 2) },
            Self::PowerLossAll => Facts { restarts_victims: true, ..plain("power-loss-all", 3) },
            Self::ClockJump => Facts { mixes: true, ..plain("clock-jump", 2) },
            Self::LossyLink => Facts { mixes: true, parts_clients: true, ..plain("lossy-link", 4) },
            Self::KillAtPurge => plain("kill-at-purge", 3),
            Self::KillConsumer => Facts { mixes: true, ..plain("kill-consumer", 0) },
            Self::KillProducer => Facts { mixes: true, ..plain("kill-producer", 0) },
            Self::LargeMessages => Facts { parts_clients: true, ..plain("large-messages", 4) },
            Self::PolicyChanges => plain("policy-changes", 6),
            Self::MemberChange => Facts { loses_data: true, ..plain("member-change", 4) },
            Self::OldCopy => Facts { loses_data: true, ..plain("old-copy", 4) },
            Self::AddressChange => plain("address-change", 4),
        }
    }

    /// Its name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// True if another fault may start during it: it hits one member at most, and no member's data.
    #[must_use]
    pub fn mixes(self) -> bool {
        self.facts().mixes
    }

    /// True if it costs a replica its data, or may: then all others must have it, until that one has it again.
    #[must_use]
    pub fn loses_data(self) -> bool {
        self.facts().loses_data
    }

    /// True if it may part a client from the engine while both live: the client then attaches again, and messages in
    /// flight to it are delivered once more.
    #[must_use]
    pub fn parts_clients(self) -> bool {
        self.facts().parts_clients
    }

    /// Activations of the engine that a fault of this kind may cost, its end included.
    #[must_use]
    pub fn activations(self) -> usize {
        self.facts().activations
    }

    /// True if the processes of its victims end with it and are started again when it is over, and nothing else is waited
    /// for in between.
    #[must_use]
    pub fn restarts_victims(self) -> bool {
        self.facts().restarts_victims
    }

    /// True if its victims cannot be reached while it lasts, so that `baton status` has to show them as not up.
    #[must_use]
    pub fn takes_victims_away(self) -> bool {
        self.facts().takes_victims_away
    }
}

/// The properties of a kind; the methods document them.
struct Facts {
    name: &'static str,
    activations: usize,
    mixes: bool,
    loses_data: bool,
    parts_clients: bool,
    restarts_victims: bool,
    takes_victims_away: bool,
}

/// A kind with no properties but its name and the activations that it may cost.
fn plain(name: &'static str, activations: usize) -> Facts {
    Facts {
        name,
        activations,
        mixes: false,
        loses_data: false,
        parts_clients: false,
        restarts_victims: false,
        takes_victims_away: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
        assert_eq!(Kind::named("none"), None);
    }
}
