//! Loss of power: only the synced part of a store's files is sure to survive.
//!
//! The synced state is recorded on the files themselves, by `shim/disk.c`: the number of bytes, and whether the name is
//! durable; for files of the log, which are preallocated, also the number of written bytes. Of the bytes behind these,
//! a disk may have none, a part, or some pages and not others; a name that is not durable may be gone. Directories,
//! removals and renames count as durable at once, and so do overwrites of synced bytes: the only file of a store that
//! is overwritten is the mark `synced`, which promises nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use super::dice::Dice;
use super::store::{BALLAST, files};

/// The attribute that holds how many bytes are synced, as a native i64.
pub(crate) const SYNCED: &str = "user.synced";
/// The attribute that holds how many bytes are written, of a file that is written to at places.
const WRITTEN: &str = "user.written";
/// The attribute of a file whose name is durable.
pub(crate) const LINKED: &str = "user.linked";
/// Unit in which a disk writes or does not write.
const PAGE: usize = 4096;

/// The loss.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Bytes of files that a server reads again.
    pub bytes: u64,
    /// The same in words.
    pub files: Vec<String>,
}

/// Declares all that is in a store to be on the disk: as it is when a machine has started.
///
/// # Errors
/// The system's error: the file system may have no attributes.
pub(crate) fn settle(store: &Path) -> Result<(), String> {
    let all = files(store).map_err(|error| format!("{}: {error}", store.display()))?;
    for (path, length) in all {
        let mark = || -> io::Result<()> {
            let (end, is_longer) = written(&path, length)?;
            let bytes = i64::try_from(end).unwrap_or(i64::MAX).to_ne_bytes();
            if is_longer {
                setxattr(&path, WRITTEN, &bytes, XattrFlags::empty())?;
            }
            setxattr(&path, SYNCED, &bytes, XattrFlags::empty())?;
            Ok(setxattr(&path, LINKED, &[], XattrFlags::empty())?)
        };
        mark().map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Removes the unsynced bytes, or a part of them, from the store of a member that does not run.
///
/// # Errors
/// The system's error.
pub(crate) fn lose_unsynced(store: &Path, dice: &mut Dice) -> Result<Loss, String> {
    // Each of these alone is the behavior of some disk and file system; losing all bytes is the plainest.
    let (all_bytes, names) = (dice.once_in(2), dice.once_in(2));
    let mut loss = Loss::default();
    for (path, length) in files(store).map_err(|error| format!("{}: {error}", store.display()))? {
        let name = path.strip_prefix(store).unwrap_or(&path).display().to_string();
        if name == BALLAST {
            continue;
        }
        let lose = || -> io::Result<(u64, &'static str)> {
            if names && attribute(&path, LINKED)?.is_none() {
                fs::remove_file(&path)?;
                return Ok((length, "and its name"));
            }
            let (length, _) = written(&path, length)?;
            let synced = attribute(&path, SYNCED)?.map_or(0, u64::from_ne_bytes).min(length);
            if synced == length {
                return Ok((0, ""));
            }
            let file = File::options().read(true).write(true).open(&path)?;
            match if all_bytes { 0 } else { dice.within(0..3) } {
                0 => file.set_len(synced).map(|()| (length - synced, "all that was not synced")),
                1 => {
                    let kept = dice.within(synced..length);
                    file.set_len(kept).map(|()| (length - kept, "the end of what was not synced"))
                }
                _ => zero_pages(&file, synced, length, dice).map(|lost| (lost, "pages of what was not synced")),
            }
        };
        let (lost, what) = { lose }().map_err(|error| format!("{name}: {error}"))?;
        if lost > 0 && is_read_again(&name) {
            loss.bytes += lost;
            loss.files.push(format!("{lost} of {length} bytes of {name}, {what}"));
        }
    }
    settle(store)?;
    Ok(loss)
}

/// Half of the pages from `synced` to `length` hold nothing: they were never written, later ones were.
fn zero_pages(file: &File, synced: u64, length: u64, dice: &mut Dice) -> io::Result<u64> {
    let (mut at, mut lost) = (synced, 0);
    while at < length {
        let end = (at / PAGE as u64 + 1) * PAGE as u64;
        let part = usize::try_from(end.min(length) - at).unwrap_or(PAGE);
        if dice.once_in(2) {
            file.write_all_at(&[0; PAGE][..part], at)?;
            lost += part as u64;
        }
        at = end;
    }
    Ok(lost)
}

/// The length up to which a file was written, and whether the file itself records it.
fn written(path: &Path, length: u64) -> io::Result<(u64, bool)> {
    let written = attribute(path, WRITTEN)?.map(u64::from_ne_bytes);
    Ok((written.map_or(length, |written| written.min(length)), written.is_some()))
}

/// The value of an attribute, if the file has it; zeros behind a shorter one.
fn attribute(path: &Path, name: &str) -> io::Result<Option<[u8; 8]>> {
    let mut value = [0; 8];
    match getxattr(path, name, &mut value) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// True if a server's promises depend on reading the file again. Others are lost as well, but prove nothing:
/// RocksDB's notes for people, the mark `synced`, and `spare`, which only keeps space free.
fn is_read_again(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let notes = file == "LOG" || file.starts_with("LOG.old") || file.to_lowercase() == "lock";
    !notes && !["synced", "spare"].contains(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(synced: &[u8], unsynced: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = dir.path().join("log");
        fs::create_dir(&log).expect("it can be made");
        fs::write(log.join("7.log"), synced).expect("it can be written");
        fs::write(log.join("LOG"), "for people").expect("it can be written");
        settle(dir.path()).expect("files have attributes here");
        fs::write(log.join("7.log"), [synced, unsynced].concat()).expect("it can be written");
        fs::write(log.join("8.log"), unsynced).expect("it can be written");
        dir
    }

    #[test]
    fn what_was_synced_stays_and_of_the_rest_nothing_is_made_up() {
        let (synced, unsynced) = (vec![1; 5_000], vec![2; 20_000]);
        let (mut shorter, mut holes, mut gone) = (0, 0, 0);
        for seed in 0..100 {
            let store = store(&synced, &unsynced);
            let loss = lose_unsynced(store.path(), &mut Dice::new(seed)).expect("it can be lost");
            let left = fs::read(store.path().join("log/7.log")).expect("its name is durable");
            assert!(left.starts_with(&synced) && left.len() <= 25_000, "seed {seed}");
            let mut lost = 25_000 - left.len() as u64;
            shorter += u32::from(lost > 0);
            let zeros = left[5_000..].iter().filter(|byte| **byte == 0).count() as u64;
            assert!(left[5_000..].iter().all(|byte| [0, 2].contains(byte)), "seed {seed}");
            (holes, lost) = (holes + u32::from(zeros > 0), lost + zeros);
            match fs::read(store.path().join("log/8.log")) {
                Ok(left) => lost += 20_000 - left.iter().filter(|byte| **byte == 2).count() as u64,
                Err(_) => (gone, lost) = (gone + 1, lost + 20_000),
            }
            assert_eq!(loss.bytes, lost, "seed {seed}: {:?}", loss.files);
            let again = lose_unsynced(store.path(), &mut Dice::new(seed + 1)).expect("it can be lost");
            assert_eq!(again, Loss::default(), "seed {seed}: what a disk holds when it starts, it keeps");
        }
        assert!(shorter > 20 && holes > 5 && gone > 20, "{shorter} shorter, {holes} with holes, {gone} gone");
    }

    #[test]
    fn space_that_is_only_kept_free_is_no_loss() {
        let store = store(&[1; 100], &[]);
        fs::write(store.path().join("spare"), [0; 100_000]).expect("it can be written");
        for seed in 0..20 {
            assert_eq!(lose_unsynced(store.path(), &mut Dice::new(seed)), Ok(Loss::default()), "seed {seed}");
        }
    }

    #[test]
    fn what_was_synced_and_cut_since_is_no_loss() {
        let store = store(&[1; 100], &[]);
        File::options().write(true).open(store.path().join("log/7.log")).and_then(|file| file.set_len(40)).unwrap();
        lose_unsynced(store.path(), &mut Dice::new(3)).expect("it can be lost");
        assert_eq!(fs::read(store.path().join("log/7.log")).unwrap(), [1; 40]);
    }
}
