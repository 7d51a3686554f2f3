//! Libraries that are loaded into a member's process, in C because the loader requires it: `shim/disk.c` makes syncs
//! slow and writes down what they made durable, `shim/clock.c` moves the wall clock.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [(&str, &str); 2] = [("disk.c", include_str!("shim/disk.c")), ("clock.c", include_str!("shim/clock.c"))];

/// Makes the library; `None` without a C compiler.
#[must_use]
pub(crate) fn shim(dir: &Path) -> Option<PathBuf> {
    let library = dir.join("shim.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library);
    for (name, source) in SOURCES {
        let path = dir.join(name);
        fs::write(&path, source).ok()?;
        compiler.arg(path);
    }
    let made = compiler.arg("-ldl").status();
    made.is_ok_and(|status| status.success()).then_some(library)
}

/// A member's wall clock: a file that its process has mapped. By how many milliseconds the clock is off, and how often
/// it was asked for since.
#[derive(Debug)]
pub(crate) struct WallClock(PathBuf);

impl WallClock {
    /// One that is right.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn new(path: PathBuf) -> Result<Self, String> {
        fs::write(&path, [0; 16]).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Its file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Sets its offset to this many milliseconds.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn set(&self, offset_ms: i64) -> Result<(), String> {
        let write = || {
            let file = File::options().write(true).open(&self.0)?;
            // The count first: no answer with the new offset is left out.
            file.write_all_at(&[0; 8], 8)?;
            file.write_all_at(&offset_ms.to_ne_bytes(), 0)
        };
        write().map_err(|error| format!("{}: {error}", self.0.display()))
    }

    /// The number of clock reads while the clock was wrong. Zero where the shim does not control the clock.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn answers(&self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        let read = File::open(&self.0).and_then(|file| file.read_exact_at(&mut bytes, 8));
        read.map(|()| u64::from_ne_bytes(bytes)).map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::power::{LINKED, SYNCED};

    /// Runs a shell script with the shim loaded.
    fn script(dir: &Path, clock: &WallClock, text: &str) -> String {
        let shim = shim(dir).expect("there is a C compiler");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", text])
            .current_dir(dir)
            .env("LD_PRELOAD", shim)
            .env("BATON_CLOCK", clock.path())
            .env("BATON_MARK_SYNCS", "1");
        let output = shell.output().expect("there is a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn the_wall_clock_of_a_process_jumps() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = WallClock::new(dir.path().join("clock")).expect("it can be written");
        let seconds = || script(dir.path(), &clock, "date +%s").parse::<i64>().expect("a number");
        let before = seconds();
        assert_eq!(clock.answers(), Ok(0));
        clock.set(-86_400_000).expect("it can be set");
        let jumped = seconds();
        assert!((86_300..=86_400).contains(&(before - jumped)), "{before} and then {jumped}");
        assert!(clock.answers().expect("it can be read") > 0);
    }

    #[test]
    fn syncs_are_written_down() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = WallClock::new(dir.path().join("clock")).expect("it can be written");
        script(dir.path(), &clock, "printf abcd > a && printf ab > b && sync a && printf ef >> a && sync -d a");
        let mark = |name: &str, mark: &str| {
            let mut bytes = [0; 8];
            rustix::fs::getxattr(dir.path().join(name), mark, &mut bytes).ok().map(|_| i64::from_ne_bytes(bytes))
        };
        assert_eq!((mark("a", SYNCED), mark("b", SYNCED)), (Some(6), None));
        assert_eq!(mark("b", LINKED), None);
        script(dir.path(), &clock, "sync . && printf ab > c");
        assert_eq!((mark("b", LINKED), mark("c", LINKED)), (Some(0), None));
    }
}
