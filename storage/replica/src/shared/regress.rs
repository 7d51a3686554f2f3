//! Comparison of what this server has with what the log has. A log may lack commits that it had: an asynchronous standby
//! was promoted, or the log was restored from a backup.

use super::log::{LogEntry, LogIdentity, Position, Read};
use super::recent::Recent;

/// The log, compared with this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The log has all that this server has, and perhaps these entries behind it.
    Normal(Vec<LogEntry>),
    /// The log has more, but no longer the next entry: a snapshot has it.
    Trimmed,
    /// The log lost entries that this server has in memory: they are put back behind `from`.
    LostTail {
        /// The log's last entry.
        from: Position,
        /// The entries that it lost.
        lost: Vec<LogEntry>,
    },
    /// The log ends before entries that this server has applied and no longer has in memory.
    OlderLog {
        /// The log's last entry.
        tail: Position,
    },
    /// The log and this server have different entries.
    OtherHistory {
        /// The first index at which they are known to differ.
        index: u64,
    },
}

/// Compares the log's answer to a read behind this server's position.
pub(crate) fn compare(own: &Recent, read: Read) -> Comparison {
    let (tail, at) = match read {
        Read::Entries(entries) => return Comparison::Normal(entries),
        Read::Trimmed { .. } => return Comparison::Trimmed,
        Read::Elsewhere { tail, at } => (tail, at),
    };
    let position = own.position();
    match at {
        Some(at) if at == position.chain => Comparison::Normal(Vec::new()),
        Some(_) => Comparison::OtherHistory { index: position.index },
        None if tail.index >= position.index => Comparison::Trimmed,
        None => match own.chain_at(tail.index) {
            Some(chain) if chain == tail.chain => {
                let lost = own.after(tail.index).unwrap_or_default();
                Comparison::LostTail { from: tail, lost }
            }
            Some(_) => Comparison::OtherHistory { index: tail.index },
            None => Comparison::OlderLog { tail },
        },
    }
}

/// A log that was opened, compared with the one that was open before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reopened {
    /// The same one.
    Same,
    /// The same one, and a standby of it was promoted.
    Promoted,
    /// A server of it that was replaced: another one was promoted.
    Replaced,
    /// Another one.
    Another,
}

/// Compares the identity of the log that was opened with the newest one that this server knows.
pub(crate) fn reopened(known: &LogIdentity, found: &LogIdentity) -> Reopened {
    let same = |of: &LogIdentity| (of.cluster, of.generation, of.system);
    if same(known) != same(found) {
        return Reopened::Another;
    }
    match found.timeline.cmp(&known.timeline) {
        std::cmp::Ordering::Less => Reopened::Replaced,
        std::cmp::Ordering::Equal => Reopened::Same,
        std::cmp::Ordering::Greater => Reopened::Promoted,
    }
}

#[cfg(test)]
mod tests {
    use baton_domain::ClusterId;

    use super::super::cases::{entries, forked};
    use super::*;

    #[test]
    fn each_difference_between_a_server_and_the_log_has_its_name() {
        let all = entries(1, 1..=9);
        // Entries 5 to 9 are in memory.
        let mut own = Recent::new(Position::default(), 0, 5);
        own.extend(all.clone()).unwrap();
        let fork = forked(&all, 5, 2);
        let ends = |at: &LogEntry| Read::Elsewhere { tail: at.position(), at: None };
        for (what, read, expected) in [
            ("level", Read::Entries(Vec::new()), Comparison::Normal(Vec::new())),
            ("more", Read::Entries(all.clone()), Comparison::Normal(all.clone())),
            ("gone", Read::Trimmed { from: all[8].position() }, Comparison::Trimmed),
            (
                "lost, and in memory",
                ends(&all[6]),
                Comparison::LostTail { from: all[6].position(), lost: all[7..].to_vec() },
            ),
            (
                "lost as far as memory goes back",
                ends(&all[3]),
                Comparison::LostTail { from: all[3].position(), lost: all[4..].to_vec() },
            ),
            ("lost more than memory has", ends(&all[2]), Comparison::OlderLog { tail: all[2].position() }),
            ("nothing is left", Read::Elsewhere { tail: Position::default(), at: None }, {
                Comparison::OlderLog { tail: Position::default() }
            }),
            ("lost, and then written anew", ends(&fork[6]), Comparison::OtherHistory { index: 7 }),
            (
                "written anew beyond this server's position",
                Read::Elsewhere { tail: Position { index: 12, ..Position::default() }, at: Some(fork[8].chain) },
                Comparison::OtherHistory { index: 9 },
            ),
            (
                "its entry at that index is no longer known",
                Read::Elsewhere { tail: Position { index: 12, ..Position::default() }, at: None },
                Comparison::Trimmed,
            ),
        ] {
            assert_eq!(compare(&own, read), expected, "{what}");
        }
    }

    #[test]
    fn a_log_of_the_same_name_may_be_another_one() {
        let known = LogIdentity {
            cluster: ClusterId([1; 16]),
            generation: 0,
            name: "a".to_owned(),
            system: 7,
            timeline: 3,
            standby: String::new(),
        };
        for (found, expected) in [
            (LogIdentity { name: "b".to_owned(), ..known.clone() }, Reopened::Same),
            (LogIdentity { timeline: 4, ..known.clone() }, Reopened::Promoted),
            (LogIdentity { timeline: 2, ..known.clone() }, Reopened::Replaced),
            (LogIdentity { system: 8, timeline: 4, ..known.clone() }, Reopened::Another),
            (LogIdentity { generation: 1, ..known.clone() }, Reopened::Another),
            (LogIdentity { cluster: ClusterId([2; 16]), ..known.clone() }, Reopened::Another),
        ] {
            assert_eq!(reopened(&known, &found), expected, "{found:?}");
        }
    }
}
