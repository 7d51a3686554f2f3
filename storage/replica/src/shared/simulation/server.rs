//! One life of a server: a member, a state that only remembers entries, and an engine that proposes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Applied, Committed};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::super::log::LogEntry;
use super::super::member::{Command, MemberStatus, Work};
use crate::Lease;
use crate::simulation::dice::Dice;

/// Stops a future while a process stands still.
#[derive(Clone, Default)]
pub(super) struct Freezer(Arc<(AtomicBool, Mutex<Vec<Waker>>)>);

impl Freezer {
    pub(super) fn set(&self, frozen: bool) {
        self.0.0.store(frozen, Ordering::Relaxed);
        self.0.1.lock().unwrap().drain(..).for_each(Waker::wake);
    }
}

/// A future of a process.
pub(super) struct Freezable<F> {
    inner: Pin<Box<F>>,
    freezer: Freezer,
}

impl<F: Future> Freezable<F> {
    pub(super) fn new(inner: F, freezer: Freezer) -> Self {
        Self { inner: Box::pin(inner), freezer }
    }
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.freezer.0.0.load(Ordering::Relaxed) {
            self.freezer.0.1.lock().unwrap().push(context.waker().clone());
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

/// The state of a server: the entries that it applied. Some of the last ones do not survive a crash.
pub(super) type Applications = Arc<Mutex<Vec<LogEntry>>>;

/// Entries that were confirmed: index, the term of the holder, and content.
pub(super) type Confirmed = Arc<Mutex<Vec<(u64, u64, Bytes)>>>;

/// Applies what the member says.
pub(super) async fn apply(
    mut work: mpsc::UnboundedReceiver<Work>,
    state: Applications,
    applied: watch::Sender<u64>,
    mut dice: Dice,
) {
    while let Some(work) = work.recv().await {
        match work {
            Work::Apply(entries, answers) => {
                if dice.chance(200) {
                    tokio::time::sleep(Duration::from_micros(dice.below(3_000))).await;
                }
                let last = {
                    let mut state = state.lock().unwrap();
                    for entry in entries {
                        let expected = state.last().map_or(1, |last| last.index + 1);
                        assert_eq!(entry.index, expected, "entries are applied in order");
                        state.push(entry);
                    }
                    state.last().map_or(0, |last| last.index)
                };
                applied.send_replace(last);
                for (index, answer) in answers {
                    let _ = answer.send(Ok(Committed { index, applied: Applied::Done }));
                }
            }
            Work::SetAside(_) => {
                state.lock().unwrap().clear();
                applied.send_replace(0);
            }
            Work::Load => panic!("the simulated log is not trimmed here"),
        }
    }
}

/// One life of a server.
pub(super) struct Life {
    pub(super) incarnation: u64,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) status: watch::Receiver<MemberStatus>,
    pub(super) lease: Lease,
    pub(super) state: Applications,
    pub(super) freezer: Freezer,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) task: JoinHandle<()>,
}

/// Proposes while its server leads.
pub(super) struct Engine {
    pub(super) incarnation: u64,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) status: watch::Receiver<MemberStatus>,
    pub(super) lease: Lease,
    pub(super) clock: Arc<dyn Fn() -> BootTime + Send + Sync>,
    pub(super) confirmed: Confirmed,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) dice: Dice,
}

impl Engine {
    pub(super) async fn run(mut self) {
        let mut number = 0_u64;
        loop {
            tokio::time::sleep(Duration::from_millis(2 + self.dice.below(40))).await;
            let (leads, term) = {
                let status = self.status.borrow();
                (status.leads, status.term)
            };
            if self.stopping.load(Ordering::Relaxed) || !leads || self.lease.until_in(term) <= (self.clock)() {
                continue;
            }
            let mut answers = Vec::new();
            for _ in 0..1 + self.dice.below(4) {
                number += 1;
                let body = Bytes::from(format!("{}:{number}", self.incarnation));
                let (sender, answer) = oneshot::channel();
                let _ = self.commands.send(Command::Propose(body.clone(), sender));
                answers.push((body, answer));
            }
            let confirmed = self.confirmed.clone();
            let confirm = async move {
                for (body, answer) in answers {
                    if let Ok(Ok(committed)) = answer.await {
                        confirmed.lock().unwrap().push((committed.index, term, body));
                    }
                }
            };
            if self.dice.chance(500) {
                // The next ones do not wait for these.
                tokio::spawn(confirm);
            } else {
                let _ = tokio::time::timeout(Duration::from_millis(200), confirm).await;
            }
        }
    }
}
