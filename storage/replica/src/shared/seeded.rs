//! The seeded bugs of this module. Its tests can switch one on for their thread.

use baton_domain::seeded;
pub(super) use baton_domain::seeded::Bug;

#[cfg(test)]
thread_local! {
    static ON: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// True if the program, or the test of this thread, has that defect.
#[inline(always)]
pub(super) fn is(bug: Bug) -> bool {
    #[cfg(test)]
    if ON.get() == Some(bug) {
        return true;
    }
    seeded::is(bug)
}

/// Switches a defect on for this thread, or all off.
#[cfg(test)]
pub(super) fn switch_on(bug: Option<Bug>) {
    ON.set(bug);
}
