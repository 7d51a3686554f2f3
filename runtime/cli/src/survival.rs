//! The number of failures that a layout survives, by the rules of quorum and of removing dead voters.

use baton_domain::majority;

/// Removing dead voters never leaves fewer voters than this.
const VOTERS_MIN: usize = 3;

/// Members of any kind that may fail while the engine keeps running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Survival {
    /// All at the same moment.
    pub(super) at_once: usize,
    /// One after the other, with time in between to remove the dead voters.
    pub(super) in_turn: usize,
}

/// Survival of a layout: servers and witnesses together must keep a majority, and one server must remain.
pub(super) fn survival(servers: usize, witnesses: usize) -> Survival {
    let spare = servers.saturating_sub(1);
    let voters = servers + witnesses;
    Survival { at_once: (voters.saturating_sub(1) / 2).min(spare), in_turn: in_turn(voters).min(spare) }
}

/// Survival of a cluster whose log is in a database: one server must remain.
pub(super) fn survival_over_database(servers: usize) -> Survival {
    let spare = servers.saturating_sub(1);
    Survival { at_once: spare, in_turn: spare }
}

/// Voters that may die one after the other before the rest has no majority.
fn in_turn(members: usize) -> usize {
    let (mut voters, mut alive, mut failures) = (members, members, 0);
    while alive > majority(voters) {
        alive -= 1;
        failures += 1;
        voters = after_removal(voters, alive);
    }
    failures
}

/// Voters after dead ones are removed: as many as lower the majority and leave enough.
fn after_removal(voters: usize, alive: usize) -> usize {
    let left = alive.max(VOTERS_MIN);
    if left < voters && majority(left) < majority(voters) { left } else { voters }
}

impl Survival {
    /// The text for people.
    pub(super) fn words(self) -> String {
        let members = |count: usize| match count {
            0 => "no failure".to_owned(),
            1 => "any 1 failure".to_owned(),
            count => format!("any {count} failures"),
        };
        if self.at_once == self.in_turn {
            format!("survives {}{}", members(self.at_once), if self.at_once > 1 { ", also at once" } else { "" })
        } else {
            format!("survives {} at once, and {} one after the other", members(self.at_once), members(self.in_turn))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_survives_what_the_design_says() {
        // servers, witnesses, at once, one after the other
        for (servers, witnesses, at_once, in_turn) in [
            (1, 0, 0, 0),
            (2, 0, 0, 0),
            (1, 4, 0, 0),
            (2, 1, 1, 1),
            (3, 0, 1, 1),
            (3, 1, 1, 2),
            (3, 2, 2, 2),
            (4, 0, 1, 2),
            (5, 0, 2, 3),
            (7, 0, 3, 5),
        ] {
            assert_eq!(survival(servers, witnesses), Survival { at_once, in_turn }, "{servers} + {witnesses}");
        }
    }

    #[test]
    fn it_is_said_in_words() {
        for ((servers, witnesses), words) in [
            ((3, 2), "survives any 2 failures, also at once"),
            ((3, 1), "survives any 1 failure at once, and any 2 failures one after the other"),
            ((3, 0), "survives any 1 failure"),
            ((1, 0), "survives no failure"),
        ] {
            assert_eq!(survival(servers, witnesses).words(), words);
        }
    }
}
