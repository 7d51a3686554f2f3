//! Tests of decoders: bytes from a broken disk, a broken program or a stranger, and a watch over the memory that
//! reading them allocates. And [`golden`] bytes.

pub mod golden;

use std::fmt::Debug;

use proptest::prelude::*;

/// Maximum that a read may allocate at once whatever length the bytes claim: `serde` trusts up to 1 MiB per list, and
/// lists nest.
const TRUSTED_BYTES: u64 = 6 * 1024 * 1024;
/// ... and for each byte that is there: small things in a message are large ones in memory.
const GROWTH: u64 = 512;

/// One defect. Positions are taken modulo the length.
#[derive(Debug, Clone)]
pub enum Damage {
    /// A bit is another.
    Flip(usize),
    /// The end is missing.
    Cut(usize),
    /// There is more.
    More(Vec<u8>),
    /// Two parts of equal length changed places.
    Swap(usize, usize, usize),
    /// A part is there twice.
    Twice(usize, usize),
    /// Bytes are replaced.
    Over(usize, Vec<u8>),
}

/// Bytes that promise more than follows: the lengths of MessagePack, and plain ones.
fn promises() -> impl Strategy<Value = Vec<u8>> {
    let marker = prop::sample::select(vec![0xc6_u8, 0xc9, 0xdb, 0xdd, 0xdf, 0xff]);
    (marker, prop::sample::select(vec![[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0xff, 0xff, 0xff], [0; 4]]))
        .prop_map(|(marker, length)| [&[marker][..], &length].concat())
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || 0..65_536_usize;
    let some = || prop::collection::vec(any::<u8>(), 1..24);
    prop_oneof![
        4 => place().prop_map(Damage::Flip),
        2 => place().prop_map(Damage::Cut),
        1 => some().prop_map(Damage::More),
        2 => (place(), place(), 1..32_usize).prop_map(|(one, other, length)| Damage::Swap(one, other, length)),
        1 => (place(), place()).prop_map(|(from, length)| Damage::Twice(from, length)),
        2 => (place(), some()).prop_map(|(at, bytes)| Damage::Over(at, bytes)),
        4 => (place(), promises()).prop_map(|(at, bytes)| Damage::Over(at, bytes)),
    ]
}

/// Kinds of damage to bytes in transit.
pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec(damage(), 1..5)
}

/// Random bytes; many begin like encoded values.
pub fn noise() -> impl Strategy<Value = Vec<u8>> {
    (prop::option::of(0..10_u8), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(version, mut bytes)| {
        if let (Some(version), Some(first)) = (version, bytes.first_mut()) {
            *first = version;
        }
        bytes
    })
}

/// The bytes after all that.
pub fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        let length = bytes.len();
        let within = |place: &usize| place % length.max(1);
        match damage {
            _ if length == 0 => {}
            Damage::Flip(place) => bytes[within(place)] ^= 1 << (place / length % 8),
            Damage::Cut(place) => bytes.truncate(within(place)),
            Damage::More(more) => bytes.extend_from_slice(more),
            Damage::Swap(one, other, part) => {
                let part = *part.min(&(length / 2));
                let (one, other) = (one % (length - part + 1), other % (length - part + 1));
                let (one, other) = (one.min(other), one.max(other));
                if one + part <= other {
                    let (left, right) = bytes.split_at_mut(other);
                    left[one..one + part].swap_with_slice(&mut right[..part]);
                }
            }
            Damage::Twice(from, part) => {
                let from = within(from);
                let again = bytes[from..(from + part % 64).min(length)].to_vec();
                bytes.splice(from..from, again);
            }
            Damage::Over(at, over) => {
                let at = within(at);
                let end = (at + over.len()).min(length);
                bytes[at..end].copy_from_slice(&over[..end - at]);
            }
        }
    }
    bytes
}

/// Reads bytes: without a panic, and without an allocation for a length that the bytes do not hold.
pub fn read<T>(bytes: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
    let mut value = None;
    let allocated = allocation_counter::measure(|| value = Some(read(bytes)));
    let bound = TRUSTED_BYTES + GROWTH * bytes.len() as u64;
    assert!(allocated.bytes_max <= bound, "{} bytes for {} bytes: {bytes:02x?}", allocated.bytes_max, bytes.len());
    value.expect("it was measured")
}

/// Findings of [`holds`] about damaged bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They were refused.
    Refused,
    /// They were taken.
    Taken,
}

/// Checks a reader's promises for any bytes: those of [`read`], and that an accepted value can be written again.
pub fn holds<T: Debug, E>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Verdict {
    let Ok(value) = read(bytes, &decode) else { return Verdict::Refused };
    let again = encode(&value);
    let Ok(again) = decode(&again) else { panic!("what was read is not readable: {value:?}") };
    // By its words: not everything that is read can be compared.
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
    Verdict::Taken
}
