//! How many files this process may open, and what of that a server keeps from its clients: one connection more must
//! never keep the store from its disk.

use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a server opens besides its clients' links: RocksDB (512 at most), links and watches of other servers, handshakes
/// (64), HTTP (128), the log and snapshots.
const SERVER: u64 = 768;
/// New clients are refused when fewer are left.
const LEFT: u64 = 256;

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process open as many files as the system allows it. For a program of its own: a service that embeds a server
/// decides that for itself.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// How many of so many clients this process can take; warns if that is fewer.
pub(crate) fn clients(wanted: usize) -> usize {
    let limit = limit();
    let possible = clients_within(limit, wanted);
    if possible < wanted {
        tracing::warn!(
            limit,
            "this process may open {limit} files, so that the server takes {possible} clients and not {wanted}: raise \
             the limit of open files (ulimit -n) to {}",
            SERVER + wanted as u64
        );
    }
    possible
}

fn clients_within(limit: u64, wanted: usize) -> usize {
    usize::try_from(limit.saturating_sub(SERVER)).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

/// Whether few descriptors are left, as this one tells: a new one gets the lowest number that is free.
pub(crate) fn few_are_left(newest: &impl AsRawFd) -> bool {
    few_are_left_of(limit(), newest.as_raw_fd())
}

fn few_are_left_of(limit: u64, newest: RawFd) -> bool {
    u64::try_from(newest).is_ok_and(|newest| newest >= limit.saturating_sub(LEFT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_server_does_not_need() {
        assert_eq!(clients_within(1_024, 1_024), 256);
        assert_eq!(clients_within(4_096, 1_024), 1_024);
        assert_eq!(clients_within(512, 1_024), 1, "it says so, and does not refuse everybody");
        assert_eq!(clients_within(u64::MAX, 1_024), 1_024);
        assert!(few_are_left_of(1_024, 800) && !few_are_left_of(1_024, 700) && few_are_left_of(100, 3));
    }
}
