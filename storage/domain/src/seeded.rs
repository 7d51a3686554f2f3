//! Defects made on purpose, by which the fault tests' checker is tested: each breaks an invariant of the design, and
//! the checker has to say so.
//!
//! In every other build [`is`] is false when it is compiled, so that nothing of a defect is in the program. They are in a
//! build that has the feature `seeded-bugs` and for which the variable `BATON_BUILD_SEEDED_BUGS` is set (see `build.rs`): the
//! feature alone, as in a build with all features, changes nothing. The program `baton-seeded-bugs` then has the one
//! defect that `BATON_SEEDED_BUG` names, or none.

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Writes of older epochs are applied, the engine does not look at its lease and goes on when its server does not
    /// lead any more, and consumers take what it delivers (invariants 1 and 2).
    FencingOff,
    /// Appends to the log are reported as synced while they are in the process' memory (invariant 3).
    ConfirmBeforeSync,
    /// Producers resend what is stored, and it is stored again (invariant 4).
    DuplicateWindowOff,
    /// The engine fails back to any more preferred server that has a link (invariant 6).
    FailbackWithoutCatchUp,
    /// An acknowledgement is answered before it is committed.
    AcknowledgeBeforeCommit,
    /// Of some transactions only what goes to the first of their destinations is sent.
    HalfTransaction,
    /// A transaction whose answer was lost, and that is sent again, is done again.
    TransactionTwice,
    /// Some changes of a queue's settings are not stored.
    SettingsLost,
    /// A producer that opens its session is told the number before the right one.
    NumberTooLow,
    /// A failed delivery counts as five.
    FailuresCountTooMuch,
    /// A message is delivered at once, whatever its delay.
    DelayIgnored,
    /// The lease on a shared log runs from the answer to a renewal, not from its sending (invariant 2).
    LeaseFromTheAnswer,
    /// The holder of a shared log leads before it has read the log to its end (invariant 3).
    LeadBeforeTail,
    /// After a break the holder of a shared log appends again what is in it already (invariant 4).
    ResendWithoutLooking,
    /// Entries that a shared log lost are not put back (invariant 3).
    HealOff,
}

#[cfg(seeded_bugs)]
mod built {
    use std::sync::OnceLock;

    use super::Bug;

    const BUGS: [(&str, Bug); 15] = [
        ("fencing-off", Bug::FencingOff),
        ("confirm-before-sync", Bug::ConfirmBeforeSync),
        ("duplicate-window-off", Bug::DuplicateWindowOff),
        ("failback-without-catch-up", Bug::FailbackWithoutCatchUp),
        ("acknowledge-before-commit", Bug::AcknowledgeBeforeCommit),
        ("half-transaction", Bug::HalfTransaction),
        ("transaction-twice", Bug::TransactionTwice),
        ("settings-lost", Bug::SettingsLost),
        ("number-too-low", Bug::NumberTooLow),
        ("failures-count-too-much", Bug::FailuresCountTooMuch),
        ("delay-ignored", Bug::DelayIgnored),
        ("lease-from-the-answer", Bug::LeaseFromTheAnswer),
        ("lead-before-tail", Bug::LeadBeforeTail),
        ("resend-without-looking", Bug::ResendWithoutLooking),
        ("heal-off", Bug::HealOff),
    ];

    /// The defect that the process has.
    fn seeded() -> Option<(&'static str, Bug)> {
        static SEEDED: OnceLock<Option<(&'static str, Bug)>> = OnceLock::new();
        *SEEDED.get_or_init(|| {
            let named = std::env::var("BATON_SEEDED_BUG").ok().filter(|name| !name.is_empty())?;
            let found = BUGS.into_iter().find(|(name, _)| *name == named);
            assert!(found.is_some(), "BATON_SEEDED_BUG={named}: there is no such seeded bug");
            found
        })
    }

    /// Whether this process has that defect.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        seeded().is_some_and(|(_, seeded)| seeded == bug)
    }

    /// What everybody has to be told who runs this program.
    ///
    /// # Panics
    /// If `BATON_SEEDED_BUG` names a defect that there is not.
    #[must_use]
    pub fn warning() -> Option<String> {
        let which = seeded().map_or("none", |(name, _)| name);
        Some(format!(
            "WARNING: this program is built with seeded bugs, it LOSES and DOUBLES messages on purpose; never use it for \
             anything but fault tests. Active: {which}"
        ))
    }
}

#[cfg(seeded_bugs)]
pub use built::{is, warning};

/// Whether this process has that defect: never.
#[cfg(not(seeded_bugs))]
#[inline(always)]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

/// What everybody has to be told who runs this program: nothing.
#[cfg(not(seeded_bugs))]
#[inline(always)]
#[must_use]
pub const fn warning() -> Option<String> {
    None
}

/// The version of the program, which says so if it has defects.
pub const VERSION: &str = if cfg!(seeded_bugs) {
    concat!(env!("CARGO_PKG_VERSION"), "+seeded-bugs (it loses messages on purpose: only for fault tests)")
} else {
    env!("CARGO_PKG_VERSION")
};
