//! What happens to a cluster, as a list of steps.

use crate::simulation::dice::Dice;

/// One thing that happens. Servers are numbers, taken modulo how many there are.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Nothing for a while.
    Calm,
    /// All faults end, and all servers start.
    Mend,
    /// A process is killed; of those that are linked, each has proof of it, or none has: the host is lost.
    Kill { server: Who, host: bool },
    /// All processes are killed.
    KillAll,
    /// All that are dead start again.
    Restart,
    /// A process stands still for some milliseconds.
    Freeze(Who, u64),
    /// A server does not hear another.
    Unlink(Who, Who),
    /// All links are cut.
    UnlinkAll,
    /// A server's way to the log, or back, is cut.
    CutLog(Who, bool, bool),
    /// The log is restarted; it is down for some milliseconds.
    RestartLog(u64),
    /// The log stands still for some milliseconds.
    FreezeLog(u64),
    /// The sessions of a server are ended.
    EndSessions(Who),
    /// The next commit of a server's sessions holds its lock for ever.
    Stick(Who),
    /// A standby takes over that has all commits. A server may go on with the old log, which commits no more.
    Promote(Option<Who>),
    /// All faults end; then a standby takes over that lost commits. There are no other faults until it is put right.
    LoseAndHeal(u64),
    /// A standby takes over that lost commits, whatever else is broken.
    Lose(u64),
    /// Statements and answers take up to so many microseconds, and so many commits of a thousand are not certain.
    Slow(u64, u64),
    /// The holder gives the lease to a server.
    Give(Who),
}

/// A server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// The one that leads.
    Holder,
    /// This one.
    Number(u64),
}

/// A step, and how long it lasts before the next one comes.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) fault: Fault,
    pub(super) then_ms: u64,
}

/// What happens to how many servers.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) servers: u64,
    /// Of all dice.
    pub(super) dice: u64,
    pub(super) steps: Vec<Step>,
}

fn who(dice: &mut Dice) -> Who {
    if dice.chance(500) { Who::Holder } else { Who::Number(dice.below(8)) }
}

/// Short and long against the lease.
fn time(dice: &mut Dice) -> u64 {
    let most = [60, 400, 2_500, 5_000][usize::try_from(dice.below(4)).unwrap_or(0)];
    dice.below(most)
}

fn fault(dice: &mut Dice) -> Fault {
    match dice.below(34) {
        0 | 1 => Fault::Calm,
        2..=4 => Fault::Mend,
        5..=7 => Fault::Kill { server: who(dice), host: false },
        8 => Fault::Kill { server: who(dice), host: true },
        9 => Fault::KillAll,
        10..=12 => Fault::Restart,
        13 | 14 => Fault::Freeze(who(dice), 50 + 2 * time(dice)),
        15 | 16 => Fault::Unlink(who(dice), who(dice)),
        17 => Fault::UnlinkAll,
        18..=20 => {
            let way = dice.below(3);
            Fault::CutLog(who(dice), way != 1, way != 0)
        }
        21 | 22 => Fault::RestartLog(time(dice)),
        23 | 24 => Fault::FreezeLog(time(dice)),
        25 => Fault::EndSessions(who(dice)),
        26 => Fault::Stick(who(dice)),
        27 => Fault::Promote(dice.chance(500).then(|| who(dice))),
        28 => Fault::LoseAndHeal(1 + dice.below(30)),
        29 => Fault::Lose(1 + dice.below(30)),
        30 | 31 => {
            let slowest = [300, 3_000, 30_000][usize::try_from(dice.below(3)).unwrap_or(0)];
            Fault::Slow(slowest, [0, 20, 100][usize::try_from(dice.below(3)).unwrap_or(0)])
        }
        _ => Fault::Give(Who::Number(dice.below(8))),
    }
}

impl Schedule {
    /// The schedule of a seed.
    pub(super) fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let servers = [3, 3, 3, 2, 1, 5][usize::try_from(dice.below(6)).unwrap_or(0)];
        let mut steps = Vec::new();
        for _ in 0..3 + dice.below(10) {
            let fault = fault(&mut dice);
            let then_ms = if matches!(fault, Fault::LoseAndHeal(_)) { 8_000 } else { time(&mut dice) };
            let step = Step { fault, then_ms };
            // Alone with a log that is slow to answer.
            if dice.chance(60) {
                steps.push(Step { fault: Fault::UnlinkAll, then_ms: 1_000 });
                steps.push(Step { fault: Fault::CutLog(Who::Holder, false, true), then_ms: 500 + dice.below(3_500) });
                steps.push(Step { fault: Fault::Mend, then_ms: 500 });
            }
            // A successor that has to read what it does not have yet.
            if dice.chance(80) {
                steps.push(Step { fault: Fault::Slow(30_000, 0), then_ms: 300 + dice.below(500) });
                steps.push(Step { fault: Fault::Kill { server: Who::Holder, host: false }, then_ms: 1_500 });
            }
            steps.push(step);
        }
        Self { servers, dice: dice.next(), steps }
    }
}
