//! Resource use of the servers, from the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use baton_tests::clock::now;
use baton_tests::process::resident_mib;
use serde::Serialize;

use crate::torture::members;

const MIB: f64 = 1024.0 * 1024.0;

/// Resource use of one member.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResourceUse {
    /// Resident memory, in MiB.
    pub memory_mib: f64,
    /// Open file descriptors.
    pub descriptors: f64,
    /// The size of its store, in MiB.
    pub store_mib: f64,
    /// The part of it that is the log of consensus, in MiB.
    pub log_mib: f64,
}

/// All members at one moment; a member that does not run is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at_s: u64,
    /// By name.
    pub members: Vec<(String, ResourceUse)>,
}

/// A thread that measures until it is stopped.
#[derive(Debug)]
pub(super) struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Meter {
    /// Begins to measure the cluster whose files are in `dir`.
    pub(super) fn start(dir: PathBuf, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (began, mut samples) = (now(), Vec::new());
            while !stopped.load(Ordering::Acquire) {
                let members = members().into_iter().filter_map(|name| Some((name.clone(), used(&dir, &name)?)));
                samples.push(Sample { at_s: began.elapsed().as_secs(), members: members.collect() });
                std::thread::sleep(every);
            }
            samples
        });
        Self { stop, thread }
    }

    /// Ends, with all that was measured.
    pub(super) fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

fn used(dir: &Path, name: &str) -> Option<ResourceUse> {
    let pid = pid(&dir.join(format!("{name}.toml")))?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64;
    let store = dir.join(name);
    Some(ResourceUse {
        memory_mib: resident_mib(pid)?,
        descriptors,
        store_mib: size(&store) as f64 / MIB,
        log_mib: size(&store.join("log")) as f64 / MIB,
    })
}

/// The server that was started with that configuration.
fn pid(config: &Path) -> Option<u32> {
    let config = config.to_str()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        // Arguments end with a zero byte each; a process may end while it is looked at.
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == config.as_bytes())
    })
}

/// The bytes of all files below a directory; files that are removed during the scan do not count.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_directory_is_that_of_all_files_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("log")).expect("it can be written");
        for (name, bytes) in [("a", 10), ("log/b", 20)] {
            std::fs::write(dir.path().join(name), vec![0; bytes]).expect("it can be written");
        }
        assert_eq!((size(dir.path()), size(&dir.path().join("log")), size(&dir.path().join("no"))), (30, 20, 0));
    }
}
