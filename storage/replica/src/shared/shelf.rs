//! Snapshots in the log: the files of a state, in parts. Tables never change, so that the snapshots of one server share
//! most of them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use baton_domain::ServerName;
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use super::log::{LogError, LogSnapshot, SNAPSHOT_PART_BYTES, SharedLog, SnapshotFile};
use super::record::LogRecord;
use crate::disk::Pace;
use crate::state::{SnapshotFiles, Snapshots};

/// Messages are stored meanwhile.
const PACE: Pace = Pace { bytes_per_second: 50 * 1024 * 1024 };
/// Bytes that are asked for at once.
const READ_BYTES: usize = 4 * SNAPSHOT_PART_BYTES;

/// Bytes of a snapshot that have arrived, and in total, while one is loaded. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Option<(u64, u64)>>>);

impl Progress {
    pub(super) fn get(&self) -> Option<(u64, u64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Option<(u64, u64)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// The reason why a snapshot was not put into the log, or not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// This server's disk failed, or what the log has is damaged.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no snapshot.
    #[error("the log no longer has the entries that this server needs, and has no snapshot")]
    None,
}

/// The hash of a file.
fn digest(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut hash = Xxh3Default::new();
    let mut bytes = vec![0; SNAPSHOT_PART_BYTES];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hash.digest128()),
            read => hash.update(&bytes[..read]),
        }
    }
}

/// The number-th part of a file.
fn one_part(path: &Path, number: u32) -> io::Result<Bytes> {
    use std::os::unix::fs::FileExt;
    let file = File::open(path)?;
    let from = u64::from(number) * SNAPSHOT_PART_BYTES as u64;
    let left = file.metadata()?.len().saturating_sub(from);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(SNAPSHOT_PART_BYTES)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes.into())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Makes a snapshot of the state and puts it into the log; the last entry that it contains.
pub(super) async fn put(
    log: &dyn SharedLog,
    snapshots: Arc<Snapshots<LogRecord>>,
    (server, generation, id): (ServerName, u32, u64),
) -> Result<u64, ShelfError> {
    let (made, files) = blocking(move || {
        let made = snapshots.make()?;
        let mut files = Vec::new();
        for (name, bytes) in made.files()? {
            let digest = digest(&made.path(&name))?;
            files.push(SnapshotFile { name, bytes, digest });
        }
        Ok((made, files))
    })
    .await?;
    let record = made.record();
    let (position, term) = (record.position(), record.term());
    let snapshot = LogSnapshot { id, position, term, generation, server, files: files.clone() };
    let missing = log.begin_snapshot(snapshot).await?;
    for file in files.iter().filter(|file| missing.contains(&file.digest)) {
        let parts = file.bytes.div_ceil(SNAPSHOT_PART_BYTES as u64);
        for number in 0..u32::try_from(parts).unwrap_or(u32::MAX) {
            let path = made.path(&file.name);
            let part = blocking(move || one_part(&path, number)).await?;
            let bytes = part.len();
            log.put_part(file.digest, number, part).await?;
            tokio::time::sleep(PACE.rest(bytes)).await;
        }
    }
    if !log.complete_snapshot(id).await? {
        return Err(io::Error::other("parts of the snapshot are missing in the log").into());
    }
    Ok(position.index)
}

/// Loads the newest snapshot of the log, and checks it.
pub(super) async fn load(
    log: &dyn SharedLog,
    snapshots: Arc<Snapshots<LogRecord>>,
    progress: &Progress,
) -> Result<SnapshotFiles<LogRecord>, ShelfError> {
    let snapshot = log.newest_snapshot().await?.ok_or(ShelfError::None)?;
    let total = snapshot.files.iter().map(|file| file.bytes).sum();
    let dir = snapshots.new_incoming();
    fs::create_dir(&dir)?;
    progress.set(Some((0, total)));
    let loaded = fetch(log, &snapshot, &dir, progress).await;
    progress.set(None);
    loaded?;
    Ok(blocking(move || snapshots.received(dir)).await?)
}

async fn fetch(log: &dyn SharedLog, snapshot: &LogSnapshot, dir: &Path, progress: &Progress) -> Result<(), ShelfError> {
    let mut arrived = 0;
    for SnapshotFile { name, bytes, digest } in &snapshot.files {
        let path = safe(dir, name)?;
        let mut file = File::create(&path)?;
        let mut hash = Xxh3Default::new();
        let (mut number, mut length) = (0, 0);
        loop {
            let parts = log.get_parts(*digest, number, READ_BYTES).await?;
            if parts.is_empty() {
                break;
            }
            for part in parts {
                hash.update(&part);
                file.write_all(&part)?;
                length += part.len() as u64;
                arrived += part.len() as u64;
                number += 1;
            }
            if let Some((_, total)) = progress.get() {
                progress.set(Some((arrived, total)));
            }
        }
        if length != *bytes || hash.digest128() != *digest {
            let why = format!("the file {name} of the log's snapshot is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why).into());
        }
    }
    Ok(())
}

/// A file's place in a directory; names come from the log.
fn safe(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
    if plain { Ok(dir.join(name)) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "a file's name is no name")) }
}
