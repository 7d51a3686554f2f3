//! The limit of open files, and the share of it that a server reserves: one more client must never keep the store from
//! its disk.

use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of a server besides its clients' links: RocksDB ([`store_files`]), links and watches of other servers,
/// handshakes (64), HTTP (128), the log and snapshots.
const SERVER: u64 = 768;
/// Under a low limit the server makes do with this share of it.
const SERVER_PART: (u64, u64) = (3, 4);
/// New connections cost others when fewer are left, or fewer than a quarter of the limit.
const LEFT: u64 = 256;
/// RocksDB keeps at most this many files open, or a quarter of the limit.
const STORE_FILES: u64 = 512;
const STORE_FILES_LEAST: u64 = 20;

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises this process's limit of open files to the system's maximum. For a program: a service that embeds a server
/// decides that for itself.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The number of clients that this process can accept, at most `wanted`; warns if it is lower.
pub fn clients(wanted: usize) -> usize {
    let limit = limit();
    let possible = clients_within(limit, wanted);
    if possible < wanted {
        tracing::warn!(
            limit,
            "this process may open {limit} files, so that the server accepts {possible} clients instead of {wanted}: raise \
             the limit of open files (ulimit -n) to {}",
            SERVER + wanted as u64
        );
    }
    possible
}

fn clients_within(limit: u64, wanted: usize) -> usize {
    let server = SERVER.min(limit / SERVER_PART.1 * SERVER_PART.0);
    usize::try_from(limit - server).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

/// Maximum of files that the store's database may keep open.
pub fn store_files() -> u32 {
    store_files_of(limit())
}

fn store_files_of(limit: u64) -> u32 {
    u32::try_from((limit / 4).clamp(STORE_FILES_LEAST, STORE_FILES)).unwrap_or(u32::MAX)
}

/// True if few descriptors are left, judged by the newest one: a new descriptor gets the lowest free number.
pub fn few_are_left(newest: &impl AsRawFd) -> bool {
    few_are_left_of(limit(), newest.as_raw_fd())
}

fn few_are_left_of(limit: u64, newest: RawFd) -> bool {
    u64::try_from(newest).is_ok_and(|newest| newest >= limit - LEFT.min(limit / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_server_does_not_need() {
        assert_eq!(clients_within(1_024, 1_024), 256);
        assert_eq!(clients_within(4_096, 1_024), 1_024);
        assert_eq!(clients_within(200, 1_024), 50, "it makes do with less, and does not refuse everybody");
        assert_eq!(clients_within(u64::MAX, 1_024), 1_024);
        assert!(few_are_left_of(1_024, 800) && !few_are_left_of(1_024, 700));
        assert!(few_are_left_of(200, 150) && !few_are_left_of(200, 149));
        assert_eq!([64, 200, 1_024, 1 << 20].map(store_files_of), [20, 50, 256, 512]);
    }
}
