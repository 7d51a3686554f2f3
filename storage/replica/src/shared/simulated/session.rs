//! A session with the log: its statements in order, and their answers.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::ServerName;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::super::log::{
    Answer, Append, Claimant, LeaseRow, LogEntry, LogError, LogSize, LogSnapshot, Nominee, Position, Read, ServerRow,
    Sessions, SharedLog,
};
use super::data::Data;
use super::{Gate, SimulatedLog, State, TCP_TIMEOUT};

/// Sends an answer.
type Reply = Box<dyn FnOnce() + Send>;

struct Statement {
    arrives: Instant,
    commits: bool,
    run: Box<dyn FnOnce(&mut State) -> Reply + Send>,
}

/// A session: two connections, one for statements that commit and one for all others.
pub(super) struct Session {
    log: SimulatedLog,
    id: u64,
    claimant: Claimant,
    open: watch::Receiver<bool>,
    writes: mpsc::UnboundedSender<Statement>,
    reads: mpsc::UnboundedSender<Statement>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.log.leave(&mut self.log.state(), self.id);
    }
}

/// Does the statements of a session in order.
async fn work(log: SimulatedLog, id: u64, server: ServerName, mut statements: mpsc::UnboundedReceiver<Statement>) {
    const GLANCE: Duration = Duration::from_millis(1);
    let (replies, mut answered) = mpsc::unbounded_channel::<(Instant, Reply)>();
    let back = log.clone();
    tokio::spawn(async move {
        while let Some((at, reply)) = answered.recv().await {
            tokio::time::sleep_until(at).await;
            while back.way_back_is_cut(&server) {
                tokio::time::sleep(GLANCE).await;
            }
            reply();
        }
    });
    while let Some(Statement { arrives, commits, run }) = statements.recv().await {
        tokio::time::sleep_until(arrives).await;
        loop {
            match log.gate(id, commits) {
                Gate::Open => break,
                Gate::Closed => tokio::time::sleep(GLANCE).await,
                Gate::Gone => return,
            }
        }
        let reply = run(&mut log.state());
        if !log.is_locked_by(id) {
            let _ = replies.send((Instant::now() + log.delay(), reply));
        }
    }
}

impl Session {
    pub(super) fn new(log: SimulatedLog, id: u64, claimant: Claimant, open: watch::Receiver<bool>) -> Self {
        let connection = || {
            let (statements, queue) = mpsc::unbounded_channel();
            tokio::spawn(work(log.clone(), id, claimant.server.clone(), queue));
            statements
        };
        let (writes, reads) = (connection(), connection());
        Self { log, id, claimant, open, writes, reads }
    }

    /// Sends a statement; it has its place when the future was polled once.
    fn call<T: Send + 'static>(
        &self,
        commits: bool,
        statement: impl FnOnce(&mut State, u64) -> Option<T> + Send + 'static,
    ) -> Answer<'_, T> {
        async move {
            let mut open = self.open.clone();
            if !*open.borrow() {
                return Err(LogError::Unreachable("the session is closed".to_owned()));
            }
            let (sender, answer) = oneshot::channel();
            let id = self.id;
            let run = Box::new(move |state: &mut State| -> Reply {
                let value = statement(state, id);
                if let Some(connection) = state.connections.get_mut(&id) {
                    connection.statements = connection.statements.saturating_sub(1);
                }
                let warned = state.warned;
                let unsure = commits && state.dice.chance(warned);
                let unknown = |why: &str| LogError::Unknown(why.to_owned());
                let value = match value {
                    Some(_) if unsure => Err(unknown("canceling wait for synchronous replication")),
                    Some(value) => Ok(value),
                    None => Err(unknown("the session ended")),
                };
                Box::new(move || drop(sender.send(value)))
            });
            let arrives = Instant::now() + self.log.delay();
            if let Some(connection) = self.log.state().connections.get_mut(&id) {
                connection.statements += 1;
            }
            let connection = if commits { &self.writes } else { &self.reads };
            let _ = connection.send(Statement { arrives, commits, run });
            let unknown = || LogError::Unknown("the connection broke".to_owned());
            tokio::select! {
                biased;
                answer = answer => answer.unwrap_or_else(|_| Err(unknown())),
                _ = open.wait_for(|open| !open) => Err(unknown()),
                () = self.timeout() => Err(unknown()),
            }
        }
        .boxed()
    }

    /// Resolves when the way was cut for so long that the connection ends.
    async fn timeout(&self) {
        let mut cut = Duration::ZERO;
        let step = Duration::from_millis(100);
        while cut < TCP_TIMEOUT {
            tokio::time::sleep(step).await;
            let of = |state: &State| state.cut.iter().any(|(server, _)| *server == self.claimant.server);
            cut = if of(&self.log.state()) { cut + step } else { Duration::ZERO };
        }
        self.log.leave(&mut self.log.state(), self.id);
    }

    fn on_data<T: Send + 'static>(
        &self,
        commits: bool,
        statement: impl FnOnce(&mut Data, &Claimant) -> T + Send + 'static,
    ) -> Answer<'_, T> {
        let claimant = self.claimant.clone();
        self.call(commits, move |state, id| state.data(id).map(|data| statement(data, &claimant)))
    }
}

impl SharedLog for Session {
    fn ended(&self) -> BoxFuture<'_, LogError> {
        let mut open = self.open.clone();
        async move {
            let _ = open.wait_for(|open| !open).await;
            LogError::Unreachable("the connection broke".to_owned())
        }
        .boxed()
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        self.on_data(false, |_, _| Bytes::new())
    }

    fn look(&self) -> Answer<'_, LeaseRow> {
        self.on_data(false, |data, _| data.row.clone())
    }

    fn acquire(&self, term: u64, beat: u64, above: u64, takes_over: bool) -> Answer<'_, Option<LeaseRow>> {
        self.on_data(true, move |data, by| data.acquire((term, beat, above), takes_over, by))
    }

    fn renew(&self, term: u64) -> Answer<'_, Option<u64>> {
        self.on_data(true, move |data, by| data.renew(term, by))
    }

    fn give(&self, term: u64, to: Nominee) -> Answer<'_, bool> {
        self.on_data(true, move |data, by| data.give(term, to, by))
    }

    fn append(&self, term: u64, after: Position, entries: Arc<[LogEntry]>) -> Answer<'_, Append> {
        let log = self.log.clone();
        let sent = entries.clone();
        let append = self.on_data(true, move |data, by| data.append(term, after, &entries, by));
        async move {
            log.note_sent(term, &sent);
            append.await
        }
        .boxed()
    }

    fn tail(&self) -> Answer<'_, Position> {
        self.on_data(false, |data, _| data.tail())
    }

    fn read(&self, after: Position, bytes: usize) -> Answer<'_, Read> {
        self.on_data(false, move |data, _| data.read(after, bytes))
    }

    fn sessions_of(&self, incarnation: u64) -> Answer<'_, Sessions> {
        self.call(false, move |state, _| Some(state.sessions_of(incarnation)))
    }

    fn evict(&self, incarnation: u64) -> Answer<'_, ()> {
        let (log, own) = (self.log.clone(), self.claimant.incarnation);
        self.call(false, move |state, _| {
            log.break_all(state, |connection| {
                connection.claimant.incarnation == incarnation && connection.claimant.incarnation != own
            });
            Some(())
        })
    }

    fn report(&self, mine: ServerRow) -> Answer<'_, Vec<ServerRow>> {
        self.on_data(true, move |data, _| data.report(mine))
    }

    fn size(&self) -> Answer<'_, LogSize> {
        self.on_data(false, |data, _| {
            let (entries, total) = data.bytes();
            LogSize { entries, total }
        })
    }

    fn newest_snapshot(&self) -> Answer<'_, Option<LogSnapshot>> {
        self.on_data(false, |data, _| data.newest_snapshot())
    }

    fn begin_snapshot(&self, snapshot: LogSnapshot) -> Answer<'_, Vec<u128>> {
        self.on_data(true, move |data, _| data.begin_snapshot(snapshot))
    }

    fn put_part(&self, digest: u128, number: u32, part: Bytes) -> Answer<'_, ()> {
        self.on_data(true, move |data, _| data.put_part(digest, number, part))
    }

    fn get_parts(&self, digest: u128, from: u32, bytes: usize) -> Answer<'_, Vec<Bytes>> {
        self.on_data(false, move |data, _| data.get_parts(digest, from, bytes))
    }

    fn complete_snapshot(&self, id: u64) -> Answer<'_, bool> {
        self.on_data(true, move |data, _| data.complete_snapshot(id))
    }

    fn trim(&self, term: u64) -> Answer<'_, bool> {
        self.on_data(true, move |data, by| data.trim(term, by))
    }
}
