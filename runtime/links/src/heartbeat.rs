//! The heartbeat of a link: neither TCP nor ractor_cluster notices a process that froze or a cut network.
//!
//! Every byte that arrives proves that the peer runs; a ping asks for some when none arrived. A ping is also something
//! for the peer to hear when this side had nothing to send, so that bytes that wait behind a megabyte on a slow link do
//! not end it, and from time to time it detects an endpoint that hangs. On an idle link one side pings, the dialer, and
//! the other side is content with hearing the pings. Pings bypass the credit: a peer whose disk stalls keeps the
//! credit, and is alive. They go ahead of other frames.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_client::wire::{Answer, Frame, FrameTransport, Outgoing, Service, Token, Wire};
use baton_domain::clock::BootTime;
use ractor::ActorRef;
use ractor::concurrency::oneshot;

use super::traffic::Traffic;
use super::transport::LinkTransport;

/// An endpoint that answers no ping for this many timeouts is taken for dead, though bytes arrive.
const WEDGED_TIMEOUTS: u32 = 10;
/// A busy link is pinged after this many timeouts, to know its endpoint.
const ASK_ANYWAY_TIMEOUTS: u32 = 5;

/// Timing of the checks of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    /// Interval of the checks.
    pub(super) interval: Duration,
    /// Longest silence of the peer.
    pub(super) timeout: Duration,
    /// This side dialed.
    pub(super) dialer: bool,
}

impl Rhythm {
    /// After how much silence of our own to ping: longer than an idle dialer's pings, or our answers to them, are apart.
    fn mute(&self) -> Duration {
        (self.interval * 7 / 2).min(self.timeout * 3 / 4)
    }

    /// After how much silence of the peer to ping.
    fn quiet(&self) -> Duration {
        if self.dialer { (self.interval * 2).min(self.timeout / 2) } else { self.mute() }
    }
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Ping,
    Gone,
}

/// The pure part: when to ping, when to give up.
#[derive(Debug)]
struct Heartbeat {
    rhythm: Rhythm,
    last_tick: BootTime,
    /// The traffic at the last tick, and when there was last more.
    received: u64,
    heard: BootTime,
    sent: u64,
    spoke: BootTime,
    /// Time of the last ping, and whether it is unanswered.
    asked: BootTime,
    waiting: bool,
}

impl Heartbeat {
    fn new(rhythm: Rhythm, now: BootTime) -> Self {
        Self { rhythm, last_tick: now, received: 0, heard: now, sent: 0, spoke: now, asked: now, waiting: false }
    }

    fn answered(&mut self) {
        self.waiting = false;
    }

    /// `received` and `sent` are the total bytes that crossed the link.
    fn tick(&mut self, now: BootTime, received: u64, sent: u64) -> Verdict {
        let Rhythm { interval, timeout, .. } = self.rhythm;
        // A process that was itself stopped, or starved, for a while must not blame its peers for the silence.
        let overslept = now.since(self.last_tick) > interval + timeout / 2;
        self.last_tick = now;
        if received != self.received || overslept {
            self.heard = now;
        }
        if sent != self.sent {
            self.spoke = now;
        }
        (self.received, self.sent) = (received, sent);
        if self.waiting {
            if overslept {
                self.asked = now;
            }
            let silent = now.since(self.heard) > timeout;
            let wedged = now.since(self.asked) > timeout * WEDGED_TIMEOUTS;
            return if silent || wedged { Verdict::Gone } else { Verdict::Wait };
        }
        let due = now.since(self.heard) >= self.rhythm.quiet()
            || now.since(self.spoke) >= self.rhythm.mute()
            || now.since(self.asked) >= timeout * ASK_ANYWAY_TIMEOUTS;
        if !due {
            return Verdict::Wait;
        }
        (self.asked, self.waiting) = (now, true);
        Verdict::Ping
    }
}

/// The path of pings to a peer.
#[derive(Clone)]
pub(super) enum PingPath {
    /// Through ractor_cluster's session, to its endpoint: detects failures of both.
    Endpoint(ActorRef<Wire>),
    /// Beside Baton's other frames, where there is no session.
    Transport(LinkTransport),
}

/// Monitor of one link's peer.
pub(super) struct PeerMonitor {
    pub(super) path: PingPath,
    /// This process's name, for the pings.
    pub(super) me: Arc<str>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) rhythm: Rhythm,
}

impl PeerMonitor {
    /// Returns once the peer is gone. Drop the future when the link ends.
    pub(super) async fn until_gone(self) {
        let mut heartbeat = Heartbeat::new(self.rhythm, BootTime::now());
        let mut ticks = tokio::time::interval(self.rhythm.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answer = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let received = self.traffic.received.load(Ordering::Relaxed);
                    let sent = self.traffic.sent.load(Ordering::Relaxed);
                    match heartbeat.tick(BootTime::now(), received, sent) {
                        Verdict::Wait => {}
                        Verdict::Ping => answer = Some(ping(&self.path, &self.me)),
                        Verdict::Gone => return,
                    }
                }
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
}

fn ping(path: &PingPath, me: &str) -> Answer {
    let (sender, receiver) = oneshot();
    match path {
        PingPath::Endpoint(endpoint) => {
            let frame = Frame::encode(Service::Ping, me, &Token::default(), &[]);
            // A link that is gone is silent from now on.
            let _ = endpoint.cast(Wire::Call(frame, sender.into()));
            receiver.into()
        }
        PingPath::Transport(transport) => {
            let head = Frame::head(Service::Ping, me, &Token::default(), 0);
            let ping = Outgoing { ahead: true, ..Outgoing::new(head, Vec::new()) };
            transport.call(ping).unwrap_or_else(|| receiver.into())
        }
    }
}

/// Asks once whether the process at the end of `path` answers in time.
pub(super) async fn answers(path: PingPath, me: Arc<str>, timeout: Duration) -> bool {
    matches!(tokio::time::timeout(timeout, ping(&path, &me)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 80;
    const TIMEOUT: u64 = 400;

    fn at(ms: u64) -> BootTime {
        BootTime(0) + Duration::from_millis(1_000_000 + ms)
    }

    fn heartbeat(dialer: bool) -> Heartbeat {
        let (interval, timeout) = (Duration::from_millis(INTERVAL), Duration::from_millis(TIMEOUT));
        Heartbeat::new(Rhythm { interval, timeout, dialer }, at(0))
    }

    /// Runs ticks at the given times, each with the bytes received and sent until then; nothing is answered.
    fn unanswered(heartbeat: &mut Heartbeat, ticks: impl IntoIterator<Item = (u64, u64, u64)>) -> Vec<(u64, Verdict)> {
        let ticks = ticks.into_iter();
        ticks.map(|(ms, received, sent)| (ms, heartbeat.tick(at(ms), received, sent))).collect()
    }

    fn first(verdicts: &[(u64, Verdict)], wanted: Verdict) -> u64 {
        verdicts.iter().find(|(_, verdict)| *verdict == wanted).expect("such a verdict").0
    }

    #[test]
    fn of_an_idle_link_only_the_dialer_pings() {
        let (mut dialer, mut acceptor) = (heartbeat(true), heartbeat(false));
        let (mut to_acceptor, mut to_dialer, mut pings) = (0, 0, [0, 0]);
        for tick in 1..=60 {
            let now = tick * INTERVAL;
            // A ping and its answer cross at once; the two sides tick a little apart.
            if dialer.tick(at(now), to_dialer, to_acceptor) == Verdict::Ping {
                (to_acceptor, to_dialer, pings[0]) = (to_acceptor + 1, to_dialer + 1, pings[0] + 1);
                dialer.answered();
            }
            if acceptor.tick(at(now + 30), to_acceptor, to_dialer) == Verdict::Ping {
                (to_acceptor, to_dialer, pings[1]) = (to_acceptor + 1, to_dialer + 1, pings[1] + 1);
                acceptor.answered();
            }
        }
        // 4.8 seconds: one every three ticks, and every two seconds one of the other side.
        assert!((15..=21).contains(&pings[0]) && pings[1] <= 3, "{pings:?}");
    }

    #[test]
    fn a_busy_link_is_pinged_now_and_then_only() {
        for dialer in [true, false] {
            let mut heartbeat = heartbeat(dialer);
            let pings = (1..=100u64).filter(|i| {
                let verdict = heartbeat.tick(at(i * INTERVAL), *i, *i);
                heartbeat.answered();
                verdict == Verdict::Ping
            });
            assert_eq!(pings.count(), 4, "in 8 seconds");
        }
    }

    #[test]
    fn a_peer_that_only_sends_hears_from_us_within_its_timeout() {
        let verdicts = unanswered(&mut heartbeat(false), (1..20).map(|i| (i * INTERVAL, i, 0)));
        assert!(first(&verdicts, Verdict::Ping) < TIMEOUT, "{verdicts:?}");
    }

    #[test]
    fn a_silent_peer_is_asked_and_gone_after_the_timeout_and_not_before() {
        for dialer in [true, false] {
            let verdicts = unanswered(&mut heartbeat(dialer), (1..20).map(|i| (i * INTERVAL, 0, i)));
            assert!(first(&verdicts, Verdict::Ping) <= TIMEOUT * 4 / 5, "{verdicts:?}");
            let gone = first(&verdicts, Verdict::Gone);
            assert!(gone > TIMEOUT && gone <= TIMEOUT + INTERVAL, "gone after {gone}");
        }
    }

    #[test]
    fn bytes_keep_a_peer_whose_answer_is_late_but_not_for_ever() {
        let verdicts = unanswered(&mut heartbeat(true), (1..100).map(|i| (i * INTERVAL, i, 0)));
        let gone = first(&verdicts, Verdict::Gone);
        assert!(gone > TIMEOUT * u64::from(WEDGED_TIMEOUTS), "gone after {gone}");
    }

    #[test]
    fn a_process_that_was_stopped_itself_gives_its_peers_another_timeout() {
        let after = 60_000;
        let ticks = [(160, 0, 0), (240, 0, 0)].into_iter().chain((0..20).map(|i| (after + i * INTERVAL, 0, 0)));
        let verdicts = unanswered(&mut heartbeat(true), ticks);
        assert_eq!(verdicts[0].1, Verdict::Ping);
        let gone = first(&verdicts, Verdict::Gone);
        assert!(gone > after + TIMEOUT, "gone after {}", gone - after);
    }
}
