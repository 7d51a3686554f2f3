//! Ports for a cluster that no other test process uses.

use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;

/// Below the range from which Linux draws the ports of outgoing connections (32768 and up).
const FIRST: u16 = 15_000;
/// `init` counts ports up from the base for links, and from 100 above it for HTTP.
const BLOCK: u16 = 200;
const BLOCKS: u16 = 80;
/// Offsets in a block of the ports for links and for HTTP; a cluster may use `USED_COUNT` of each.
const USED: [u16; 2] = [0, 100];
const USED_COUNT: u16 = 20;

/// A range of ports, kept from other test processes by a lock on a file until it is dropped.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    // Held for its lock, which ends with the process in any case.
    _lock: File,
}

impl PortBlock {
    /// Takes a block in which every port is free.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn take() -> Self {
        let dir = std::env::temp_dir().join("baton-tests-ports");
        std::fs::create_dir_all(&dir).expect("the temporary directory can be written");
        // Each process starts elsewhere, so that a port that was just released rests for a while.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        (0..BLOCKS)
            .map(|step| (start + step) % BLOCKS)
            .find_map(|block| Self::try_take(dir.join(block.to_string()), FIRST + block * BLOCK))
            .expect("a block of free ports")
    }

    fn try_take(path: PathBuf, first: u16) -> Option<Self> {
        let lock = File::options().create(true).truncate(false).write(true).open(path).ok()?;
        lock.try_lock().ok()?;
        let block = Self { first, _lock: lock };
        let mut ports = USED.iter().flat_map(|from| (0..USED_COUNT).map(move |port| first + from + port));
        ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()).then_some(block)
    }

    /// The first port.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.first
    }

    /// A port for the link of a member that `init` does not know, from 0 up.
    #[must_use]
    pub fn link(&self, extra: u16) -> u16 {
        self.first + USED_COUNT - 1 - extra
    }

    /// The port for its HTTP.
    #[must_use]
    pub fn http(&self, extra: u16) -> u16 {
        self.link(extra) + USED[1]
    }

    /// All of them.
    #[must_use]
    pub fn range(&self) -> Range<u16> {
        self.first..self.first + BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_held_at_once_do_not_overlap() {
        let held: Vec<PortBlock> = (0..3).map(|_| PortBlock::take()).collect();
        for (position, one) in held.iter().enumerate() {
            for other in &held[position + 1..] {
                assert!(one.range().end <= other.range().start || other.range().end <= one.range().start);
            }
        }
    }
}
