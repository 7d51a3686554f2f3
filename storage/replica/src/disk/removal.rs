//! Deletes large files gradually, so that concurrent syncs do not stall. A disk that is told what became free
//! (`discard`, as cloud images mount theirs) syncs nothing meanwhile: 18 ms for 64 MiB where it was measured, and a
//! snapshot is hundreds of files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that a file gives back at once: 0.3 ms of that disk. Small in tests, so that their files go in pieces, too.
const PIECE_BYTES: u64 = if cfg!(test) { 1024 } else { 1024 * 1024 };
/// Pause after each piece, for others that need the disk: some three seconds per gigabyte.
const REST: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 2 });

/// Only one thread removes files at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Removes a directory in the background; without a runtime, before it returns.
pub(crate) fn remove_beside(dir: PathBuf) {
    let remove = move || {
        if let Err(error) = remove_gently(&dir) {
            // Opening the store removes it.
            tracing::warn!(dir = %dir.display(), %error, "cannot remove unneeded files yet");
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(remove)),
        Err(_) => remove(),
    }
}

/// Removes a file, or a directory with all that is in it. Nobody may use them any more: a crash leaves files that are
/// cut short. A file with another hard link stays whole there. Takes long: not for a task that
/// must not block.
pub(super) fn remove_gently(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            remove_gently(&entry?.path())?;
        }
        return fs::remove_dir(path);
    }
    let file = File::options().write(true).open(path)?;
    let metadata = file.metadata()?;
    let mut left = if metadata.nlink() == 1 { metadata.len() } else { 0 };
    while left > PIECE_BYTES {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        left -= PIECE_BYTES;
        file.set_len(left)?;
        thread::sleep(REST);
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_another_name_stays_whole_under_it() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, kept) = (dir.path().join("gone"), dir.path().join("kept"));
        fs::create_dir_all(gone.join("deeper")).unwrap();
        let body = vec![7; 3 * PIECE_BYTES as usize + 5];
        for name in ["alone", "deeper/shared", "small"] {
            fs::write(gone.join(name), if name == "small" { &body[..5] } else { &body }).unwrap();
        }
        fs::hard_link(gone.join("deeper/shared"), &kept).unwrap();
        remove_gently(&gone).unwrap();
        assert!(!gone.exists());
        assert!(fs::read(&kept).unwrap() == body);
        remove_gently(&kept).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(remove_gently(&kept).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
