//! The session's core: the engine's host, the servers to ask, the reports to subscribers.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_domain::Epoch;
use baton_domain::seeded::{self, Bug};

use crate::protocol::PlacementNews;

/// The first delay before servers are asked again.
const ASK_FIRST: Duration = Duration::from_millis(20);
/// The longest delay before servers are asked again.
const ASK_LONGEST: Duration = Duration::from_millis(250);

/// Delays that double, up to a bound. The shell adds jitter.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The delay to wait now; the next one is twice as long.
    pub(crate) fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        delay
    }

    /// Returns to the first delay.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Events for the core.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A link to a server is up.
    LinkUp { name: String, connection: u64 },
    /// A link is gone.
    LinkDown { name: String, connection: u64 },
    /// A server reported the engine's location.
    News(PlacementNews),
    /// A server answered [`Effect::Ask`], or did not.
    Answered { name: String, connection: u64, news: Option<PlacementNews> },
    /// The engine of that epoch did not serve a producer or a consumer.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// The engine of that epoch served a producer or a consumer.
    Works { epoch: Epoch },
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake,
}

/// Work for the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask that server for the engine's location.
    Ask { name: String, connection: u64 },
    /// Keep links to these servers.
    Ensure(Vec<(String, String)>),
    /// Report to subscribers that the engine is reachable.
    At { name: String, connection: u64, epoch: Epoch },
    /// Report to subscribers that no engine is reachable.
    Gone,
    /// Return [`Input::Wake`] after about that long.
    WakeAfter(Duration),
}

#[derive(Debug)]
struct Link {
    connection: u64,
    asking: bool,
}

/// A reachable host: its name, the link to it, the epoch.
type Target = (String, u64, Epoch);

/// The state of a session.
#[derive(Debug)]
pub(crate) struct State {
    /// Linked servers.
    links: BTreeMap<String, Link>,
    /// The newest news.
    news: PlacementNews,
    /// The newest epoch of news and deliveries.
    newest: Epoch,
    /// The last report to subscribers.
    reported: Option<Target>,
    /// A subscriber had trouble with the reported engine, and no server has named it since.
    suspected: bool,
    /// The same location is to be reported again.
    again: bool,
    /// No location is known, or it is suspected.
    seeking: bool,
    /// An [`Input::Wake`] will come.
    waking: bool,
    backoff: Backoff,
}

impl Default for State {
    fn default() -> Self {
        Self {
            links: BTreeMap::new(),
            news: PlacementNews::default(),
            newest: Epoch::default(),
            reported: None,
            suspected: false,
            again: false,
            seeking: true,
            waking: false,
            backoff: Backoff::new(ASK_FIRST, ASK_LONGEST),
        }
    }
}

impl State {
    /// Takes one input; the effects are to be performed in order.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::LinkUp { name, connection } => {
                // Each new server is asked, also when the answer is known: from then on it reports changes.
                self.links.insert(name.clone(), Link { connection, asking: true });
                effects.push(Effect::Ask { name, connection });
            }
            Input::LinkDown { name, connection } => {
                if self.links.get(&name).is_some_and(|link| link.connection == connection) {
                    self.links.remove(&name);
                }
            }
            Input::News(news) => self.learn(news, true, &mut effects),
            Input::Answered { name, connection, news } => {
                if let Some(link) = self.links.get_mut(&name)
                    && link.connection == connection
                {
                    link.asking = false;
                }
                if let Some(news) = news {
                    self.learn(news, true, &mut effects);
                }
            }
            Input::Trouble { epoch, news } => {
                // Trouble with an engine that was replaced already changes nothing.
                if self.reported.as_ref().is_none_or(|(_, _, reported)| *reported == epoch) {
                    self.suspected = true;
                }
                if let Some(news) = news {
                    self.learn(news, false, &mut effects);
                }
            }
            Input::Works { epoch } => {
                if epoch >= self.newest {
                    self.backoff.reset();
                }
            }
            Input::Wake => {
                self.waking = false;
                if self.seeking {
                    self.ask_all(&mut effects);
                }
            }
        }
        self.settle(&mut effects);
        effects
    }

    /// True if a delivery of that epoch is not outdated.
    pub(crate) fn accepts(&mut self, epoch: Epoch) -> bool {
        self.newest = self.newest.max(epoch);
        epoch == self.newest || seeded::is(Bug::FencingOff)
    }

    /// True if that link is known.
    pub(crate) fn is_linked(&self, name: &str, connection: u64) -> bool {
        self.links.get(name).is_some_and(|link| link.connection == connection)
    }

    /// The known links that are not among `live`.
    pub(crate) fn links_not_in(&self, live: &[(String, u64)]) -> Vec<(String, u64)> {
        let known = self.links.iter().map(|(name, link)| (name.clone(), link.connection));
        known.filter(|link| !live.contains(link)).collect()
    }

    /// Keeps news of an epoch that is not older than the known one. Among equals the latest wins: a server that lags
    /// causes one failed attempt, while a stop that was reported by mistake must not hide the engine for good.
    fn learn(&mut self, news: PlacementNews, clears: bool, effects: &mut Vec<Effect>) {
        if news.epoch < self.news.epoch {
            return;
        }
        if news.epoch > self.news.epoch {
            self.backoff.reset();
        }
        if clears && news.host.is_some() && self.suspected {
            // Named again by a server: subscribers that had trouble try again.
            self.suspected = false;
            self.again = true;
        }
        self.newest = self.newest.max(news.epoch);
        if !news.servers.is_empty() && (news.servers != self.news.servers || news.address != self.news.address) {
            let mut servers: Vec<_> =
                news.servers.iter().map(|(name, address)| (name.to_string(), address.clone())).collect();
            if let (Some(host), Some(address)) = (&news.host, &news.address)
                && servers.iter().all(|(name, _)| name != host.as_str())
            {
                servers.push((host.to_string(), address.clone()));
            }
            effects.push(Effect::Ensure(servers));
        }
        let servers = if news.servers.is_empty() { std::mem::take(&mut self.news.servers) } else { news.servers };
        self.news = PlacementNews { servers, ..news };
    }

    /// Reports a change to subscribers, and keeps asking servers while no location is known.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        let target = self.target();
        let again = std::mem::take(&mut self.again) && target.is_some();
        if target != self.reported || again {
            self.suspected = false;
            effects.push(match &target {
                Some((name, connection, epoch)) => {
                    Effect::At { name: name.clone(), connection: *connection, epoch: *epoch }
                }
                None => Effect::Gone,
            });
            self.reported = target;
        }
        let seeking = self.reported.is_none() || self.suspected;
        if seeking && !self.seeking && !self.suspected {
            self.ask_all(effects);
        }
        self.seeking = seeking;
        if seeking && !self.waking {
            self.waking = true;
            effects.push(Effect::WakeAfter(self.backoff.delay()));
        }
    }

    fn target(&self) -> Option<Target> {
        let host = self.news.host.as_ref()?.as_str();
        self.links.get(host).map(|link| (host.to_owned(), link.connection, self.news.epoch))
    }

    fn ask_all(&mut self, effects: &mut Vec<Effect>) {
        for (name, link) in &mut self.links {
            if !link.asking {
                link.asking = true;
                effects.push(Effect::Ask { name: name.clone(), connection: link.connection });
            }
        }
    }
}

#[cfg(test)]
mod tests;
