//! Clusters whose log is in PostgreSQL: three servers and nothing else.

use super::Cluster;

impl Cluster {
    /// Runs `baton init --database` for three servers; starts nothing.
    ///
    /// # Panics
    /// If `init` fails.
    #[must_use]
    #[track_caller]
    pub fn init_over(url: &str) -> Self {
        Self::init_with(3, 0, &["--database", url])
    }

    /// The same, then starts every server and waits until all are up and the engine is started on server1.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[must_use]
    #[track_caller]
    pub fn over(url: &str) -> Self {
        Self::init_over(url).started()
    }

    /// As [`Self::over`], with more lines in each server's `[database]`.
    ///
    /// # Panics
    /// As [`Self::over`].
    #[must_use]
    #[track_caller]
    pub fn over_with(url: &str, lines: &str) -> Self {
        let cluster = Self::init_over(url);
        for name in cluster.names() {
            cluster.configure(&name, |old| old.replace("[database]\n", &format!("[database]\n{lines}\n")));
        }
        cluster.started()
    }
}
