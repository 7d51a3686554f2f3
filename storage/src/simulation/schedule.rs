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
        3 => Just(Fault::IsolateLeader),
        5 => Just(Fault::Heal),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(replica, power)| Fault::Crash(replica, power)),
        3 => any::<bool>().prop_map(Fault::CrashLeader),
        1 => any::<bool>().prop_map(Fault::CrashAll),
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

pub(super) fn schedule() -> impl Strategy<Value = Schedule> {
    let replicas = prop_oneof![6 => Just(3_u64), 1 => Just(4), 2 => Just(5)];
    let snapshot_bytes = prop_oneof![Just(4_000_u64), Just(40_000), Just(1 << 30)];
    (replicas, snapshot_bytes, any::<u64>(), prop::collection::vec(step(), 1..24))
        .prop_map(|(replicas, snapshot_bytes, dice, steps)| Schedule { replicas, snapshot_bytes, dice, steps })
}
