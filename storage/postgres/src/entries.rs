//! Entries: appended under the lease row, read in their order.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use baton_replica::shared::{Append, Chain, LogEntry, LogError, Nominee, Position, Read};
use bytes::Bytes;
use futures::poll;
use tokio_postgres::Row;

use crate::errors::{Effect, is_duplicate};
use crate::log::{Line, Parameters, PostgresLog, Segment};
use crate::rows::{chain, damaged, get, number, position, table};

/// Places in the log, as of one moment.
struct Place {
    tail: Position,
    /// The hash at the index that was asked for.
    here: Option<Chain>,
    /// The position from which on there are entries.
    from: Position,
    /// The table with the entries that follow the index.
    table: Option<usize>,
}

impl PostgresLog {
    pub(crate) async fn append_entries(
        &self,
        term: u64,
        after: Position,
        entries: Arc<[LogEntry]>,
    ) -> Result<Append, LogError> {
        if entries.is_empty() {
            return Ok(Append::Written);
        }
        let terms: Vec<i64> = entries.iter().map(|entry| entry.term.cast_signed()).collect();
        let chains: Vec<[u8; 16]> = entries.iter().map(|entry| entry.chain.0.to_be_bytes()).collect();
        let chains: Vec<&[u8]> = chains.iter().map(<[u8; 16]>::as_slice).collect();
        let bodies: Vec<&[u8]> = entries.iter().map(|entry| entry.body.as_ref()).collect();
        let (name, incarnation, of_term) = (self.name(), self.incarnation(), term.cast_signed());
        let (index, chain) = (after.index.cast_signed(), after.chain.0.to_be_bytes());
        let chain = chain.as_slice();

        let mut line = self.line.lock().await;
        let segment = self.segment(&mut line, of_term, after).await?;
        let statement = self.writes.append.get(segment.table).ok_or_else(|| damaged("there is no such table"))?;
        let parameters: Parameters<8> = [&of_term, &name, &incarnation, &index, &chain, &terms, &chains, &bodies];
        let mut call = pin!(self.session.write.client()?.execute(statement, &parameters));
        let first = poll!(call.as_mut());
        let bytes: usize = bodies.iter().map(|body| body.len()).sum();
        line.segment = Some(Segment { bytes: segment.bytes.saturating_add(bytes as u64), ..segment });
        drop(line);
        let answer = match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => call.await,
        };
        match answer {
            Ok(rows) if usize::try_from(rows) == Ok(entries.len()) => return Ok(Append::Written),
            Ok(0) => {}
            // An append of this process, on an earlier session, was first.
            Err(error) if is_duplicate(&error) => {}
            Ok(rows) => return Err(damaged(&format!("{rows} of {} entries were written", entries.len()))),
            Err(error) => {
                self.line.lock().await.segment = None;
                return Err(self.session.write.error(&error, Effect::Possible));
            }
        }
        self.line.lock().await.segment = None;
        self.refusal(term, after).await
    }

    /// The table to append to: the next one, when the present one is full.
    async fn segment(&self, line: &mut Line, term: i64, after: Position) -> Result<Segment, LogError> {
        let failed = |error| self.session.write.error(&error, Effect::None);
        let client = self.session.write.client()?;
        let segment = match line.segment {
            Some(segment) => segment,
            None => {
                let row = client.query_one(&self.writes.segment, &[]).await.map_err(failed)?;
                Segment { table: table(get(&row, 0)?)?, bytes: number(&row, 1)?, full: self.segment_bytes }
            }
        };
        if segment.bytes < segment.full {
            return Ok(segment);
        }
        let (name, incarnation) = (self.name(), self.incarnation());
        let (index, chain) = (after.index.cast_signed(), after.chain.0.to_be_bytes());
        let chain = chain.as_slice();
        let parameters: Parameters<5> = [&term, &name, &incarnation, &index, &chain];
        let row = client.query_one(&self.writes.next_segment, &parameters).await.map_err(failed)?;
        let next = get::<Option<i16>>(&row, 0)?.map(table).transpose()?;
        match next.filter(|&next| next != segment.table) {
            Some(table) => Ok(Segment { table, bytes: 0, full: self.segment_bytes }),
            // The next one is not free yet. Or the append will be refused, and says why.
            None => Ok(Segment { full: segment.bytes.saturating_add(self.segment_bytes / 4), ..segment }),
        }
    }

    /// The reason why an append wrote nothing.
    async fn refusal(&self, term: u64, after: Position) -> Result<Append, LogError> {
        let row = self.lease_row().await?;
        let held = row.term == term
            && row.holder.as_ref() == Some(&self.who.server)
            && row.incarnation == self.who.incarnation
            && row.nominee == Nominee::None;
        if !held {
            return Ok(Append::Deposed(row));
        }
        let tail = self.place(after.index).await?.tail;
        if tail == after {
            return Err(LogError::Again("an earlier session of this server went on in another table".to_owned()));
        }
        Ok(Append::Mismatch { tail })
    }

    /// The position after the last entry.
    pub(crate) async fn last(&self) -> Result<Position, LogError> {
        Ok(self.place(0).await?.tail)
    }

    async fn place(&self, index: u64) -> Result<Place, LogError> {
        let row = self.session.read.client()?.query_one(&self.reads.place, &[&index.cast_signed()]).await;
        let row = row.map_err(|error| self.failed(&error))?;
        Ok(Place {
            tail: position(&row, 0)?,
            here: get::<Option<&[u8]>>(&row, 2)?.map(chain).transpose()?,
            from: position(&row, 3)?,
            table: get::<Option<i16>>(&row, 5)?.map(table).transpose()?,
        })
    }

    pub(crate) async fn read_entries(&self, after: Position, bytes: usize) -> Result<Read, LogError> {
        let (index, bytes) = (after.index.cast_signed(), i64::try_from(bytes.max(1)).unwrap_or(i64::MAX));
        // A table may be left, or freed, between two statements; not as often as this.
        for _ in 0..8 {
            let reading = self.reading.load(Ordering::Relaxed);
            let statement = self.reads.read.get(reading).ok_or_else(|| damaged("there is no such table"))?;
            let rows = self.session.read.client()?.query(statement, &[&index, &bytes]).await;
            let rows = rows.map_err(|error| self.failed(&error))?;
            let first = rows.first().map(|row| number(row, 0)).transpose()?;
            let next = first == after.index.checked_add(1);
            match entries(after, &rows) {
                Ok(entries) if next => return Ok(Read::Entries(entries)),
                Ok(_) | Err(_) => {}
            }
            let place = self.place(after.index).await?;
            if after.index < place.from.index {
                return Ok(Read::Trimmed { from: place.from });
            }
            if place.here != Some(after.chain) {
                return Ok(Read::Elsewhere { tail: place.tail, at: place.here });
            }
            if place.tail.index == after.index {
                return Ok(Read::Entries(Vec::new()));
            }
            if next && place.table == Some(reading) {
                // The same history up to here, and what follows does not follow.
                return entries(after, &rows).map(Read::Entries);
            }
            self.reading.store(place.table.unwrap_or(0), Ordering::Relaxed);
        }
        Err(LogError::Again("the log's tables change".to_owned()))
    }
}

/// The entries in these rows, each of which must follow the one before.
fn entries(after: Position, rows: &[Row]) -> Result<Vec<LogEntry>, LogError> {
    let mut last = after;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let entry = last.entry(number(row, 1)?, Bytes::copy_from_slice(get(row, 3)?));
        let (index, hash) = (number(row, 0)?, chain(get(row, 2)?)?);
        last = entry.position();
        if last != (Position { index, chain: hash }) {
            return Err(damaged(&format!(
                "the entry {index} does not follow the one before, or its content is another"
            )));
        }
        entries.push(entry);
    }
    Ok(entries)
}
