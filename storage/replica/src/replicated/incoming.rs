//! The receiving side of a snapshot: files that fill up chunk by chunk, until all of them are whole.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::frame::{Chunk, SnapshotOffer};
use super::types::{SnapshotMeta, Vote};

/// Maximum bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// A snapshot of more files than this is no snapshot.
const FILES_MAX: usize = 100_000;
/// Disk space that must stay free next to a snapshot.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// A snapshot that is being received.
pub(crate) struct Incoming {
    pub(super) transfer: u64,
    pub(super) meta: SnapshotMeta,
    pub(super) vote: Vote,
    dir: PathBuf,
    /// Names and sizes. Opened again for each chunk: there may be more files than a process may have open.
    files: Vec<(String, u64)>,
    /// Chunks that are missing still.
    missing: HashSet<(u32, u64)>,
    /// Number of chunks of each file.
    missing_of: Vec<u64>,
    arrived: u64,
    handed_over: bool,
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.chars().all(plain)
}

impl Incoming {
    /// Makes room for an offer.
    pub(super) fn begin(offer: SnapshotOffer, dir: PathBuf, free_bytes: u64) -> Result<Self, String> {
        let size: u64 = offer.files.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        if offer.files.len() > FILES_MAX || !offer.files.iter().all(|(name, _)| is_plain(name)) {
            return Err("a snapshot of files that are none of ours".to_owned());
        }
        if size.saturating_add(RESERVE_BYTES) > free_bytes {
            return Err(format!("a snapshot of {size} bytes does not fit: {free_bytes} bytes are free"));
        }
        let words = |error: io::Error| format!("a snapshot cannot be written: {error}");
        fs::create_dir(&dir).map_err(words)?;
        let mut incoming = Self {
            transfer: offer.transfer,
            meta: offer.meta,
            vote: offer.vote,
            dir,
            files: Vec::new(),
            missing: HashSet::new(),
            missing_of: Vec::new(),
            arrived: 0,
            handed_over: false,
        };
        for (number, (name, size)) in (0_u32..).zip(offer.files) {
            File::create_new(incoming.dir.join(&name)).map_err(words)?;
            incoming.files.push((name, size));
            incoming.missing.extend((0..size).step_by(CHUNK_BYTES).map(|offset| (number, offset)));
            incoming.missing_of.push(size.div_ceil(CHUNK_BYTES as u64));
        }
        Ok(incoming)
    }

    /// Takes a chunk; the same one again changes nothing.
    pub(super) fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<(), String> {
        if chunk.transfer != self.transfer {
            return Err("a chunk of another transfer".to_owned());
        }
        let (name, size) = self.files.get(chunk.file as usize).ok_or("a chunk of no file of the offer")?;
        let left = size.saturating_sub(chunk.offset);
        let expected = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        if !chunk.offset.is_multiple_of(CHUNK_BYTES as u64) || chunk.bytes.len() != expected || expected == 0 {
            return Err("a chunk that does not fit its file".to_owned());
        }
        if !self.missing.contains(&(chunk.file, chunk.offset)) {
            return Ok(());
        }
        let left = &mut self.missing_of[chunk.file as usize];
        let write = || -> io::Result<()> {
            let file = File::options().write(true).open(self.dir.join(name))?;
            file.write_all_at(chunk.bytes, chunk.offset)?;
            // File by file: all at the end would be minutes of silence, and a flood that stalls the log's syncs.
            if *left == 1 { file.sync_all() } else { Ok(()) }
        };
        write().map_err(|error| format!("a chunk cannot be written: {error}"))?;
        *left -= 1;
        self.missing.remove(&(chunk.file, chunk.offset));
        self.arrived += chunk.bytes.len() as u64;
        Ok(())
    }

    /// Bytes that have arrived, and bytes in total.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.arrived, self.files.iter().map(|(_, size)| size).sum())
    }

    /// The directory, if all chunks have arrived. The caller owns it from then on.
    pub(super) fn complete(mut self) -> Result<PathBuf, String> {
        if !self.missing.is_empty() {
            return Err(format!("{} chunks of the snapshot are missing", self.missing.len()));
        }
        self.handed_over = true;
        Ok(self.dir.clone())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.handed_over {
            // Opening the store removes what stays behind.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::SnapshotMeta;

    use super::*;

    fn offer(files: Vec<(String, u64)>) -> SnapshotOffer {
        let meta = SnapshotMeta { last_log_id: None, last_membership: Default::default() };
        SnapshotOffer { transfer: 5, vote: Vote::new(1, baton_domain::ReplicaId(1)), meta, files }
    }

    #[test]
    fn a_snapshot_is_complete_when_every_chunk_came_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let size = CHUNK_BYTES as u64 + 3;
        let files = vec![("CURRENT".to_owned(), 0), ("a.sst".to_owned(), size)];
        let mut incoming = Incoming::begin(offer(files.clone()), dir.path().join("x"), u64::MAX).unwrap();
        let full = vec![7; CHUNK_BYTES];
        incoming.chunk(&Chunk { transfer: 5, file: 1, offset: CHUNK_BYTES as u64, bytes: b"end" }).unwrap();
        for bad in [
            Chunk { transfer: 4, file: 1, offset: 0, bytes: &full },
            Chunk { transfer: 5, file: 2, offset: 0, bytes: &full },
            Chunk { transfer: 5, file: 1, offset: 0, bytes: b"short" },
            Chunk { transfer: 5, file: 1, offset: 1, bytes: &full },
            Chunk { transfer: 5, file: 0, offset: 0, bytes: b"" },
        ] {
            assert!(incoming.chunk(&bad).is_err());
        }
        assert!(incoming.complete().unwrap_err().contains("1 chunks"));
        assert!(!dir.path().join("x").exists(), "half a snapshot must not stay");

        let mut incoming = Incoming::begin(offer(files), dir.path().join("y"), u64::MAX).unwrap();
        incoming.chunk(&Chunk { transfer: 5, file: 1, offset: 0, bytes: &full }).unwrap();
        incoming.chunk(&Chunk { transfer: 5, file: 1, offset: CHUNK_BYTES as u64, bytes: b"end" }).unwrap();
        let path = incoming.complete().unwrap();
        assert_eq!(fs::metadata(path.join("a.sst")).unwrap().len(), size);
    }

    #[test]
    fn names_that_lead_elsewhere_and_sizes_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../x", "", ".", "a/b", "..", "a\0b"] {
            assert!(
                Incoming::begin(offer(vec![(name.to_owned(), 1)]), dir.path().join("x"), u64::MAX).is_err(),
                "{name}"
            );
        }
        let big = offer(vec![("a.sst".to_owned(), 1 << 40)]);
        assert!(Incoming::begin(big, dir.path().join("x"), 1 << 30).is_err_and(|why| why.contains("does not fit")));
    }
}
