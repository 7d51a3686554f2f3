//! The file that remembers the last process of a server: its incarnation, and the timeline of the log.
//!
//! This server holds its lock, so that process is dead. The process of the directory that this one was copied from may
//! live: the file counts only where it was written, and until the machine starts again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::member::Before;
use crate::disk::write_atomically;

/// The last process, if there was one here and its file can be read.
pub(super) fn read(path: &Path) -> Option<Before> {
    let text = fs::read_to_string(path).ok()?;
    let mut parts = text.trim().splitn(3, ' ');
    let (incarnation, timeline) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next()? == place(path)?).then_some(Before { incarnation, timeline })
}

/// Remembers this process.
pub(super) fn write(path: &Path, incarnation: u64, timeline: u32) -> io::Result<()> {
    let place = place(path).unwrap_or_default();
    write_atomically(path, format!("{incarnation} {timeline} {place}\n").as_bytes())
}

/// The directory, as no copy of it is named, and the start of the machine.
fn place(path: &Path) -> Option<String> {
    let dir = fs::metadata(path.parent()?).ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}:{}:{}", dir.dev(), dir.ino(), boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("process");
        assert_eq!(read(&path), None);
        write(&path, u64::MAX, 7).unwrap();
        assert_eq!(read(&path), Some(Before { incarnation: u64::MAX, timeline: 7 }));
        let copy = tempfile::tempdir().unwrap();
        fs::copy(&path, copy.path().join("process")).unwrap();
        assert_eq!(read(&copy.path().join("process")), None, "the process of the original may live");
        fs::write(&path, "x").unwrap();
        assert_eq!(read(&path), None);
    }
}
