//! The schedule of a run: a pure function of the seed, the length and the kinds that are wanted.
//!
//! It is a list of episodes. An episode is one fault, or two that overlap; together they take at most two of the five
//! members away, which the layout survives. Between episodes the nemesis waits: always until all members are up, and
//! before and after faults that cost a replica its data until all are caught up and vote, because the next fault would
//! otherwise be one more than the layout survives.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::kind::Kind;
use super::lab::{SERVERS, members};

/// From just above the longest lease (340 ms) up to 5 s.
const FREEZE_MS: std::ops::Range<u64> = 380..5_000;
/// Around the lease and the elections after it, where the effects of earlier operations may appear late.
const SHORT_FREEZE_MS: std::ops::Range<u64> = 250..900;
/// Longer than after which a dead voter loses its vote (10 s).
const LONG_MS: std::ops::Range<u64> = 11_000..13_000;

/// The members that a fault hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Victims {
    /// The engine's host at that moment.
    Host,
    /// The engine's host and one more member; the host alone if it is the same.
    HostAnd(String),
    /// These.
    Members(Vec<String>),
    /// All members.
    All,
    /// A client: which one is chosen when it begins.
    Client,
    /// Nobody.
    None,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    /// The members.
    pub victims: Victims,
    /// Begin, in milliseconds from the episode's begin.
    pub after_ms: u64,
    /// Length, in milliseconds.
    pub length_ms: u64,
    /// The seed of all other choices: delays, directions, files.
    pub seed: u64,
}

/// One fault, or two that overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Milliseconds before it begins, from the end of the one before.
    pub pause_ms: u64,
    /// True if it waits until all members are caught up and vote, and not only until they are up.
    pub caught_up: bool,
    /// Its faults, in the order in which they begin.
    pub faults: Vec<Fault>,
}

/// The choices of the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The episodes.
    pub episodes: Vec<Episode>,
    /// The list of the policy at the end, with fail back.
    pub last_list: Vec<String>,
    /// The member whose disk can be filled.
    pub small_disk: String,
}

/// Makes the schedule of a seed for so many seconds. `only` is not empty; every kind of it comes before any comes again.
#[must_use]
pub fn schedule(seed: u64, secs: u64, only: &[Kind]) -> Schedule {
    let mut dice = Dice::new(seed);
    let last_list = dice.shuffled(&SERVERS).into_iter().map(str::to_owned).collect();
    let small_disk = dice.pick(&members()).clone();
    let (mut episodes, mut deck, mut at_ms) = (Vec::new(), Vec::new(), 0);
    let mut wounded = true;
    while at_ms < secs * 1000 {
        let kind = deck.pop().unwrap_or_else(|| {
            deck = dice.shuffled(only);
            deck.pop().unwrap_or(Kind::KillHost)
        });
        let mut faults = vec![fault(kind, 0, &small_disk, &mut dice)];
        let mixing: Vec<Kind> = only.iter().copied().filter(|kind| kind.mixes()).collect();
        if kind.mixes() && !mixing.is_empty() && dice.once_in(3) {
            let second = *dice.pick(&mixing);
            let after_ms = dice.within(0..faults[0].length_ms.max(1));
            faults.push(fault(second, after_ms, &small_disk, &mut dice));
        }
        let loses_data = faults.iter().any(|fault| fault.kind.loses_data());
        let caught_up = wounded || loses_data || dice.once_in(2);
        let episode = Episode { pause_ms: dice.within(500..3_000), caught_up, faults };
        // A voter that is away this long loses its vote: until it has it back, fewer failures are survived.
        wounded = loses_data || episode.length_ms() >= VOTE_KEPT_MS;
        at_ms += episode.pause_ms + episode.length_ms() + RECOVERY_MS;
        episodes.push(episode);
    }
    Schedule { episodes, last_list, small_disk }
}

/// Rough time until a cluster is healthy after an episode: it only limits the number of episodes in a run.
const RECOVERY_MS: u64 = 1_500;

/// Below the time after which a dead voter loses its vote.
const VOTE_KEPT_MS: u64 = 9_000;

fn fault(kind: Kind, after_ms: u64, small_disk: &str, dice: &mut Dice) -> Fault {
    let (victims, length_ms) = (victims(kind, small_disk, dice), length_ms(kind, dice));
    Fault { kind, victims, after_ms, length_ms, seed: dice.next() }
}

fn victims(kind: Kind, small_disk: &str, dice: &mut Dice) -> Victims {
    let all = members();
    let mut some = |count: usize| Victims::Members(dice.shuffled(&all)[..count].to_vec());
    match kind {
        Kind::KillMembers | Kind::FreezeMembers | Kind::KillAtStart | Kind::PowerLoss => {
            let two = some(2);
            if dice.once_in(3) { Victims::HostAnd(dice.pick(&all).clone()) } else { two }
        }
        Kind::Isolate | Kind::Partition => match dice.within(0..3) {
            0 => Victims::Host,
            1 => Victims::HostAnd(dice.pick(&all).clone()),
            _ => Victims::Members(dice.shuffled(&all)[..2].to_vec()),
        },
        Kind::KillHost | Kind::FreezeHost | Kind::Resets | Kind::Terminate | Kind::KillAtMove => Victims::Host,
        Kind::OneWay
        | Kind::PartialCut
        | Kind::ThinLink
        | Kind::SlowDisk
        | Kind::ClockJump
        | Kind::LossyLink
        | Kind::LargeMessages
        | Kind::KillAtPurge => {
            let one = some(1);
            if dice.once_in(2) { Victims::Host } else { one }
        }
        Kind::Wipe
        | Kind::KillAtSnapshot
        | Kind::BitFlip
        | Kind::MemberChange
        | Kind::OldCopy
        | Kind::AddressChange => some(1),
        Kind::DiskFull => Victims::Members(vec![small_disk.to_owned()]),
        Kind::RestartAll | Kind::PowerLossAll => Victims::All,
        Kind::KillConsumer | Kind::KillProducer => Victims::Client,
        Kind::Moves | Kind::FailBack | Kind::PolicyChanges => Victims::None,
    }
}

fn length_ms(kind: Kind, dice: &mut Dice) -> u64 {
    match kind {
        Kind::KillMembers | Kind::KillHost | Kind::PowerLoss if dice.once_in(6) => dice.within(LONG_MS),
        Kind::KillMembers | Kind::KillHost | Kind::KillAtMove | Kind::Terminate | Kind::PowerLoss => {
            dice.within(300..5_000)
        }
        Kind::KillAtStart => 0,
        Kind::Isolate | Kind::Partition | Kind::FreezeHost | Kind::FreezeMembers if dice.once_in(6) => {
            dice.within(LONG_MS)
        }
        Kind::FreezeHost | Kind::FreezeMembers if dice.once_in(3) => dice.within(SHORT_FREEZE_MS),
        Kind::FreezeHost | Kind::FreezeMembers => dice.within(FREEZE_MS),
        Kind::Isolate | Kind::Partition | Kind::OneWay | Kind::PartialCut | Kind::Resets => dice.within(500..6_000),
        Kind::ThinLink | Kind::SlowDisk | Kind::LossyLink | Kind::ClockJump => dice.within(2_000..6_000),
        Kind::RestartAll | Kind::PowerLossAll => dice.within(0..2_000),
        Kind::Moves => dice.within(500..2_000),
        // Longer than it takes to be back: 5 s of stability, and the move.
        Kind::FailBack => dice.within(8_500..11_000),
        Kind::Wipe | Kind::KillAtSnapshot | Kind::BitFlip => dice.within(100..3_000),
        Kind::DiskFull => dice.within(1_000..5_000),
        Kind::KillAtPurge | Kind::KillConsumer | Kind::KillProducer => dice.within(100..3_000),
        Kind::LargeMessages => dice.within(3_000..7_000),
        Kind::PolicyChanges => dice.within(2_000..5_000),
        Kind::MemberChange | Kind::OldCopy | Kind::AddressChange => dice.within(100..3_000),
    }
}

impl Episode {
    /// Its length.
    #[must_use]
    pub fn length_ms(&self) -> u64 {
        self.faults.iter().map(|fault| fault.after_ms + fault.length_ms).max().unwrap_or(0)
    }
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the host"),
            Self::HostAnd(other) => write!(f, "the host and {other}"),
            Self::Members(names) => f.write_str(&names.join(" and ")),
            Self::All => f.write_str("everything"),
            Self::Client => f.write_str("one of them"),
            Self::None => f.write_str("nobody"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} for {} ms", self.kind.name(), self.victims, self.length_ms)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, episode) in (1..).zip(&self.episodes) {
            let gate = if episode.caught_up { "caught up" } else { "up" };
            write!(f, "  {number:3}. {} ms after all are {gate}:", episode.pause_ms)?;
            for (at, fault) in episode.faults.iter().enumerate() {
                let joint = if at == 0 { String::new() } else { format!("; {} ms later", fault.after_ms) };
                write!(f, "{joint} {fault}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "  at the end: fail back to the first of {}", self.last_list.join(", "))?;
        writeln!(f, "  the disk that can be filled is of {}", self.small_disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_function_of_its_seed() {
        assert_eq!(schedule(7, 300, &Kind::ALL), schedule(7, 300, &Kind::ALL));
        assert_ne!(schedule(7, 300, &Kind::ALL), schedule(8, 300, &Kind::ALL));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        let first: Vec<Kind> = schedule(3, 3_000, &Kind::ALL).episodes.iter().map(|it| it.faults[0].kind).collect();
        let mut kinds = first[..Kind::ALL.len()].to_vec();
        kinds.sort_unstable();
        let mut all = Kind::ALL.to_vec();
        all.sort_unstable();
        assert_eq!(kinds, all);
    }

    #[test]
    fn no_episode_takes_more_members_than_the_layout_survives() {
        for seed in 0..300 {
            for episode in schedule(seed, 600, &Kind::ALL).episodes {
                let taken = |fault: &Fault| match &fault.victims {
                    Victims::Host => 1,
                    Victims::HostAnd(_) => 2,
                    Victims::Members(names) => names.len(),
                    // Everything is killed, and started again by the same fault.
                    Victims::All | Victims::Client | Victims::None => 0,
                };
                let sum: usize = episode.faults.iter().map(taken).sum();
                assert!(sum <= 2, "seed {seed}: {episode:?}");
            }
        }
    }

    #[test]
    fn data_is_lost_only_where_all_others_have_it_and_until_it_is_back() {
        let loses = |episode: &Episode| episode.faults.iter().any(|fault| fault.kind.loses_data());
        for seed in 0..300 {
            let episodes = schedule(seed, 600, &Kind::ALL).episodes;
            assert!(episodes.iter().all(|episode| episode.caught_up || !loses(episode)), "seed {seed}");
            assert!(episodes.windows(2).all(|pair| pair[1].caught_up || !loses(&pair[0])), "seed {seed}");
        }
    }
}
