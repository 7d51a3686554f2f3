//! The file that remembers the last process of a server: its incarnation, and the timeline of the log.

use std::fs;
use std::io;
use std::path::Path;

use super::member::Before;
use crate::disk::write_atomically;

/// The last process, if there was one and its file can be read.
pub(super) fn read(path: &Path) -> Option<Before> {
    let text = fs::read_to_string(path).ok()?;
    let (incarnation, timeline) = text.trim().split_once(' ')?;
    Some(Before { incarnation: incarnation.parse().ok()?, timeline: timeline.parse().ok()? })
}

/// Remembers this process.
pub(super) fn write(path: &Path, incarnation: u64, timeline: u32) -> io::Result<()> {
    write_atomically(path, format!("{incarnation} {timeline}\n").as_bytes())
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
        fs::write(&path, "x").unwrap();
        assert_eq!(read(&path), None);
    }
}
