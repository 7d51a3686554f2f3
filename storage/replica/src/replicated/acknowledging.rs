//! Stores and sends the table of acknowledged entries, and stops a store that turns out to be an older copy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use crate::damage;
use crate::error::StoreError;
use crate::failure::Failure;
use crate::machine::{decode, encode};
use crate::replicated::{Acknowledged, Network, Table};
use crate::status::StoreStatus;

/// Interval at which a leader sends changes to the others, and each replica writes them down.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads the table from disk; empty if it cannot be read or is of another generation. It is not synced:
/// after a power loss an older table is as true.
pub(crate) fn load(path: &Path, generation: u32) -> Table {
    let read = || -> io::Result<(u32, Table)> {
        let bytes = fs::read(path)?;
        let (checksum, body) = bytes.split_first_chunk::<8>().ok_or(io::ErrorKind::UnexpectedEof)?;
        if xxh3_64(body).to_be_bytes() != *checksum {
            return Err(io::ErrorKind::InvalidData.into());
        }
        decode(body)
    };
    read().ok().filter(|(of, _)| *of == generation).map_or_else(Table::new, |(_, table)| table)
}

fn save(path: &Path, generation: u32, table: &Table) -> io::Result<()> {
    let body = encode(&(generation, table));
    let fresh = path.with_extension("new");
    fs::write(&fresh, [&xxh3_64(&body).to_be_bytes()[..], &body].concat())?;
    fs::rename(&fresh, path)
}

/// Tells, keeps, and waits for the verdict.
pub(crate) struct Acknowledging {
    pub(crate) dir: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) network: Network,
    pub(crate) status: watch::Receiver<StoreStatus>,
    pub(crate) failure: Failure,
}

impl Acknowledging {
    pub(crate) async fn run(self) {
        let mut older = self.acknowledged.watch();
        let (mut kept, mut told) = (0, 0);
        loop {
            let verdict = async {
                let verdict = older.wait_for(Option::is_some).await;
                verdict.ok().and_then(|why| why.clone())
            };
            if let Ok(Some(why)) = tokio::time::timeout(PERIOD, verdict).await {
                let error = StoreError::OlderCopy { dir: self.dir.clone(), why };
                tracing::error!(%error, "another server reports that this store lacks acknowledged entries");
                self.failure.set(damage::remember(error));
                return;
            }
            let (table, changes) = self.acknowledged.table();
            if changes != kept {
                kept = changes;
                self.keep(table).await;
            }
            let others = {
                let status = self.status.borrow();
                let others = status.votes().into_iter().flat_map(|(voters, learners)| voters.union(learners));
                let others = others.copied().filter(|replica| status.leads && *replica != self.network.own);
                others.collect::<Vec<_>>()
            };
            if changes != told && !others.is_empty() {
                told = changes;
                for replica in others {
                    tokio::spawn(self.network.acknowledged(replica));
                }
            }
        }
    }

    async fn keep(&self, table: Table) {
        let (path, generation) = (self.path.clone(), self.network.generation);
        let saved = tokio::task::spawn_blocking(move || save(&path, generation, &table)).await;
        if let Err(error) = saved.map_err(io::Error::other).and_then(|saved| saved) {
            tracing::debug!(%error, "cannot record the acknowledged positions of the replicas");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicated::log_id;
    use baton_domain::ReplicaId;

    #[test]
    fn the_table_comes_back_unless_it_is_torn_or_of_another_generation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acknowledged");
        assert!(load(&path, 1).is_empty());
        let table = vec![(ReplicaId(2), log_id(1, 7)), (ReplicaId(3), log_id(2, 9))];
        save(&path, 1, &table).unwrap();
        assert_eq!(load(&path, 1), table);
        assert!(load(&path, 2).is_empty(), "a recovery by force keeps what one replica had");
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(load(&path, 1).is_empty(), "cut at {cut}");
        }
    }
}
