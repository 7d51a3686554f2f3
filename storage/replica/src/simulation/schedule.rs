//! What happens to a cluster, as a list of steps.

use proptest::prelude::*;

/// One thing that happens. Replicas are taken modulo how many there are.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Nothing for a while.
    Calm,
    /// Replicas in the mask hear those that are not in it no more, and the other way round.
    Partition(u8),
    /// One does not hear another.
    OneWay(u8, u8),
    /// One does not hear the leader.
    LeaderUnheard(u8),
    /// The leader is cut off.
    IsolateLeader,
    /// All cuts end.
    Heal,
    /// A process is killed; with a loss of power, what was not synced may be gone.
    Crash(u8, bool),
    /// The same for whoever leads.
    CrashLeader(bool),
    /// The same for all at once.
    CrashAll(bool),
    /// A process is killed and starts again at once.
    Bounce(u8, bool),
    /// All that are dead start again.
    Restart,
    /// Whoever leads hands over.
    HandOver(u8),
    /// Frames take up to so many milliseconds, and of a thousand so many are lost, and so many come twice.
    Network { delay_ms: u64, lost: u64, twice: u64 },
    /// A replica's syncs take up to so many milliseconds.
    SlowDisk(u8, u64),
    /// A write of an epoch that is over reaches whoever leads.
    LateWrite,
    /// The hashes of all replicas at one entry are compared.
    Marker,
}

/// A step, and how long it lasts before the next one comes.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) fault: Fault,
    pub(super) then_ms: u64,
}

/// What happens to how many replicas.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) replicas: u64,
    /// Snapshots are taken after so many bytes of log.
    pub(super) snapshot_bytes: u64,
    /// Of all dice.
    pub(super) dice: u64,
    pub(super) steps: Vec<Step>,
}

fn fault() -> impl Strategy<Value = Fault> {
    let network = (0..4_usize, 0..60_u64, 0..40_u64).prop_map(|(delay, lost, twice)| Fault::Network {
        delay_ms: [1, 5, 30, 120][delay],
        lost,
        twice,
    });
    prop_oneof![
        2 => Just(Fault::Calm),
        3 => any::<u8>().prop_map(Fault::Partition),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Fault::OneWay(from, to)),
        3 => any::<u8>().prop_map(Fault::LeaderUnheard),
        4 => Just(Fault::IsolateLeader),
        5 => Just(Fault::Heal),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(replica, power)| Fault::Crash(replica, power)),
        3 => any::<bool>().prop_map(Fault::CrashLeader),
        1 => any::<bool>().prop_map(Fault::CrashAll),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(replica, power)| Fault::Bounce(replica, power)),
        5 => Just(Fault::Restart),
        4 => any::<u8>().prop_map(Fault::HandOver),
        2 => network,
        2 => (any::<u8>(), 0..5_usize).prop_map(|(replica, at)| Fault::SlowDisk(replica, [1, 10, 50, 200, 600][at])),
        2 => Just(Fault::LateWrite),
        1 => Just(Fault::Marker),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    // Short and long against the lease.
    let then_ms = prop_oneof![4 => 0..60_u64, 4 => 60..400_u64, 3 => 400..1_500_u64];
    (fault(), then_ms).prop_map(|(fault, then_ms)| Step { fault, then_ms })
}

/// Steps that chance alone would rarely put together: what a rule of the lease or of the log is there for.
fn story() -> impl Strategy<Value = Vec<Step>> {
    let step = |fault, then_ms| Step { fault, then_ms };
    let replica = || any::<u8>();
    prop_oneof![
        // One that stands for election while another forgets, in a restart, whose lease it acknowledged.
        (replica(), 350..900_u64, 0..60_u64, replica(), 50..500_u64).prop_map(
            move |(deaf, long, short, bounced, then)| {
                vec![
                    step(Fault::LeaderUnheard(deaf), long),
                    step(Fault::IsolateLeader, short),
                    step(Fault::Bounce(bounced, false), then),
                ]
            }
        ),
        // A leader that goes while it hands over.
        (replica(), 0..30_u64, any::<bool>(), 50..900_u64).prop_map(move |(to, short, dies, then)| {
            let gone = if dies { Fault::CrashLeader(true) } else { Fault::IsolateLeader };
            vec![step(Fault::HandOver(to), short), step(gone, then)]
        }),
        // A replica that is away for so long that it needs a snapshot.
        (replica(), 2_000..4_000_u64, any::<bool>(), 50..900_u64).prop_map(move |(away, long, power, then)| {
            vec![step(Fault::Crash(away, power), long), step(Fault::Restart, then)]
        }),
        // Slow syncs, and then no power: what was confirmed must have been synced.
        (replica(), 50..400_u64, 0..3_u8).prop_map(move |(one, then, at)| {
            let slow = [10, 50, 200][usize::from(at)];
            vec![
                step(Fault::SlowDisk(one, slow), 50),
                step(Fault::SlowDisk(one.wrapping_add(1), slow), then),
                step(Fault::CrashAll(true), 10),
                step(Fault::Restart, then),
            ]
        }),
    ]
}

pub(super) fn schedule() -> impl Strategy<Value = Schedule> {
    let replicas = prop_oneof![6 => Just(3_u64), 1 => Just(4), 2 => Just(5)];
    let snapshot_bytes = prop_oneof![Just(4_000_u64), Just(40_000), Just(1 << 30)];
    let part = prop_oneof![8 => step().prop_map(|step| vec![step]), 1 => story()];
    (replicas, snapshot_bytes, any::<u64>(), prop::collection::vec(part, 1..20)).prop_map(
        |(replicas, snapshot_bytes, dice, parts)| Schedule {
            replicas,
            snapshot_bytes,
            dice,
            steps: parts.into_iter().flatten().collect(),
        },
    )
}
