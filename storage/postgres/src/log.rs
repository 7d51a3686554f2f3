//! The log in PostgreSQL: the shared log's calls as statements.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::time::Duration;

use baton_domain::ClusterId;
use baton_replica::shared::{
    Answer, Append, Claimant, LeaseRow, LogEntry, LogError, LogIdentity, LogSize, LogSnapshot, Nominee, Position, Read,
    ServerRow, Sessions, SharedLog, SharedLogs,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::poll;
use tokio::sync::Mutex;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use crate::config::Database;
use crate::connect::{self, Session, session_name};
use crate::errors::{Effect, log_error};
use crate::rows::{get, number};
use crate::statements::{Reads, Writes};

/// The parameters of a statement.
pub(crate) type Parameters<'a, const COUNT: usize> = [&'a (dyn ToSql + Sync); COUNT];

/// The log in a database.
#[derive(Debug)]
pub struct PostgresLogs {
    database: Database,
    segment_bytes: u64,
}

/// Bytes of a table of entries from which on the next one is written.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

impl PostgresLogs {
    /// The log in this database, which [`create`](crate::create) made.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, segment_bytes: SEGMENT_BYTES }
    }

    /// Goes on in the next table after so many bytes. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }
}

impl SharedLogs for PostgresLogs {
    fn open(&self, who: Claimant, cluster: ClusterId) -> Answer<'_, (Arc<dyn SharedLog>, LogIdentity)> {
        Box::pin(async move {
            let opening = async {
                let session = connect::open(&self.database, &who, cluster).await?;
                let failed = |error| log_error(&error, Effect::None);
                let schema = self.database.schema();
                let writes = Writes::prepare(session.write.client()?, schema).await.map_err(failed)?;
                let reads = Reads::prepare(session.read.client()?, schema).await.map_err(failed)?;
                Ok((session, writes, reads))
            };
            let late = |_| LogError::Unreachable(format!("no answer within {} s", self.database.patience.as_secs()));
            let (session, writes, reads) =
                tokio::time::timeout(self.database.patience, Box::pin(opening)).await.map_err(late)??;
            let identity = session.identity.clone();
            let line = Mutex::new(Line { segment: None });
            let segment_bytes = self.segment_bytes;
            let log = PostgresLog { session, writes, reads, who, line, reading: AtomicUsize::new(0), segment_bytes };
            Ok((Arc::new(log) as Arc<dyn SharedLog>, identity))
        })
    }

    fn patience(&self) -> Duration {
        self.database.patience
    }
}

/// A session with the log.
pub(crate) struct PostgresLog {
    pub(crate) session: Session,
    pub(crate) writes: Writes,
    pub(crate) reads: Reads,
    pub(crate) who: Claimant,
    /// Calls that commit are sent in the order in which they come to it.
    pub(crate) line: Mutex<Line>,
    /// The table that the last entries were read from.
    pub(crate) reading: AtomicUsize,
    pub(crate) segment_bytes: u64,
}

/// The table of entries that is written; unknown in the beginning and when an append failed.
pub(crate) struct Line {
    pub(crate) segment: Option<Segment>,
}

#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) table: usize,
    /// Bytes in it, about.
    pub(crate) bytes: u64,
    /// Bytes from which on the next table is tried.
    pub(crate) full: u64,
}

impl PostgresLog {
    pub(crate) fn name(&self) -> &str {
        self.who.server.as_str()
    }

    pub(crate) fn incarnation(&self) -> i64 {
        self.who.incarnation.cast_signed()
    }

    /// Sends a statement that commits, in line, and waits for its answer.
    pub(crate) async fn write<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, LogError> {
        let line = self.line.lock().await;
        let mut call = pin!(call);
        let first = poll!(call.as_mut());
        drop(line);
        let answer = match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => call.await,
        };
        answer.map_err(|error| self.session.write.error(&error, Effect::Possible))
    }

    /// The error of a statement that reads.
    pub(crate) fn failed(&self, error: &Error) -> LogError {
        self.session.read.error(error, Effect::None)
    }
}

impl SharedLog for PostgresLog {
    fn ended(&self) -> BoxFuture<'_, LogError> {
        Box::pin(self.session.write.ended())
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        Box::pin(async {
            let row = self.session.read.client()?.query_one(&self.reads.genesis, &[]).await;
            let row = row.map_err(|error| self.failed(&error))?;
            Ok(Bytes::copy_from_slice(get(&row, 0)?))
        })
    }

    fn look(&self) -> Answer<'_, LeaseRow> {
        Box::pin(self.lease_row())
    }

    fn acquire(&self, term: u64, beat: u64, above: u64, takes_over: bool) -> Answer<'_, Option<LeaseRow>> {
        Box::pin(self.acquire_lease((term, beat), above, takes_over))
    }

    fn renew(&self, term: u64) -> Answer<'_, Option<u64>> {
        Box::pin(async move {
            let (of_term, name, incarnation) = (term.cast_signed(), self.name(), self.incarnation());
            let client = self.session.write.client()?;
            let row = self.write(client.query_opt(&self.writes.renew, &[&of_term, &name, &incarnation])).await?;
            row.map(|row| number(&row, 0)).transpose()
        })
    }

    fn give(&self, term: u64, to: Nominee) -> Answer<'_, bool> {
        Box::pin(async move {
            let to = match &to {
                Nominee::None => return Ok(false),
                Nominee::Anybody => "",
                Nominee::Server(server) => server.as_str(),
            };
            let (of_term, name, incarnation) = (term.cast_signed(), self.name(), self.incarnation());
            let client = self.session.write.client()?;
            Ok(self.write(client.execute(&self.writes.give, &[&of_term, &name, &incarnation, &to])).await? == 1)
        })
    }

    fn append(&self, term: u64, after: Position, entries: Arc<[LogEntry]>) -> Answer<'_, Append> {
        Box::pin(self.append_entries(term, after, entries))
    }

    fn tail(&self) -> Answer<'_, Position> {
        Box::pin(self.last())
    }

    fn read(&self, after: Position, bytes: usize) -> Answer<'_, Read> {
        Box::pin(self.read_entries(after, bytes))
    }

    fn sessions_of(&self, incarnation: u64) -> Answer<'_, Sessions> {
        Box::pin(self.sessions(incarnation))
    }

    fn evict(&self, incarnation: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let (theirs, own) = (session_name(incarnation), self.session.processes.as_slice());
            let ended = self.session.read.client()?.execute(&self.reads.evict, &[&theirs, &own]).await;
            ended.map(drop).map_err(|error| self.failed(&error))
        })
    }

    fn report(&self, mine: ServerRow) -> Answer<'_, Vec<ServerRow>> {
        Box::pin(self.report_mine(mine))
    }

    fn size(&self) -> Answer<'_, LogSize> {
        Box::pin(async {
            let row = self.session.read.client()?.query_one(&self.reads.size, &[]).await;
            let row = row.map_err(|error| self.failed(&error))?;
            Ok(LogSize { entries: number(&row, 0)?, total: number(&row, 1)? })
        })
    }

    fn newest_snapshot(&self) -> Answer<'_, Option<LogSnapshot>> {
        Box::pin(self.newest())
    }

    fn begin_snapshot(&self, snapshot: LogSnapshot) -> Answer<'_, Vec<u128>> {
        Box::pin(self.begin(snapshot))
    }

    fn put_part(&self, digest: u128, number: u32, part: Bytes) -> Answer<'_, ()> {
        Box::pin(self.put(digest, number, part))
    }

    fn get_parts(&self, digest: u128, from: u32, bytes: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(self.get(digest, from, bytes))
    }

    fn complete_snapshot(&self, id: u64) -> Answer<'_, bool> {
        Box::pin(self.complete(id))
    }

    fn trim(&self, term: u64) -> Answer<'_, bool> {
        Box::pin(async move {
            let (of_term, name, incarnation) = (term.cast_signed(), self.name(), self.incarnation());
            let client = self.session.write.client()?;
            let row = self.write(client.query_one(&self.writes.trim, &[&of_term, &name, &incarnation])).await?;
            get(&row, 0)
        })
    }
}
