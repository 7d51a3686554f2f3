//! Baton, as `baton bench` measures it.

use std::time::Duration;

use baton_tests::cluster::Cluster;
use baton_tests::program::run;

use super::RunningSystem;
use super::load::LIMIT;
use super::workload::{Load, Sample};

/// Three servers.
pub(super) struct Baton(Cluster);

impl Baton {
    /// Starts them.
    ///
    /// # Panics
    /// If they do not start: that is a defect.
    pub(super) fn start() -> Self {
        Self(Cluster::start(3, 0))
    }
}

impl RunningSystem for Baton {
    fn version(&self) -> Result<String, String> {
        Ok(run(&["--version"], "", LIMIT).text())
    }

    fn measure(&self, load: &Load) -> Result<Sample, String> {
        self.0.bench(&arguments(load), Duration::from_secs(load.secs) + LIMIT)
    }
}

/// Arguments of `baton bench`. It sends a backlog itself; the producers are those that go on while the consumers work.
fn arguments(load: &Load) -> String {
    let Load { producers, window, consumers, size, backlog, secs, .. } = load;
    let producers = if *backlog > 0 { 0 } else { *producers };
    let mut arguments =
        format!("--producers {producers} --window {window} --consumers {consumers} --size {size} --secs {secs}");
    if *backlog > 0 {
        arguments.push_str(&format!(" --backlog {backlog}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::super::workload::Workload;
    use super::*;

    #[test]
    fn a_backlog_is_drained_without_producers() {
        let told = |workload: Workload| arguments(&workload.load(5));
        assert_eq!(
            told(Workload::Consume),
            "--producers 0 --window 256 --consumers 4 --size 256 --secs 5 --backlog 200000"
        );
        assert_eq!(told(Workload::Produce1MiB), "--producers 4 --window 4 --consumers 0 --size 1048576 --secs 5");
    }
}
