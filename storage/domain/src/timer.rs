//! What the store has to do at a time: the engine looks for what is due and proposes it, `apply` reads no clock.

use serde::{Deserialize, Serialize};

use super::{MessageId, QueueId};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// A delayed message enters its queue.
    Enter,
    /// A message's time to live is over.
    Expire,
}

/// One thing to do, ordered by when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timer {
    /// When, in Unix milliseconds by the engine's clock.
    pub due_ms: u64,
    /// What.
    pub kind: TimerKind,
    /// In which queue.
    pub queue: QueueId,
    /// Which message; of a delayed one, the place at which it was taken.
    pub message: MessageId,
}

/// How long a timer's key is, in bytes.
const KEY: usize = 8 + 1 + 4 + 16;

impl Timer {
    /// Its key, which sorts as timers do.
    pub fn key(&self) -> [u8; KEY] {
        let mut key = [0; KEY];
        key[..8].copy_from_slice(&self.due_ms.to_be_bytes());
        key[8] = self.kind as u8;
        key[9..13].copy_from_slice(&self.queue.0.to_be_bytes());
        key[13..].copy_from_slice(&self.message.to_bytes());
        key
    }

    /// Reads what [`Self::key`] wrote.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let key: &[u8; KEY] = key.try_into().ok()?;
        let (due, rest) = key.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (queue, message) = rest.split_first_chunk::<4>()?;
        let kind = match kind {
            0 => TimerKind::Enter,
            1 => TimerKind::Expire,
            _ => return None,
        };
        Some(Self {
            due_ms: u64::from_be_bytes(*due),
            kind,
            queue: QueueId(u32::from_be_bytes(*queue)),
            message: MessageId::from_bytes(message.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_sort_as_their_keys_do_and_come_back() {
        let at = |due_ms, kind, queue, index| Timer {
            due_ms,
            kind,
            queue: QueueId(queue),
            message: MessageId { generation: 1, index, position: 3 },
        };
        let timers = [
            at(1, TimerKind::Enter, 9, 9),
            at(1, TimerKind::Expire, 1, 1),
            at(1, TimerKind::Expire, 2, 1),
            at(300, TimerKind::Enter, 1, 1),
        ];
        for pair in timers.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].key() < pair[1].key());
            assert_eq!(Timer::from_key(&pair[0].key()), Some(pair[0]));
        }
        assert_eq!(Timer::from_key(&[0; 5]), None);
        let mut unknown = timers[0].key();
        unknown[8] = 7;
        assert_eq!(Timer::from_key(&unknown), None);
    }
}
