//! Operations on the files of a member's store: a small file system under it, bit flips, and their removal.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::leftovers::MOUNT;
use super::system::system;

/// The file that fills a file system.
pub(super) const BALLAST: &str = "ballast";
/// Written at a time.
const CHUNK: usize = 1 << 20;

/// A memory file system over a store's directory; unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this many MiB and copies the present files into it.
    ///
    /// # Errors
    /// The error of `mount` or `cp`.
    pub fn mount(store: &Path, mib: u64) -> Result<Self, String> {
        let (at, aside) = (text(store), store.with_extension("aside"));
        fs::rename(store, &aside).and_then(|()| fs::create_dir(store)).map_err(|error| format!("{at}: {error}"))?;
        let source = format!("{MOUNT}{}", std::process::id());
        system("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), &source, at])?;
        let disk = Self(store.to_owned());
        system("cp", &["-a", &format!("{}/.", text(&aside)), at])?;
        fs::remove_dir_all(&aside).map_err(|error| format!("{}: {error}", aside.display()))?;
        Ok(disk)
    }

    /// Fills it until only `leave_mib` are free.
    ///
    /// # Errors
    /// The system's error.
    pub fn fill(&self, leave_mib: u64) -> Result<(), String> {
        let path = self.0.join(BALLAST);
        let fill = || {
            let mut file = File::create(&path)?;
            // Until there is no space: that is the error which ends it.
            while file.write_all(&[1; CHUNK]).is_ok() {}
            let length = file.metadata()?.len();
            if leave_mib > 0 { file.set_len(length.saturating_sub(leave_mib << 20)) } else { Ok(()) }
        };
        fill().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
    }

    /// Removes the filling.
    ///
    /// # Errors
    /// The system's error.
    pub fn free(&self) -> Result<(), String> {
        match fs::remove_file(self.0.join(BALLAST)) {
            // The store was wiped, and this file with it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(|error| error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a file that a process still has open must not keep it mounted forever.
        if let Err(why) = system("umount", &["-l", text(&self.0)]) {
            eprintln!("a mount is left behind: {why}");
        }
    }
}

/// Copies all files of a directory into another, with their attributes.
///
/// # Errors
/// The system's error.
pub(crate) fn copy_files(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    system("cp", &["-a", &format!("{}/.", text(from)), text(to)])
}

/// Empties a store's directory; the directory goes, too, where nothing is mounted on it.
///
/// # Errors
/// The system's error.
pub(crate) fn wipe(store: &Path) -> Result<(), String> {
    let empty = || {
        for entry in fs::read_dir(store)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
        Ok(())
    };
    empty().map_err(|error: std::io::Error| format!("{}: {error}", store.display()))?;
    // A mount point is busy, and may stay.
    let _ = fs::remove_dir(store);
    Ok(())
}

/// Flips `bits` bits of one file of a store, chosen by the dice among the files that are not empty; describes the
/// flips.
///
/// # Errors
/// The system's error, or that there is no such file.
pub(crate) fn flip_bits(store: &Path, bits: u64, dice: &mut Dice) -> Result<String, String> {
    let mut files = files(store).map_err(|error| format!("{}: {error}", store.display()))?;
    files.retain(|(path, length)| {
        *length > 0 && path.file_name().is_some_and(|name| !is_of_no_use(&name.to_string_lossy()))
    });
    if files.is_empty() {
        return Err(format!("{} has no file to damage", store.display()));
    }
    // Half of the time any file, half of the time any byte: else small or large files would never be hit.
    let all_bytes = files.iter().map(|(_, length)| length).sum();
    let mut byte = dice.within(0..all_bytes);
    let holding = |(_, length): &&(PathBuf, u64)| {
        let here = byte < *length;
        byte = byte.saturating_sub(*length);
        here
    };
    let by_byte = files.iter().find(holding).unwrap_or(&files[0]);
    let (path, length) = if dice.once_in(2) { by_byte.clone() } else { dice.pick(&files).clone() };
    let mut places = Vec::new();
    let mut flip = || {
        let mut file = File::options().read(true).write(true).open(&path)?;
        for _ in 0..bits {
            let (at, bit) = (dice.within(0..length), dice.within(0..8));
            let mut byte = [0];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut byte)?;
            byte[0] ^= 1 << bit;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&byte)?;
            places.push(format!("{at}.{bit}"));
        }
        file.sync_all()
    };
    flip().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))?;
    let name = path.strip_prefix(store).unwrap_or(&path).display();
    Ok(format!("flipped bits {} of {name} ({length} bytes)", places.join(" ")))
}

/// All files in a store, with their lengths, in the order of their paths.
///
/// # Errors
/// The system's error.
pub(super) fn files(dir: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    list(dir, &mut files)?;
    // The system lists them in any order.
    files.sort();
    Ok(files)
}

fn list(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            list(&entry.path(), files)?;
        } else if metadata.is_file() {
            files.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
}

/// True if no server ever reads that file: the ballast, and RocksDB's files for people.
fn is_of_no_use(name: &str) -> bool {
    name == BALLAST || name == "LOG" || name.starts_with("LOG.old") || name.starts_with("OPTIONS-")
}

/// Paths of ours are text.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipped_bits_are_named_and_change_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("log")).expect("it can be written");
        let file = dir.path().join("log/000001.sst");
        fs::write(&file, [0_u8; 100]).expect("it can be written");
        fs::write(dir.path().join("log/LOG"), "for people").expect("it can be written");
        let said = flip_bits(dir.path(), 1, &mut Dice::new(1)).expect("there is a file");
        assert!(said.contains("log/000001.sst (100 bytes)"), "{said}");
        let ones: u32 = fs::read(&file).expect("it can be read").iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(ones, 1);
        wipe(dir.path()).expect("it can be wiped");
        assert!(!file.exists());
    }
}
