//! The session with the log: statements, their answers, and another session when it ends.

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
    /// The lease row.
    Looked(Result<LeaseRow, LogError>),
    /// The sessions of a process.
    Sessions(u64, Result<Sessions, LogError>),
    /// Entries.
    Read(Result<Read, LogError>),
    /// To what needs no other answer.
    Done(Result<(), LogError>),
    /// The session has ended.
    Ended(LogError),
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
            Self::Looked(result) => result.as_ref().err(),
            Self::Sessions(_, result) => result.as_ref().err(),
            Self::Done(result) => result.as_ref().err(),
            Self::Ended(error) => Some(error),
        }
    }
}

/// True if the session is of no use any more.
pub(super) fn is_broken(error: &LogError) -> bool {
    !matches!(error, LogError::Again(_) | LogError::NoRoom(_))
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

    /// Forgets the session, and opens another one after a pause.
    pub(super) fn reopen(&mut self, pause: Duration) {
        let opening = self.opening(pause);
        self.session.open(opening);
        self.open_session.send_replace(None);
        self.reading.interrupted();
        self.reconnected();
    }

    fn reconnected(&mut self) {
        self.candidate_input(candidate::Input::Reconnected);
        self.place();
    }

    pub(super) fn opened(&mut self, opened: Open) {
        match self.checked(opened) {
            Ok((log, timeline, certain)) => {
                // A promoted standby that was not synchronous may lack commits. Of a log that this server does not know
                // it cannot tell.
                let may_have_lost = !certain && self.timeline != Some(timeline);
                self.timeline = Some(timeline);
                let ended = log.clone();
                let sent = self.now();
                let ended = async move { (sent, Event::Ended(ended.ended().await)) };
                self.session.calls.push(begun(ended));
                self.open_session.send_replace(Some(log.clone()));
                (self.session.log, self.session.failures) = (Some(log), 0);
                self.reconnected();
                if may_have_lost {
                    self.candidate_input(candidate::Input::MayHaveLost);
                }
                self.holder_input(holder::Input::Opened(may_have_lost));
            }
            Err(error) => {
                self.holder_input(holder::Input::NotOpened(error));
                let pause = self.session.pause(self.own.incarnation);
                self.reopen(pause);
            }
        }
    }

    /// Checks that it is the same log as before; its timeline, and true if a standby of it lacked nothing.
    fn checked(&mut self, opened: Open) -> Result<(Arc<dyn SharedLog>, u32, bool), LogError> {
        let (log, found) = opened.inspect_err(|error| self.trouble = Some(error.to_string()))?;
        match self.identity.as_ref().map(|known| reopened(known, &found)) {
            None | Some(Reopened::Same | Reopened::Promoted) => {
                let certain = self.identity.as_ref().is_some_and(|known| !known.standby.is_empty());
                let timeline = found.timeline;
                self.identity = Some(found);
                self.trouble = None;
                Ok((log, timeline, certain))
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

    /// Writes this server's row: a commit of its own, which shows that the session works, and for people.
    pub(super) fn probe(&mut self, now: BootTime) {
        if now < self.probed + PROBE {
            return;
        }
        self.probed = now;
        if self.session.log.is_some() {
            let row = ServerRow {
                server: self.own.server.clone(),
                incarnation: self.own.incarnation,
                address: self.address.clone(),
                applied: self.recent.position(),
                program: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let report = |log: Arc<dyn SharedLog>| async move { log.report(row).await.map(|_| ()) }.boxed();
            self.session.send(now, report, Event::Done);
        }
    }
}
