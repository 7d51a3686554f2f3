//! The two sessions with the log.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use baton_domain::clock::BootTime;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use futures::stream::FuturesUnordered;
use xxhash_rust::xxh3::xxh3_64;

use super::super::holder;
use super::super::log::{LeaseRow, LogError, LogIdentity, Read, ServerRow, Sessions, SharedLog};
use super::super::regress::{Reopened, reopened};
use super::super::{candidate, log};
use super::{Member, PROBE};

/// The answer to a statement.
#[derive(Debug)]
pub(super) enum Event {
    /// The holder's, of that term.
    Holder(u64, holder::Answer),
    /// To an attempt to acquire the lease.
    Acquired(Result<Option<LeaseRow>, LogError>),
    /// Whether the idle first session works.
    FirstProbed(Result<LeaseRow, LogError>),
    /// The lease row.
    Looked(Result<LeaseRow, LogError>),
    /// The sessions of a process.
    Sessions(u64, Result<Sessions, LogError>),
    /// Entries.
    Read(Result<Read, LogError>),
    /// Whether the second session works.
    SecondProbed(Result<Vec<ServerRow>, LogError>),
}

impl Event {
    /// The error that it brings.
    pub(super) fn error(&self) -> Option<&LogError> {
        match self {
            Self::Holder(_, holder::Answer::Renewed(result)) => result.as_ref().err(),
            Self::Holder(_, holder::Answer::Appended(result)) => result.as_ref().err(),
            Self::Holder(_, holder::Answer::Read(result)) | Self::Read(result) => result.as_ref().err(),
            Self::Holder(_, holder::Answer::Gave(result)) => result.as_ref().err(),
            Self::Acquired(result) => result.as_ref().err(),
            Self::FirstProbed(result) | Self::Looked(result) => result.as_ref().err(),
            Self::Sessions(_, result) => result.as_ref().err(),
            Self::SecondProbed(result) => result.as_ref().err(),
        }
    }
}

/// True if the session is of no use any more.
pub(super) fn is_broken(error: &LogError) -> bool {
    !matches!(error, LogError::Again(_) | LogError::NoRoom(_))
}

/// One of the two sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Second,
}

type Open = Result<(Arc<dyn SharedLog>, LogIdentity), LogError>;

/// A session with the log, or the attempt to open one.
#[derive(Default)]
pub(super) struct Session {
    pub(super) log: Option<Arc<dyn SharedLog>>,
    /// Statements that are not answered, with the time at which they were sent.
    pub(super) calls: FuturesUnordered<BoxFuture<'static, (BootTime, Event)>>,
    pub(super) opening: FuturesUnordered<BoxFuture<'static, Open>>,
    failures: u32,
}

/// Polls a future once, so that it has its place in the session's order now.
fn begun<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    // Without the runtime's cooperative budget, which could put the first step off.
    let mut future: Pin<Box<_>> = Box::pin(tokio::task::unconstrained(future));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => ready(value).boxed(),
        Poll::Pending => future,
    }
}

impl Session {
    /// Sends a statement.
    pub(super) fn send<T: Send + 'static>(
        &self,
        now: BootTime,
        statement: impl FnOnce(Arc<dyn SharedLog>) -> BoxFuture<'static, Result<T, LogError>>,
        event: impl FnOnce(Result<T, LogError>) -> Event + Send + 'static,
    ) {
        let answer = match &self.log {
            Some(log) => statement(log.clone()),
            None => ready(Err(LogError::Unreachable("there is no session".to_owned()))).boxed(),
        };
        self.calls.push(begun(async move { (now, event(answer.await)) }));
    }

    fn open(&mut self, opening: BoxFuture<'static, Open>) {
        let failures = self.failures;
        *self = Self { failures, ..Self::default() };
        self.opening.push(opening);
    }

    /// Pause before the next attempt, different for each server and each time.
    fn pause(&mut self, incarnation: u64) -> Duration {
        self.failures = self.failures.wrapping_add(1);
        let dice = xxh3_64(&(incarnation ^ u64::from(self.failures)).to_be_bytes());
        Duration::from_millis(50 + dice % 150)
    }
}

impl Member {
    fn opening(&self, pause: Duration) -> BoxFuture<'static, Open> {
        let (logs, own, cluster) = (self.logs.clone(), self.own.clone(), self.cluster);
        async move {
            tokio::time::sleep(pause).await;
            logs.open(own, cluster).await
        }
        .boxed()
    }

    /// Forgets the first session, and opens another one after a pause.
    pub(super) fn open_first(&mut self, pause: Duration) {
        let opening = self.opening(pause);
        self.first.open(opening);
        self.reconnected();
    }

    /// Forgets the second session, and opens another one after a pause.
    pub(super) fn open_second(&mut self, pause: Duration) {
        let opening = self.opening(pause);
        self.second.open(opening);
        self.reading.interrupted();
        self.reconnected();
    }

    fn reconnected(&mut self) {
        self.candidate_input(candidate::Input::Reconnected);
        self.place();
    }

    pub(super) fn first_opened(&mut self, opened: Open) {
        match self.checked(opened) {
            Ok(log) => {
                (self.first.log, self.first.failures) = (Some(log), 0);
                self.reconnected();
                self.holder_input(holder::Input::Opened);
            }
            Err(error) => {
                self.holder_input(holder::Input::NotOpened(error));
                let pause = self.first.pause(self.own.incarnation);
                self.open_first(pause);
            }
        }
    }

    pub(super) fn second_opened(&mut self, opened: Open) {
        if let Ok(log) = self.checked(opened) {
            (self.second.log, self.second.failures) = (Some(log), 0);
            self.reconnected();
        } else {
            let pause = self.second.pause(self.own.incarnation);
            self.open_second(pause);
        }
    }

    /// Checks that it is the same log as before.
    fn checked(&mut self, opened: Open) -> Result<Arc<dyn SharedLog>, LogError> {
        let (log, found) = opened.inspect_err(|error| self.trouble = Some(error.to_string()))?;
        match self.identity.as_ref().map(|known| reopened(known, &found)) {
            None | Some(Reopened::Same | Reopened::Promoted) => {
                self.identity = Some(found);
                self.trouble = None;
                Ok(log)
            }
            Some(Reopened::Replaced) => {
                let why = format!("{} was replaced: another server of the log was promoted", found.name);
                Err(log::LogError::NotPrimary(why))
            }
            Some(Reopened::Another) => {
                let why = format!("{} is another log than the one that this server used before", found.name);
                self.trouble = Some(why.clone());
                Err(LogError::Foreign(why))
            }
        }
    }

    /// Tries sessions that are idle: one that broke unnoticed would delay a failover.
    pub(super) fn probe(&mut self, now: BootTime) {
        if now < self.probed + PROBE {
            return;
        }
        self.probed = now;
        if self.holder.is_none() && self.first.log.is_some() {
            let look = |log: Arc<dyn SharedLog>| async move { log.look().await }.boxed();
            self.first.send(now, look, Event::FirstProbed);
        }
        if self.second.log.is_some() {
            let row = ServerRow {
                server: self.own.server.clone(),
                incarnation: self.own.incarnation,
                address: String::new(),
                applied: self.recent.position(),
                program: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let report = |log: Arc<dyn SharedLog>| async move { log.report(row).await }.boxed();
            self.second.send(now, report, Event::SecondProbed);
        }
    }
}
