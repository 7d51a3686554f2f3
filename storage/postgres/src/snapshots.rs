//! Snapshots: a row for each one, and the parts of their files, by the files' hashes.

use baton_replica::shared::{LogError, LogSnapshot, Position, SNAPSHOT_PART_BYTES, SnapshotFile};
use bytes::Bytes;

use crate::log::{Parameters, PostgresLog};
use crate::rows::{chain, damaged, get, hash, number, server};

impl PostgresLog {
    pub(crate) async fn newest(&self) -> Result<Option<LogSnapshot>, LogError> {
        let row = self.session.read.client()?.query_opt(&self.reads.newest_snapshot, &[]).await;
        let Some(row) = row.map_err(|error| self.failed(&error))? else { return Ok(None) };
        let (names, sizes): (Vec<&str>, Vec<i64>) = (get(&row, 6)?, get(&row, 7)?);
        let digests: Vec<&[u8]> = get(&row, 8)?;
        if names.len() != sizes.len() || names.len() != digests.len() {
            return Err(damaged("a snapshot's files have no sizes or hashes"));
        }
        let file = |((name, bytes), digest): ((&str, i64), &[u8])| {
            Ok(SnapshotFile { name: name.to_owned(), bytes: bytes.cast_unsigned(), digest: hash(digest)? })
        };
        let files = names.into_iter().zip(sizes).zip(digests).map(file).collect::<Result<_, LogError>>()?;
        Ok(Some(LogSnapshot {
            id: number(&row, 0)?,
            position: Position { index: number(&row, 1)?, chain: chain(get(&row, 3)?)? },
            term: number(&row, 2)?,
            generation: get::<i32>(&row, 4)?.cast_unsigned(),
            server: server(get(&row, 5)?)?,
            files,
        }))
    }

    pub(crate) async fn begin(&self, snapshot: LogSnapshot) -> Result<Vec<u128>, LogError> {
        let (id, index) = (snapshot.id.cast_signed(), snapshot.position.index.cast_signed());
        let (term, chain) = (snapshot.term.cast_signed(), snapshot.position.chain.0.to_be_bytes());
        let (generation, maker) = (snapshot.generation.cast_signed(), snapshot.server.as_str());
        let names: Vec<&str> = snapshot.files.iter().map(|file| file.name.as_str()).collect();
        let sizes: Vec<i64> = snapshot.files.iter().map(|file| file.bytes.cast_signed()).collect();
        let digests: Vec<[u8; 16]> = snapshot.files.iter().map(|file| file.digest.to_be_bytes()).collect();
        let digests: Vec<&[u8]> = digests.iter().map(<[u8; 16]>::as_slice).collect();
        let chain = chain.as_slice();
        let parameters: Parameters<9> = [&id, &index, &term, &chain, &generation, &maker, &names, &sizes, &digests];
        let client = self.session.write.client()?;
        let rows = self.write(client.query(&self.writes.begin_snapshot, &parameters)).await?;
        rows.iter().map(|row| hash(get(row, 0)?)).collect()
    }

    /// A part that is there already stays: the same hash means the same content.
    pub(crate) async fn put(&self, digest: u128, number: u32, part: Bytes) -> Result<(), LogError> {
        let (digest, number, part) = (digest.to_be_bytes(), number.cast_signed(), part.as_ref());
        let digest = digest.as_slice();
        let client = self.session.write.client()?;
        let parameters: Parameters<3> = [&digest, &number, &part];
        self.write(client.execute(&self.writes.put_part, &parameters)).await.map(drop)
    }

    pub(crate) async fn get(&self, digest: u128, from: u32, bytes: usize) -> Result<Vec<Bytes>, LogError> {
        let digest = digest.to_be_bytes();
        let (digest, first) = (digest.as_slice(), from.cast_signed());
        let most = i64::try_from(bytes / SNAPSHOT_PART_BYTES).unwrap_or(i64::MAX).max(1);
        let parameters: Parameters<3> = [&digest, &first, &most];
        let rows = self.session.read.client()?.query(&self.reads.parts, &parameters).await;
        let rows = rows.map_err(|error| self.failed(&error))?;
        let part = |(at, row)| {
            let number = get::<i32>(row, 0)?.cast_unsigned();
            if u32::try_from(at).ok().and_then(|at| from.checked_add(at)) != Some(number) {
                return Err(damaged("a part of a snapshot's file is missing"));
            }
            Ok(Bytes::copy_from_slice(get(row, 1)?))
        };
        rows.iter().enumerate().map(part).collect()
    }

    pub(crate) async fn complete(&self, id: u64) -> Result<bool, LogError> {
        let id = id.cast_signed();
        let client = self.session.write.client()?;
        let row = self.write(client.query_one(&self.writes.complete_snapshot, &[&id])).await?;
        get(&row, 0)
    }
}
