//! A peer without any secret that speaks the first words of the links' protocol, by bytes: a program of ours would not
//! say what it says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The version of the handshake that the program speaks, and the kinds of its frames.
const VERSION: u8 = 5;
/// Sends a hello.
pub const HELLO: u8 = 1;
/// Proves it.
pub const PROOF: u8 = 2;
/// Turns the other side away: a reason, and words.
pub const REFUSED: u8 = 3;
/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The identity that a stranger claims.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// A server, or a client.
    pub server: bool,
    /// Its name, up to 31 bytes.
    pub name: &'a str,
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The replica that it holds.
    pub replica: Option<u8>,
    /// The generation of its store.
    pub generation: u8,
}

impl Claim<'_> {
    fn hello(&self) -> Vec<u8> {
        let mut bytes = vec![0x89];
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.push(0xa0 | u8::try_from(text.len()).expect("a short name"));
            bytes.extend_from_slice(text.as_bytes());
        };
        let key = |bytes: &mut Vec<u8>, name: &str, value: &[u8]| {
            text(bytes, name);
            bytes.extend_from_slice(value);
        };
        key(&mut bytes, "server", &[0xc2 | u8::from(self.server)]);
        key(&mut bytes, "name", &[]);
        text(&mut bytes, self.name);
        key(&mut bytes, "cluster", &[0xc4, 16]);
        bytes.extend_from_slice(&self.cluster);
        key(&mut bytes, "generation", &[self.generation]);
        key(&mut bytes, "replica", &[self.replica.unwrap_or(0xc0)]);
        key(&mut bytes, "incarnation", &[1]);
        key(&mut bytes, "endpoint", &[1]);
        key(&mut bytes, "nonce", &[0xdc, 0, 32]);
        bytes.extend_from_slice(&[7; 32]);
        key(&mut bytes, "watch", &[0xc2]);
        bytes
    }
}

/// A connection of a stranger's.
#[derive(Debug)]
pub struct Stranger(TcpStream);

impl Stranger {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    /// Sends a frame of that kind; a connection that was closed is no matter.
    pub fn say(&mut self, kind: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len()).expect("a short payload").to_be_bytes();
        let head = [b"BTON".as_slice(), &[VERSION, kind], &length].concat();
        let _ = self.0.write_all(&[&head, payload].concat());
    }

    /// Says hello.
    pub fn claim(&mut self, claim: &Claim<'_>) {
        self.say(HELLO, &claim.hello());
    }

    /// Refuses the other side, for that reason and in these words.
    pub fn refuse(&mut self, reason: u8, words: &str) {
        self.say(REFUSED, &[&[reason], words.as_bytes()].concat());
    }

    /// Sends an invalid proof.
    pub fn prove_wrongly(&mut self) {
        // {"cookie": [9; 32], "server": [9; 32]}
        let of_nines = [&[0xdc, 0, 32][..], &[9; 32]].concat();
        self.say(PROOF, &[&[0x82, 0xa6][..], b"cookie", &of_nines, &[0xa6], b"server", &of_nines].concat());
    }

    /// The next frame: its kind and payload; `None` if the connection ended.
    pub fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[6], head[7]]))];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[5], payload))
    }
}
