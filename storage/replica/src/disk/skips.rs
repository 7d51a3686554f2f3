//! The file that lists the log entries which are skipped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use baton_domain::ReplicaId;
use xxhash_rust::xxh3::xxh3_64;

use super::{sync_dir, write_atomically};
use crate::machine::{damaged, newer};
use crate::skipped::SkippedEntry;

/// Begins the first line; the version follows.
const MAGIC: &str = "baton-skip ";
const VERSION: u8 = 1;

/// Log entries that an operator chose to skip.
///
/// On disk: a line with the version, a line per entry (index, term, leader), and the checksum of these lines. There is
/// no file while no entry is skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Skips(BTreeSet<SkippedEntry>);

impl Skips {
    /// Reads the file. A file that fails its checksum is [`io::ErrorKind::InvalidData`].
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let broken = || damaged("its list of skipped log entries is damaged");
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let first = text.lines().next().and_then(|line| line.strip_prefix(MAGIC)).ok_or_else(broken)?;
        match first.parse() {
            Ok(VERSION) => {}
            Ok(version) => return Err(newer("list of skipped log entries", version)),
            Err(_) => return Err(broken()),
        }
        let (body, found) = text.trim_end_matches('\n').rsplit_once('\n').ok_or_else(broken)?;
        if found != checksum(body) {
            return Err(broken());
        }
        let entries: Option<BTreeSet<_>> = body.lines().skip(1).map(read_line).collect();
        entries.map(Self).ok_or_else(broken)
    }

    /// Writes the file, durably; removes it if no entry is left.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        if self.0.is_empty() {
            fs::remove_file(path)?;
            return path.parent().map_or(Ok(()), sync_dir);
        }
        let mut body = format!("{MAGIC}{VERSION}");
        for SkippedEntry { index, term, leader } in &self.0 {
            body += &format!("\n{index} {term} {}", leader.0);
        }
        write_atomically(path, format!("{body}\n{}\n", checksum(&body)).as_bytes())
    }

    pub(crate) fn has(&self, entry: &SkippedEntry) -> bool {
        self.0.contains(entry)
    }

    /// The entries by index.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &SkippedEntry> {
        self.0.iter()
    }

    /// Adds an entry. False if it was there.
    pub(crate) fn add(&mut self, entry: SkippedEntry) -> bool {
        self.0.insert(entry)
    }

    /// Removes the entries at an index. False if there was none.
    pub(crate) fn remove(&mut self, index: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.index != index);
        self.0.len() < before
    }
}

fn checksum(body: &str) -> String {
    format!("{:016x}", xxh3_64(body.as_bytes()))
}

fn read_line(line: &str) -> Option<SkippedEntry> {
    let mut numbers = line.split(' ').map(|number| number.parse::<u64>().ok());
    let entry = SkippedEntry { index: numbers.next()??, term: numbers.next()??, leader: ReplicaId(numbers.next()??) };
    numbers.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64) -> SkippedEntry {
        SkippedEntry { index, term: 3, leader: ReplicaId(2) }
    }

    #[test]
    fn the_list_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skip");
        let mut skips = Skips::read(&path).unwrap();
        assert_eq!(skips, Skips::default());
        assert!(skips.add(entry(12)) && skips.add(entry(7)) && !skips.add(entry(7)));
        skips.write(&path).unwrap();
        let mut again = Skips::read(&path).unwrap();
        assert_eq!(again, skips);
        assert!(again.has(&entry(7)) && !again.has(&SkippedEntry { term: 4, ..entry(7) }) && !again.has(&entry(8)));
        assert_eq!(again.entries().map(|entry| entry.index).collect::<Vec<_>>(), [7, 12]);
        assert!(again.remove(7) && !again.remove(7) && again.remove(12));
        again.write(&path).unwrap();
        assert!(!path.exists());
    }

    /// An entry that is skipped by mistake is lost.
    #[test]
    fn a_damaged_list_names_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skip");
        let mut skips = Skips::default();
        skips.add(entry(4711));
        skips.write(&path).unwrap();
        let sound = fs::read(&path).unwrap();
        for (byte, bit) in (0..sound.len() - 1).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut wrong = sound.clone();
            wrong[byte] ^= 1 << bit;
            fs::write(&path, wrong).unwrap();
            assert!(Skips::read(&path).is_err(), "bit {bit} of byte {byte}");
        }
        for cut in 0..sound.len() - 1 {
            fs::write(&path, &sound[..cut]).unwrap();
            assert!(Skips::read(&path).is_err(), "cut at {cut}");
        }
        fs::write(&path, "baton-skip 2\nanything").unwrap();
        assert!(Skips::read(&path).unwrap_err().to_string().contains("newer baton"));
    }
}
