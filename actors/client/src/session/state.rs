//! The session's core: which server hosts the engine, whom to ask, whom to tell.

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

    /// Starts over.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// What happens to a session.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A link to a server is up.
    LinkUp { name: String, connection: u64 },
    /// A link is gone.
    LinkDown { name: String, connection: u64 },
    /// A server told where the engine is.
    News(PlacementNews),
    /// A server answered, or did not.
    Answered { name: String, connection: u64, news: Option<PlacementNews> },
    /// The engine of that epoch did not serve somebody.
    Trouble { epoch: Epoch, news: Option<PlacementNews> },
    /// The engine of that epoch served somebody.
    Works { epoch: Epoch },
    /// The delay of [`Effect::WakeAfter`] is over.
    Wake,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask that server where the engine is.
    Ask { name: String, connection: u64 },
    /// Keep links to these servers.
    Ensure(Vec<(String, String)>),
    /// Tell subscribers that the engine is there.
    At { name: String, connection: u64, epoch: Epoch },
    /// Tell subscribers that the engine is nowhere.
    Gone,
    /// Wake after about that long.
    WakeAfter(Duration),
}

#[derive(Debug)]
struct Link {
    connection: u64,
    asking: bool,
}

/// A host that can be talked to: its name, the link to it, the epoch.
type Target = (String, u64, Epoch);

/// What a session knows.
#[derive(Debug)]
pub(crate) struct State {
    /// Linked servers.
    links: BTreeMap<String, Link>,
    /// The newest news.
    news: PlacementNews,
    /// The newest epoch of news and deliveries.
    newest: Epoch,
    /// What subscribers were told last.
    told: Option<Target>,
    /// Somebody had trouble with what was told, and no server has named it since.
    suspected: bool,
    /// What was told is to be told again.
    again: bool,
    /// Nobody knows where the engine is, or it is suspected.
    seeking: bool,
    /// A wake-up is on its way.
    waking: bool,
    backoff: Backoff,
}

impl Default for State {
    fn default() -> Self {
        Self {
            links: BTreeMap::new(),
            news: PlacementNews::default(),
            newest: Epoch::default(),
            told: None,
            suspected: false,
            again: false,
            seeking: true,
            waking: false,
            backoff: Backoff::new(ASK_FIRST, ASK_LONGEST),
        }
    }
}

impl State {
    /// Takes one input in and says what to do.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::LinkUp { name, connection } => {
                // Each new link is asked, also when the answer is known: from then on that server tells of changes.
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
                // Trouble with an engine that was left behind already is no news.
                if self.told.as_ref().is_none_or(|(_, _, told)| *told == epoch) {
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

    /// Whether a delivery of that epoch is still to be taken.
    pub(crate) fn accepts(&mut self, epoch: Epoch) -> bool {
        self.newest = self.newest.max(epoch);
        epoch == self.newest || seeded::is(Bug::FencingOff)
    }

    /// Whether that link is known.
    pub(crate) fn is_linked(&self, name: &str, connection: u64) -> bool {
        self.links.get(name).is_some_and(|link| link.connection == connection)
    }

    /// The links that are known and not among `live`.
    pub(crate) fn links_not_in(&self, live: &[(String, u64)]) -> Vec<(String, u64)> {
        let known = self.links.iter().map(|(name, link)| (name.clone(), link.connection));
        known.filter(|link| !live.contains(link)).collect()
    }

    /// Keeps news that are not older than what is known. Among equals the latest wins: a server that lags only causes
    /// a vain attempt, while a stop that was reported by mistake must not hide the engine for good.
    fn learn(&mut self, news: PlacementNews, clears: bool, effects: &mut Vec<Effect>) {
        if news.epoch < self.news.epoch {
            return;
        }
        if news.epoch > self.news.epoch {
            self.backoff.reset();
        }
        if clears && news.host.is_some() && self.suspected {
            // Named again by a server: those who had trouble try again.
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

    /// Tells subscribers what changed, and sees to it that somebody is asked while nobody knows.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        let target = self.target();
        let again = std::mem::take(&mut self.again) && target.is_some();
        if target != self.told || again {
            self.suspected = false;
            effects.push(match &target {
                Some((name, connection, epoch)) => {
                    Effect::At { name: name.clone(), connection: *connection, epoch: *epoch }
                }
                None => Effect::Gone,
            });
            self.told = target;
        }
        let seeking = self.told.is_none() || self.suspected;
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
