//! Temporary directories of tests.

use std::path::Path;

use tempfile::TempDir;

/// A temporary directory that is kept if the test fails: a cluster's files and logs are in it.
#[derive(Debug)]
pub struct KeptDir(TempDir);

impl KeptDir {
    /// A new, empty directory.
    #[track_caller]
    pub fn new(prefix: &str) -> Self {
        Self(tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary directory"))
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for KeptDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("--- the cluster's files are left in {} ---", self.path().display());
        }
    }
}
