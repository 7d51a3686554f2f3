//! Log entries that are kept for replicas which are sent a snapshot.
//!
//! A snapshot takes its time, and the log moves on meanwhile. If it is purged past the snapshot before the replica is
//! level, that one needs another snapshot, and under load so on for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::ReplicaId;
use baton_domain::clock::BootTime;

use super::flusher::lock;
use crate::status::StoreStatus;

/// Silence after which a replica counts as gone: it may need another snapshot when it returns.
const GONE: Duration = Duration::from_secs(30);

/// Replicas that receive a snapshot, and the last log index in it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotHolds(Arc<Mutex<BTreeMap<ReplicaId, u64>>>);

impl SnapshotHolds {
    /// A snapshot up to `index` is on its way to a replica.
    pub(super) fn hold(&self, replica: ReplicaId, index: u64) {
        lock(&self.0).insert(replica, index);
    }

    /// Index up to which the log may be purged, at most `wanted`; forgets replicas that have as much, or are gone.
    pub(crate) fn limit(&self, wanted: u64, status: &StoreStatus, now: BootTime) -> u64 {
        let mut holds = lock(&self.0);
        holds.retain(|replica, _| {
            let Some(follower) = status.followers.get(replica).filter(|_| status.leads) else { return false };
            let gone = follower.heard.is_some_and(|heard| now.since(heard) > GONE);
            !gone && follower.matched < wanted
        });
        let has = |(replica, index): (&ReplicaId, &u64)| {
            status.followers.get(replica).map_or(*index, |follower| follower.matched.max(*index))
        };
        holds.iter().map(has).fold(wanted, u64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Follower;

    fn status(matched: u64, heard: Option<BootTime>) -> StoreStatus {
        StoreStatus {
            leads: true,
            last_index: 10_000,
            followers: BTreeMap::from([(ReplicaId(2), Follower { matched, heard, may_lead: true })]),
            ..StoreStatus::default()
        }
    }

    #[test]
    fn the_log_is_kept_from_the_snapshot_on_until_the_replica_is_level_or_gone() {
        let (now, second) = (BootTime(100_000_000_000), Duration::from_secs(1));
        let holds = SnapshotHolds::default();
        let heard = Some(now);
        assert_eq!(holds.limit(8_000, &status(0, heard), now), 8_000, "nobody is sent a snapshot");
        holds.hold(ReplicaId(2), 5_000);
        assert_eq!(holds.limit(8_000, &status(0, heard), now), 5_000);
        assert_eq!(holds.limit(4_000, &status(0, heard), now), 4_000);
        assert_eq!(holds.limit(8_000, &status(6_000, heard), now), 6_000, "it has the snapshot and catches up");
        assert_eq!(holds.limit(8_000, &status(0, None), now), 5_000, "not heard yet is not gone");
        assert_eq!(holds.limit(8_000, &status(0, heard), now + 31 * second), 8_000, "gone");
        for (what, after) in [
            ("level", status(9_500, heard)),
            ("removed", StoreStatus { followers: BTreeMap::new(), ..status(0, heard) }),
            ("no leader any more", StoreStatus { leads: false, ..status(0, heard) }),
        ] {
            holds.hold(ReplicaId(2), 5_000);
            assert_eq!(holds.limit(8_000, &after, now), 8_000, "{what}");
            assert_eq!(holds.limit(8_000, &status(0, heard), now), 8_000, "{what}: forgotten");
        }
    }
}
