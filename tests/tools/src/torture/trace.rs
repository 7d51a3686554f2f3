//! The servers' traces, read from their logs.
//!
//! ```text
//! 2026-01-01T00:00:00.000000Z TRACE baton::release: released boot_ns=123456789 epoch=1.17 what="reply"
//! 2026-01-01T00:00:00.000000Z TRACE baton::applied: applied index=42 epoch=1.17 accepted=true
//! 2026-01-01T00:00:00.000000Z TRACE baton::applied: activated index=17 epoch=1.17 host=server2
//! 2026-01-01T00:00:00.000000Z TRACE baton::applied: stopped index=40 epoch=1.17 reason="fail-back"
//! ```
//! `released` is written right after a confirm, an answer or a delivery left an engine instance, with the time of its
//! last look at the lease; `applied` for each write of an engine that a replica's state machine applied, `activated` for
//! each activation, `stopped` for each planned stop with where the engine is going. A replica that restarts applies its
//! last entries again, so the same index may come more than once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An epoch: generation, then log index. Sorts by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64, pub u64);

impl Epoch {
    /// Reads `generation.index`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (generation, index) = text.split_once('.')?;
        Some(Self(generation.parse().ok()?, index.parse().ok()?))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A confirm, an answer or a delivery left an engine instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The server.
    pub server: String,
    /// Time, by CLOCK_BOOTTIME.
    pub boot_ns: u64,
    /// In which epoch.
    pub epoch: Epoch,
    /// reply or deliver.
    pub what: String,
}

/// A replica applied an engine's write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The replica's server.
    pub server: String,
    /// The entry's log index.
    pub index: u64,
    /// The epoch that it carries.
    pub epoch: Epoch,
    /// True if it was accepted.
    pub accepted: bool,
}

/// A replica applied an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activated {
    /// The replica's server.
    pub server: String,
    /// The entry's log index.
    pub index: u64,
    /// The new epoch.
    pub epoch: Epoch,
    /// The engine's host.
    pub host: String,
}

/// A replica applied a planned stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The entry's log index.
    pub index: u64,
    /// The epoch that ended.
    pub epoch: Epoch,
    /// The reason in one word: the first word of a sentence.
    pub reason: String,
}

/// Everything that was traced, by all servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Releases.
    pub releases: Vec<Release>,
    /// Writes.
    pub applied: Vec<Applied>,
    /// Activations.
    pub activated: Vec<Activated>,
    /// Planned stops.
    #[serde(default)]
    pub stopped: Vec<Stopped>,
    /// Lines of these targets that cannot be read: the checker must not pass over them.
    pub unreadable: Vec<String>,
}

impl Trace {
    /// Adds the traces in a server's log.
    pub fn read(&mut self, server: &str, log: &str) {
        for line in log.lines() {
            let Some((event, fields)) = event(line) else { continue };
            // A server that is killed while it writes leaves half a line: only then is the rest of the log elsewhere.
            if self.add(server, event, fields).is_none() && !is_torn(line) {
                self.unreadable.push(format!("{server}: {line}"));
            }
        }
    }

    fn add(&mut self, server: &str, event: &str, fields: &str) -> Option<()> {
        let server = server.to_owned();
        let field = |name: &str| {
            let mut pairs = fields.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
        };
        let epoch = Epoch::parse(field("epoch")?)?;
        match event {
            "released" => {
                let (boot_ns, what) = (field("boot_ns")?.parse().ok()?, field("what")?.to_owned());
                self.releases.push(Release { server, boot_ns, epoch, what });
            }
            "applied" => {
                let (index, accepted) = (field("index")?.parse().ok()?, field("accepted")?.parse().ok()?);
                self.applied.push(Applied { server, index, epoch, accepted });
            }
            "activated" => {
                let (index, host) = (field("index")?.parse().ok()?, field("host")?.to_owned());
                self.activated.push(Activated { server, index, epoch, host });
            }
            "stopped" => {
                let (index, reason) = (field("index")?.parse().ok()?, field("reason")?.to_owned());
                self.stopped.push(Stopped { index, epoch, reason });
            }
            _ => return None,
        }
        Some(())
    }
}

/// The event and its fields, if the line is of one of our targets.
fn event(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(" TRACE baton::")?;
    let (target, rest) = rest.split_once(": ")?;
    matches!(target, "release" | "applied").then(|| rest.split_once(' ').unwrap_or((rest, "")))
}

/// True if a second line begins in it, or it ends too early: a process was killed while it wrote.
fn is_torn(line: &str) -> bool {
    line.matches(" TRACE baton::").count() > 1 || line.matches('=').count() < 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-01-01T00:00:00.000000Z TRACE";

    #[test]
    fn the_four_lines_are_read_and_all_others_are_not() {
        let log = format!(
            "{STAMP} baton::release: released boot_ns=123456789 epoch=1.17 what=\"reply\"\n\
             {STAMP} baton::applied: applied index=42 epoch=1.17 accepted=true\n\
             2026-01-01T00:00:00.000000Z  INFO baton::engine: started epoch=1.17\n\
             {STAMP} baton::applied: activated index=17 epoch=1.17 host=server2\n\
             {STAMP} baton::applied: stopped index=40 epoch=1.17 reason=\"fail-back\"\n\
             {STAMP} baton::applied: app"
        );
        let mut trace = Trace::default();
        trace.read("server1", &log);
        let (server, epoch) = ("server1".to_owned(), Epoch(1, 17));
        let expected = Trace {
            releases: vec![Release { server: server.clone(), boot_ns: 123_456_789, epoch, what: "reply".to_owned() }],
            applied: vec![Applied { server: server.clone(), index: 42, epoch, accepted: true }],
            activated: vec![Activated { server, index: 17, epoch, host: "server2".to_owned() }],
            stopped: vec![Stopped { index: 40, epoch, reason: "fail-back".to_owned() }],
            unreadable: Vec::new(),
        };
        assert_eq!(trace, expected);
    }

    #[test]
    fn a_line_of_another_format_is_not_passed_over() {
        let mut trace = Trace::default();
        trace.read("server1", &format!("{STAMP} baton::applied: applied index=x epoch=1.17 accepted=true"));
        trace.read("server1", &format!("{STAMP} baton::release: let_go a=1 b=2 c=3"));
        assert_eq!(trace.unreadable.len(), 2);
    }

    #[test]
    fn epochs_sort_by_generation_then_index() {
        assert!(Epoch(1, 17) < Epoch(1, 18) && Epoch(1, 18) < Epoch(2, 3));
    }
}
