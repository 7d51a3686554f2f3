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
    /// Power is lost at one or two members: SIGKILL, and of what was not synced nothing or a part is left.
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
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 28] = [
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
    ];

    /// Its name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillMembers => "kill-members",
            Self::KillHost => "kill-host",
            Self::KillAtMove => "kill-at-move",
            Self::KillAtStart => "kill-at-start",
            Self::FreezeHost => "freeze-host",
            Self::FreezeMembers => "freeze-members",
            Self::Isolate => "isolate",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::PartialCut => "partial-cut",
            Self::Resets => "resets",
            Self::ThinLink => "thin-link",
            Self::RestartAll => "restart-all",
            Self::Terminate => "terminate",
            Self::Moves => "moves",
            Self::FailBack => "fail-back",
            Self::Wipe => "wipe",
            Self::KillAtSnapshot => "kill-at-snapshot",
            Self::BitFlip => "bit-flip",
            Self::DiskFull => "disk-full",
            Self::SlowDisk => "slow-disk",
            Self::PowerLoss => "power-loss",
            Self::PowerLossAll => "power-loss-all",
            Self::ClockJump => "clock-jump",
            Self::LossyLink => "lossy-link",
            Self::KillAtPurge => "kill-at-purge",
            Self::KillConsumer => "kill-consumer",
            Self::KillProducer => "kill-producer",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether another fault may come on top: it takes one member at most, and no member's data.
    #[must_use]
    pub fn mixes(self) -> bool {
        match self {
            Self::KillHost
            | Self::FreezeHost
            | Self::PartialCut
            | Self::OneWay
            | Self::ThinLink
            | Self::Terminate
            | Self::Moves
            | Self::FailBack
            | Self::SlowDisk
            | Self::ClockJump
            | Self::LossyLink
            | Self::KillConsumer
            | Self::KillProducer => true,
            Self::KillMembers
            | Self::KillAtMove
            | Self::KillAtStart
            | Self::FreezeMembers
            | Self::Isolate
            | Self::Partition
            | Self::Resets
            | Self::RestartAll
            | Self::Wipe
            | Self::KillAtSnapshot
            | Self::BitFlip
            | Self::DiskFull
            | Self::PowerLoss
            | Self::PowerLossAll
            | Self::KillAtPurge => false,
        }
    }

    /// Whether it costs a replica its data, or may: then all others must have it, until that one has it again.
    #[must_use]
    pub fn loses_data(self) -> bool {
        match self {
            Self::Wipe | Self::KillAtSnapshot | Self::BitFlip | Self::DiskFull => true,
            Self::KillMembers
            | Self::KillHost
            | Self::KillAtMove
            | Self::KillAtStart
            | Self::FreezeHost
            | Self::FreezeMembers
            | Self::Isolate
            | Self::Partition
            | Self::OneWay
            | Self::PartialCut
            | Self::Resets
            | Self::ThinLink
            | Self::RestartAll
            | Self::Terminate
            | Self::Moves
            | Self::FailBack
            | Self::SlowDisk
            | Self::PowerLoss
            | Self::PowerLossAll
            | Self::ClockJump
            | Self::LossyLink
            | Self::KillAtPurge
            | Self::KillConsumer
            | Self::KillProducer => false,
        }
    }

    /// Whether it may part a client from the engine while both live: the client then attaches again, and what was on its
    /// way to it is delivered once more.
    #[must_use]
    pub fn parts_clients(self) -> bool {
        match self {
            Self::FreezeHost | Self::FreezeMembers | Self::Isolate | Self::ThinLink | Self::LossyLink => true,
            Self::KillMembers
            | Self::KillHost
            | Self::KillAtMove
            | Self::KillAtStart
            | Self::Partition
            | Self::OneWay
            | Self::PartialCut
            | Self::Resets
            | Self::RestartAll
            | Self::Terminate
            | Self::Moves
            | Self::FailBack
            | Self::Wipe
            | Self::KillAtSnapshot
            | Self::BitFlip
            | Self::DiskFull
            | Self::SlowDisk
            | Self::PowerLoss
            | Self::PowerLossAll
            | Self::ClockJump
            | Self::KillAtPurge
            | Self::KillConsumer
            | Self::KillProducer => false,
        }
    }

    /// How many activations of the engine a fault of this kind may cost, counted with what undoing it may cost.
    #[must_use]
    pub fn activations(self) -> usize {
        match self {
            Self::PartialCut | Self::ThinLink | Self::SlowDisk | Self::OneWay | Self::DiskFull | Self::LossyLink => 4,
            Self::Moves => 6,
            Self::KillAtStart
            | Self::KillAtMove
            | Self::KillAtSnapshot
            | Self::RestartAll
            | Self::FailBack
            | Self::PowerLossAll
            | Self::KillAtPurge => 3,
            Self::KillMembers
            | Self::KillHost
            | Self::FreezeHost
            | Self::FreezeMembers
            | Self::Isolate
            | Self::Partition
            | Self::Resets
            | Self::Terminate
            | Self::Wipe
            | Self::BitFlip
            | Self::PowerLoss
            | Self::ClockJump => 2,
            Self::KillConsumer | Self::KillProducer => 0,
        }
    }

    /// Whether the processes of its victims end with it and are started again when it is over, and nothing else is waited
    /// for in between.
    #[must_use]
    pub fn restarts_victims(self) -> bool {
        match self {
            Self::KillMembers
            | Self::KillHost
            | Self::KillAtStart
            | Self::RestartAll
            | Self::Terminate
            | Self::Wipe
            | Self::PowerLoss
            | Self::PowerLossAll => true,
            Self::KillAtMove
            | Self::FreezeHost
            | Self::FreezeMembers
            | Self::Isolate
            | Self::Partition
            | Self::OneWay
            | Self::PartialCut
            | Self::Resets
            | Self::ThinLink
            | Self::Moves
            | Self::FailBack
            | Self::KillAtSnapshot
            | Self::BitFlip
            | Self::DiskFull
            | Self::SlowDisk
            | Self::ClockJump
            | Self::LossyLink
            | Self::KillAtPurge
            | Self::KillConsumer
            | Self::KillProducer => false,
        }
    }

    /// Whether its victims cannot be reached while it lasts, so that `baton status` has to show them as not up.
    #[must_use]
    pub fn takes_victims_away(self) -> bool {
        match self {
            Self::KillMembers
            | Self::KillHost
            | Self::FreezeHost
            | Self::FreezeMembers
            | Self::Isolate
            | Self::Terminate
            | Self::Wipe
            | Self::PowerLoss => true,
            Self::KillAtMove
            | Self::KillAtStart
            | Self::Partition
            | Self::OneWay
            | Self::PartialCut
            | Self::Resets
            | Self::ThinLink
            | Self::RestartAll
            | Self::Moves
            | Self::FailBack
            | Self::KillAtSnapshot
            | Self::BitFlip
            | Self::DiskFull
            | Self::SlowDisk
            | Self::PowerLossAll
            | Self::ClockJump
            | Self::LossyLink
            | Self::KillAtPurge
            | Self::KillConsumer
            | Self::KillProducer => false,
        }
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
