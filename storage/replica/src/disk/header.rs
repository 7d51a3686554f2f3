//! The file in which a store says what it is: magic, format version, length, header, checksum.

use std::fs;
use std::io;
use std::path::Path;

use baton_domain::msgpack;
use xxhash_rust::xxh3::xxh3_64;

use super::write_atomically;
use crate::error::StoreError;
use crate::header::StoreHeader;

/// The newest format that this program reads, and the one it writes.
const FORMAT: u32 = 8;
const MAGIC: &[u8; 8] = b"baton-st";
/// Magic, format, length.
const HEAD: usize = 8 + 4 + 4;
const CHECKSUM: usize = 8;

/// Writes the header, atomically and durably.
pub(crate) fn write_header(path: &Path, header: &StoreHeader) -> io::Result<()> {
    let body = rmp_serde::to_vec_named(header).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut content = Vec::with_capacity(HEAD + body.len() + CHECKSUM);
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&FORMAT.to_be_bytes());
    content.extend_from_slice(&length.to_be_bytes());
    content.extend_from_slice(&body);
    content.extend_from_slice(&xxh3_64(&content).to_be_bytes());
    write_atomically(path, &content)
}

/// Reads the header; `None` if there is no such file.
pub(crate) fn read_header(dir: &Path, path: &Path) -> Result<Option<StoreHeader>, StoreError> {
    let damaged = |why: &str| StoreError::Damaged { dir: dir.to_owned(), why: format!("its header {why}") };
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Io { dir: dir.to_owned(), why: error.to_string() }),
    };
    if !content.starts_with(MAGIC) {
        return Err(damaged("does not begin as one does"));
    }
    let number = |at: usize| content.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let (Some(format), Some(length)) = (number(8), number(12)) else {
        return Err(damaged("is cut off"));
    };
    // A newer format may lay out the rest in another way, checksum included: look no further.
    if format > FORMAT {
        return Err(StoreError::Newer { dir: dir.to_owned(), found: format, known: FORMAT });
    }
    if format < FORMAT {
        return Err(StoreError::Older { dir: dir.to_owned(), found: format, known: FORMAT });
    }
    let end = HEAD + length as usize;
    if content.len() != end + CHECKSUM {
        return Err(damaged("has the wrong length"));
    }
    let (covered, checksum) = content.split_at(end);
    if checksum != xxh3_64(covered).to_be_bytes() {
        return Err(damaged("fails its checksum"));
    }
    msgpack::read(&covered[HEAD..]).map(Some).map_err(|error| damaged(&format!("cannot be read: {error}")))
}
