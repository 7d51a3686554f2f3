//! Random numbers from the system: for ids, names and delays that must differ between processes.
//!
//! The state machine and the cores draw none: what they decide follows from their input alone.

/// Random bytes.
///
/// # Panics
/// If the system provides none. Linux always does, once it has booted.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let drawn = getrandom::fill(&mut bytes);
    assert!(drawn.is_ok(), "the system provides no random bytes: {drawn:?}");
    bytes
}

/// A random number.
///
/// # Panics
/// As [`bytes()`].
#[must_use]
pub fn number() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// A random number from 0 to 1.
///
/// # Panics
/// As [`bytes()`].
#[must_use]
pub fn fraction() -> f64 {
    f64::from(u32::from_ne_bytes(bytes())) / f64::from(u32::MAX)
}
