//! The frames that replicas exchange: version, kind, both ends' replica ids, generation, checksum, body.

use baton_domain::ReplicaId;
use baton_domain::msgpack;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::types::{SnapshotMeta, Vote};

const VERSION: u8 = 1;
/// Version, kind, from, to, generation, checksum of the body.
const REQUEST_HEAD: usize = 1 + 1 + 8 + 8 + 4 + 8;

/// Kind of a request. The numbers go over the wire: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Entries of the log, or none: a heartbeat.
    Append = 1,
    /// A vote.
    Vote = 2,
    /// Asks if a vote would be given.
    PreVote = 3,
    /// Leadership is handed over.
    Transfer = 4,
    /// A snapshot begins.
    SnapshotBegin = 5,
    /// A piece of a snapshot.
    SnapshotChunk = 6,
    /// A snapshot is complete: install it.
    SnapshotEnd = 7,
    /// The leader's process died.
    Testimony = 8,
    /// The last entry that each replica acknowledged: after its start a replica takes no other frame before this one.
    Acknowledged = 9,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Append,
        Self::Vote,
        Self::PreVote,
        Self::Transfer,
        Self::SnapshotBegin,
        Self::SnapshotChunk,
        Self::SnapshotEnd,
        Self::Testimony,
        Self::Acknowledged,
    ];
}

/// Sender and receiver of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    /// Of the cluster; a replica of another one is refused.
    pub(super) generation: u32,
}

/// The head of a request, with room for a body of some `bytes`: the body goes behind it, and [`seal`] ends it.
pub(super) fn begin(kind: Kind, ends: Ends, bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(REQUEST_HEAD + bytes);
    frame.extend_from_slice(&[VERSION, kind as u8]);
    frame.extend_from_slice(&ends.from.0.to_be_bytes());
    frame.extend_from_slice(&ends.to.0.to_be_bytes());
    frame.extend_from_slice(&ends.generation.to_be_bytes());
    frame.resize(REQUEST_HEAD, 0);
    frame
}

/// Puts the checksum of its body into a request.
pub(super) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&frame[REQUEST_HEAD..]);
    frame[REQUEST_HEAD - 8..REQUEST_HEAD].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Builds a request.
pub(super) fn request(kind: Kind, ends: Ends, body: &[u8]) -> Vec<u8> {
    let mut frame = begin(kind, ends, body.len());
    frame.extend_from_slice(body);
    seal(frame)
}

/// Checks a request that reached `own`, and returns its kind and its body; the error says in words why it is refused.
pub(super) fn accept(frame: &[u8], own: Ends) -> Result<(Kind, &[u8]), String> {
    let (head, body) = frame.split_at_checked(REQUEST_HEAD).ok_or("a frame that is cut off")?;
    let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| head[at + byte]));
    if head[0] != VERSION {
        return Err(format!("frames of version {} are not understood here (version {VERSION} is)", head[0]));
    }
    let ends = Ends {
        from: ReplicaId(long(2)),
        to: ReplicaId(long(10)),
        generation: u32::from_be_bytes(std::array::from_fn(|byte| head[18 + byte])),
    };
    if ends.generation != own.generation {
        return Err(format!(
            "replica {} is of generation {} and this one of {}: a replica of an older generation must be wiped",
            ends.from, ends.generation, own.generation
        ));
    }
    if ends != own {
        return Err(format!(
            "a frame from replica {} to {} reached replica {} on a link of replica {}",
            ends.from, ends.to, own.to, own.from
        ));
    }
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[1]);
    let kind = kind.ok_or_else(|| format!("frames of kind {} are not understood here", head[1]))?;
    if xxh3_64(body) != long(22) {
        return Err("a frame that was damaged on the way".to_owned());
    }
    Ok((kind, body))
}

const ANSWER: u8 = 0;
const REFUSAL: u8 = 1;
/// The sender must first send its table of acknowledged entries.
const UNTOLD: u8 = 2;
/// The receiver found damage in a snapshot.
const DAMAGED_SNAPSHOT: u8 = 3;

/// The reason why a frame was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// In words.
    Words(String),
    /// The other replica needs the table of acknowledged entries first.
    Untold,
    /// The other replica found damage in the snapshot, described in words.
    DamagedSnapshot(String),
}

impl Refusal {
    fn words(why: impl Into<String>) -> Self {
        Self::Words(why.into())
    }

    /// As [`read_answer`] reads it.
    pub(super) fn frame(&self) -> Vec<u8> {
        let (kind, why) = match self {
            Self::Words(why) => (REFUSAL, why.as_str()),
            Self::Untold => (UNTOLD, ""),
            Self::DamagedSnapshot(why) => (DAMAGED_SNAPSHOT, why.as_str()),
        };
        [&[VERSION, kind], why.as_bytes()].concat()
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Words(why)
    }
}

/// Builds an answer.
pub(super) fn answer<T: Serialize>(value: &T) -> Vec<u8> {
    let mut frame = vec![VERSION, ANSWER];
    match rmp_serde::encode::write(&mut frame, value) {
        Ok(()) => frame,
        Err(error) => refusal(&error.to_string()),
    }
}

/// Builds a refusal, in words.
pub(super) fn refusal(why: &str) -> Vec<u8> {
    Refusal::words(why).frame()
}

/// Reads an answer; the words of a refusal, or of what is wrong with it.
pub(super) fn read_answer<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Refusal> {
    match frame {
        [VERSION, ANSWER, body @ ..] => msgpack::read(body).map_err(|error| Refusal::words(error.to_string())),
        [VERSION, REFUSAL, why @ ..] => Err(Refusal::words(String::from_utf8_lossy(why))),
        [VERSION, UNTOLD] => Err(Refusal::Untold),
        [VERSION, DAMAGED_SNAPSHOT, why @ ..] => {
            Err(Refusal::DamagedSnapshot(String::from_utf8_lossy(why).into_owned()))
        }
        [version, ..] if *version != VERSION => {
            Err(Refusal::words(format!("an answer of version {version} is not understood here")))
        }
        _ => Err(Refusal::words("an answer that is cut off")),
    }
}

/// Files and position of a snapshot, before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct SnapshotOffer {
    /// Drawn by the sender; a new one replaces an older one.
    pub(super) transfer: u64,
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    /// Names and sizes.
    pub(super) files: Vec<(String, u64)>,
}

/// Ends a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct SnapshotDone {
    pub(super) transfer: u64,
    pub(super) vote: Vote,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) transfer: u64,
    /// Its place in the offer's list.
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

const CHUNK_HEAD: usize = 8 + 4 + 8;

impl<'a> Chunk<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(CHUNK_HEAD + self.bytes.len());
        body.extend_from_slice(&self.transfer.to_be_bytes());
        body.extend_from_slice(&self.file.to_be_bytes());
        body.extend_from_slice(&self.offset.to_be_bytes());
        body.extend_from_slice(self.bytes);
        body
    }

    pub(super) fn decode(body: &'a [u8]) -> Result<Self, String> {
        let (head, bytes) = body.split_at_checked(CHUNK_HEAD).ok_or("a chunk that is cut off")?;
        let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| head[at + byte]));
        let file = u32::from_be_bytes(std::array::from_fn(|byte| head[8 + byte]));
        Ok(Self { transfer: long(0), file, offset: long(12), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = Ends { from: ReplicaId(1), to: ReplicaId(2), generation: 3 };

    #[test]
    fn a_frame_is_taken_only_between_the_ends_and_the_generation_it_names() {
        let frame = request(Kind::Vote, ENDS, b"body");
        assert_eq!(accept(&frame, ENDS), Ok((Kind::Vote, b"body".as_slice())));
        for (own, word) in [
            (Ends { from: ReplicaId(9), ..ENDS }, "link of replica 9"),
            (Ends { to: ReplicaId(9), ..ENDS }, "reached replica 9"),
            (Ends { generation: 4, ..ENDS }, "must be wiped"),
        ] {
            let why = accept(&frame, own).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_damaged_frame_is_refused() {
        let frame = request(Kind::SnapshotChunk, ENDS, b"some bytes");
        for byte in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[byte] ^= 0x40;
            // Another kind's number would still be a frame of that kind: its body then fails to decode.
            assert!(byte == 1 || accept(&damaged, ENDS).is_err(), "byte {byte}");
            assert!(accept(&frame[..byte], ENDS).is_err(), "cut at {byte}");
        }
    }

    #[test]
    fn answers_and_refusals_come_back_as_they_were() {
        assert_eq!(read_answer::<u32>(&answer(&7_u32)), Ok(7));
        assert_eq!(read_answer::<u32>(&refusal("no")), Err(Refusal::words("no")));
        for refusal in [Refusal::Untold, Refusal::DamagedSnapshot("of a file".to_owned())] {
            assert_eq!(read_answer::<u32>(&refusal.frame()), Err(refusal));
        }
        assert!(read_answer::<u32>(&[]).is_err());
        let chunk = Chunk { transfer: 1, file: 2, offset: 3, bytes: b"xyz" };
        assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk));
    }
}
