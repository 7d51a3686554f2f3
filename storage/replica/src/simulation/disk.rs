//! A replica's disk: a sync takes simulated time, and a loss of power takes what was not synced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::dice::Dice;

/// By the directory of the store.
static DISKS: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());

/// The disk under the log at `log`, if it is simulated.
pub(crate) fn under(log: &Path) -> Option<Arc<Disk>> {
    DISKS.lock().unwrap().get(log.parent()?).cloned()
}

/// A disk that is simulated.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    dice: Mutex<Dice>,
    /// What a sync takes at most, in microseconds.
    slowest_us: Mutex<u64>,
    /// The write-ahead log's files as they were when the last sync ended: what a loss of power leaves at least.
    synced: Mutex<BTreeMap<PathBuf, u64>>,
}

impl Disk {
    /// Simulates the disk under the store at `dir`.
    pub(super) fn put_under(dir: &Path, seed: u64) -> Arc<Self> {
        let disk = Self {
            dir: dir.to_owned(),
            dice: Mutex::new(Dice::new(seed)),
            slowest_us: Mutex::new(2_000),
            synced: Mutex::default(),
        };
        // What lies there now has been through a crash already.
        *disk.synced.lock().unwrap() = disk.log_files();
        let disk = Arc::new(disk);
        DISKS.lock().unwrap().insert(dir.to_owned(), disk.clone());
        disk
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn slow_down(&self, slowest: Duration) {
        *self.slowest_us.lock().unwrap() = slowest.as_micros() as u64;
    }

    /// Runs a sync after the time that it takes.
    pub(crate) fn later(self: &Arc<Self>, sync: impl FnOnce() + Send + 'static) {
        let disk = self.clone();
        let took = Duration::from_micros(1 + disk.dice.lock().unwrap().below(*disk.slowest_us.lock().unwrap()));
        tokio::spawn(async move {
            tokio::time::sleep(took).await;
            sync();
            *disk.synced.lock().unwrap() = disk.log_files();
        });
    }

    fn log_files(&self) -> BTreeMap<PathBuf, u64> {
        let mut files = listing(&self.dir.join("log"));
        files.retain(|path, _| is_segment(path));
        files
    }

    /// Copies the store to `to` as a process that was killed leaves it, or a machine that lost its power: then each
    /// file of the log holds zeros from somewhere between what was synced and what was written on.
    pub(super) fn crash(&self, to: &Path, power_lost: bool) {
        // Before the copy: what is synced meanwhile by the dying process is not in it.
        let synced = self.synced.lock().unwrap().clone();
        crash_copy(&self.dir, to);
        if !power_lost {
            return;
        }
        let mut dice = self.dice.lock().unwrap();
        for (path, written) in listing(&to.join("log")) {
            if !is_segment(&path) {
                continue;
            }
            let original = self.dir.join(path.strip_prefix(to).unwrap());
            let synced = synced.get(&original).copied().unwrap_or(0).min(written);
            clear_from(&path, synced + dice.below(written - synced + 1));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Takes the disk away, files and all.
pub(super) fn remove(disk: &Arc<Disk>) {
    DISKS.lock().unwrap().remove(&disk.dir);
}

/// Nothing was written from there on.
pub(crate) fn clear_from(path: &Path, end: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(end).and_then(|()| file.set_len(length)).unwrap();
}

/// The files under a directory and their sizes; of the log's, without the zeros behind what was written.
pub(crate) fn listing(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            found.extend(listing(&entry.path()));
        } else {
            let path = entry.path();
            let size = if is_segment(&path) { end_of(&path) } else { meta.len() };
            found.insert(path, size);
        }
    }
    found
}

/// Whether a file is one of the log's, by its name.
pub(crate) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Behind the last byte that is none of the zeros at the end.
fn end_of(path: &Path) -> u64 {
    // It may be gone again.
    let bytes = fs::read(path).unwrap_or_default();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Copies a directory as a crash would leave it: until nothing changed while it was copied.
pub(crate) fn crash_copy(from: &Path, to: &Path) {
    loop {
        let _ = fs::remove_dir_all(to);
        let before = listing(from);
        let copied = before.keys().all(|path| {
            let target = to.join(path.strip_prefix(from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(path, target).is_ok()
        });
        if copied && listing(from) == before {
            return;
        }
    }
}
