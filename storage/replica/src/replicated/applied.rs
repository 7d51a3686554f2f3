//! The record of the last applied entry, which is part of the state.

use std::io;

use serde::{Deserialize, Serialize};

use super::types::{LogId, SnapshotMeta, StoredMembership};
use crate::machine::{Family, Sink, Tables, decode, encode};
use crate::state::Record;

const APPLIED: &[u8] = b"applied";

/// The last applied entry and the membership. Part of the state, so that both are of the same instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppliedRecord {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Record for AppliedRecord {
    fn load(tables: &dyn Tables) -> io::Result<Self> {
        match tables.get(Family::Meta, APPLIED)? {
            Some(bytes) => decode(&bytes),
            None => Ok(Self::default()),
        }
    }

    fn save(&self, sink: &mut dyn Sink) {
        sink.put(Family::Meta, APPLIED, &encode(self));
    }

    fn is_ahead_of(&self, other: &Self) -> bool {
        self.applied > other.applied
    }
}

impl AppliedRecord {
    pub(super) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}
