//! Whether a peer is still there: neither TCP nor ractor_cluster notices a process that froze or a cut network.
//!
//! Every byte that arrives proves that the peer runs; a ping asks for some when none came by themselves, and now and
//! then anyway, so that an endpoint that hangs is found out and a peer that only listens hears from us. So a busy link
//! needs next to no pings, and a ping that waits behind a megabyte on a slow link does not end it. Pings pass the
//! credit by: a peer whose disk stalls keeps the credit, and is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_actors::wire::{Frame, Service, Token, Wire};
use baton_storage::clock::BootTime;
use ractor::ActorRef;
use ractor::concurrency::oneshot;

/// An endpoint that answers no ping for this many timeouts is taken for dead, though bytes arrive.
const WEDGED_TIMEOUTS: u32 = 10;

/// What to do at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Ping,
    Gone,
}

/// The pure part: when to ping, when to give up.
#[derive(Debug)]
struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    last_tick: BootTime,
    /// How many bytes had arrived at the last tick, and when there were last more.
    received: u64,
    heard: BootTime,
    /// When the ping that is under way was sent; the last one's answer does not matter.
    asked: Option<BootTime>,
    last_asked: BootTime,
}

impl Heartbeat {
    fn new(interval: Duration, timeout: Duration, now: BootTime) -> Self {
        let never = BootTime::default();
        Self { interval, timeout, last_tick: now, received: 0, heard: now, asked: None, last_asked: never }
    }

    fn answered(&mut self) {
        self.asked = None;
    }

    /// `received` counts the bytes that ever arrived.
    fn tick(&mut self, now: BootTime, received: u64) -> Verdict {
        let since_tick = now.since(self.last_tick);
        self.last_tick = now;
        let news = received != self.received;
        self.received = received;
        // A process that was itself stopped, or starved, for a while must not blame its peers for the silence.
        if news || since_tick > self.interval + self.timeout / 2 {
            self.heard = now;
        }
        if let Some(asked) = self.asked {
            if since_tick > self.interval + self.timeout / 2 {
                self.asked = Some(now);
            } else if now.since(asked) > self.timeout * WEDGED_TIMEOUTS {
                return Verdict::Gone;
            }
            return if now.since(self.heard) > self.timeout { Verdict::Gone } else { Verdict::Wait };
        }
        if !news || now.since(self.last_asked) >= self.timeout / 2 {
            self.asked = Some(now);
            self.last_asked = now;
            return Verdict::Ping;
        }
        Verdict::Wait
    }
}

/// What the heartbeat of one link needs.
pub(super) struct Pulse {
    pub(super) endpoint: ActorRef<Wire>,
    /// This process's name, for the pings.
    pub(super) me: Arc<str>,
    /// Counts the bytes that arrived.
    pub(super) received: Arc<AtomicU64>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Pulse {
    /// Returns once the peer is gone. Drop the future when the link ends.
    pub(super) async fn until_gone(self) {
        let mut heartbeat = Heartbeat::new(self.interval, self.timeout, BootTime::now());
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answer = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => match heartbeat.tick(BootTime::now(), self.received.load(Ordering::Relaxed)) {
                    Verdict::Wait => {}
                    Verdict::Ping => answer = Some(self.ping()),
                    Verdict::Gone => return,
                },
                result = async { match answer.as_mut() {
                    Some(answer) => answer.await,
                    None => std::future::pending().await,
                } } => {
                    answer = None;
                    // A dropped answer is a shim on its way out: the ticks find out.
                    if result.is_ok() {
                        heartbeat.answered();
                    }
                }
            }
        }
    }

    fn ping(&self) -> ractor::concurrency::OneshotReceiver<Vec<u8>> {
        let (sender, receiver) = oneshot();
        let frame = Frame::encode(Service::Ping, &self.me, &Token::default(), &[]);
        // A link that is gone is silent from now on.
        let _ = self.endpoint.cast(Wire::Call(frame, sender.into()));
        receiver
    }
}

/// Asks once whether the process behind `endpoint` answers in time.
pub(super) async fn answers(endpoint: ActorRef<Wire>, me: Arc<str>, timeout: Duration) -> bool {
    let received = Arc::default();
    let pulse = Pulse { endpoint, me, received, interval: timeout, timeout };
    matches!(tokio::time::timeout(timeout, pulse.ping()).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 80;
    const TIMEOUT: u64 = 400;

    /// Runs ticks at the given times, each with the bytes received until then and whether an answer came before it.
    fn run(ticks: &[(u64, u64, bool)]) -> Vec<Verdict> {
        let at = |ms: u64| BootTime(0) + Duration::from_millis(1_000_000 + ms);
        let mut heartbeat = Heartbeat::new(Duration::from_millis(INTERVAL), Duration::from_millis(TIMEOUT), at(0));
        ticks
            .iter()
            .map(|&(ms, received, answered)| {
                if answered {
                    heartbeat.answered();
                }
                heartbeat.tick(at(ms), received)
            })
            .collect()
    }

    #[test]
    fn an_idle_peer_that_answers_is_asked_every_other_interval() {
        // Its answer is news at the next tick.
        let ticks: Vec<_> = (1..=20).map(|i| (i * INTERVAL, i / 2, true)).collect();
        let pings = run(&ticks).iter().filter(|verdict| **verdict == Verdict::Ping).count();
        assert_eq!(pings, 10);
    }

    #[test]
    fn a_busy_peer_is_asked_every_half_timeout_only() {
        let ticks: Vec<_> = (1..=25).map(|i| (i * INTERVAL, i, true)).collect();
        let pings = run(&ticks).iter().filter(|verdict| **verdict == Verdict::Ping).count();
        assert_eq!(pings, 9, "in {} ms", 25 * INTERVAL);
    }

    #[test]
    fn a_silent_peer_is_gone_after_the_timeout_and_not_before() {
        let ticks: Vec<_> = (1..=8).map(|i| (i * INTERVAL, 0, false)).collect();
        let verdicts = run(&ticks);
        let gone = verdicts.iter().position(|verdict| *verdict == Verdict::Gone).unwrap() as u64 + 1;
        assert!((gone - 1) * INTERVAL <= TIMEOUT && gone * INTERVAL > TIMEOUT, "gone at tick {gone}");
    }

    #[test]
    fn bytes_keep_a_peer_whose_answer_is_late_but_not_for_ever() {
        let ticks: Vec<_> = (1..=60).map(|i| (i * INTERVAL, i, false)).collect();
        let verdicts = run(&ticks);
        let gone = verdicts.iter().position(|verdict| *verdict == Verdict::Gone).unwrap() as u64 + 1;
        assert!(gone * INTERVAL > TIMEOUT * u64::from(WEDGED_TIMEOUTS), "gone at tick {gone}");
    }

    #[test]
    fn a_process_that_was_stopped_itself_gives_its_peers_another_timeout() {
        let verdicts = run(&[(80, 0, false), (160, 0, false), (60_000, 0, false), (60_080, 0, false)]);
        assert_eq!(verdicts, [Verdict::Ping, Verdict::Wait, Verdict::Wait, Verdict::Wait]);
        let after: Vec<_> = [(80, 0, false), (60_000, 0, false)]
            .into_iter()
            .chain((1..8).map(|i| (60_000 + i * 80, 0, false)))
            .collect();
        assert_eq!(run(&after).iter().filter(|verdict| **verdict == Verdict::Gone).count(), 2);
    }
}
