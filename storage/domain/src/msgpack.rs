//! Reading MessagePack that somebody else wrote.

use serde::Deserialize;

/// How deep values may nest. Ours nest less than half as deep; without a bound a few bytes of a peer, each of which opens
/// one more list, would overflow the stack, which ends the process.
const DEPTH_MAX: usize = 32;
/// How deep the values of users may nest: as JSON's do for serde_json.
const USER_DEPTH_MAX: usize = 128;

/// Reads a value of ours.
///
/// # Errors
/// If the bytes are no such value, or nest too deep.
pub fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    read_within(DEPTH_MAX, bytes)
}

/// Reads a value of a user's.
///
/// # Errors
/// If the bytes are no such value, or nest too deep.
pub fn read_user<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    read_within(USER_DEPTH_MAX, bytes)
}

fn read_within<'de, T: Deserialize<'de>>(depth: usize, bytes: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(depth);
    T::deserialize(&mut reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
    struct Nested(Vec<Nested>);

    fn nested(depth: usize) -> Vec<u8> {
        // A list of one, of one, ..., of none.
        let mut bytes = vec![0x91; depth];
        bytes.push(0x90);
        bytes
    }

    #[test]
    fn what_nests_too_deep_is_refused_on_a_small_stack() {
        let read_both =
            || (read::<Nested>(&nested(1_000_000)).is_err(), read_user::<Nested>(&nested(1_000_000)).is_err());
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(read_both).unwrap();
        assert_eq!(thread.join().unwrap(), (true, true));
        assert_eq!(read::<Nested>(&nested(1)).unwrap(), Nested(vec![Nested(Vec::new())]));
        assert!(read_user::<Nested>(&nested(60)).is_ok());
    }
}
