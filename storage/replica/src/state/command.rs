//! The encoding of commands. It starts with a version byte; a log adds a checksum.

use std::io;

use baton_domain::{Command, EngineOp, msgpack};
use bytes::Bytes;

use crate::machine::{damaged, newer};

const COMMAND_VERSION: u8 = 5;

/// Capacity for a command without its messages: growing copies.
const COMMAND_BYTES: usize = 256;

/// Minimum bytes of the messages of a command.
fn message_bytes(command: &Command) -> usize {
    let Command::Engine { ops, .. } = command else { return 0 };
    let of = |op: &EngineOp| match op {
        EngineOp::Send { messages, .. } | EngineOp::Post { messages, .. } => messages.bytes(),
        _ => 0,
    };
    ops.iter().map(of).sum()
}

/// Encodes a command for a log.
pub(crate) fn encode_command(command: &Command) -> Bytes {
    let mut bytes = Vec::with_capacity(COMMAND_BYTES + message_bytes(command));
    bytes.push(COMMAND_VERSION);
    // Writing plain structs to memory cannot fail: no maps with odd keys, no unknown lengths.
    #[allow(clippy::expect_used)]
    rmp_serde::encode::write(&mut bytes, command).expect("commands always encode");
    Bytes::from(bytes)
}

/// Decodes what [`encode_command`] wrote.
pub(crate) fn decode_command(command: &[u8]) -> io::Result<Command> {
    match command.split_first() {
        // No damage: a checksum covers the entry, and a newer program can go on with this store.
        Some((&COMMAND_VERSION, rest)) => msgpack::read(rest).map_err(|error| {
            let why =
                format!("a command that this program does not know ({error}): start this server with a newer baton");
            io::Error::new(io::ErrorKind::Unsupported, why)
        }),
        Some((&version, _)) => Err(newer("command", version)),
        None => Err(damaged("an empty command")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_a_newer_program_is_refused_in_words() {
        let error = decode_command(&[9, 1, 2]).unwrap_err().to_string();
        assert!(error.contains("newer baton"), "{error}");
        let mut unknown = vec![COMMAND_VERSION];
        rmp_serde::encode::write(&mut unknown, &std::collections::BTreeMap::from([("FromTheFuture", 1)])).unwrap();
        let error = decode_command(&unknown).unwrap_err().to_string();
        assert!(error.contains("newer baton"), "{error}");
    }
}
