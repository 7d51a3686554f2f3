//! The links between the servers: messages arrive late or not at all, and the end of a link is noticed after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::ServerName;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::member::Command;
use super::super::message::{Message, Others, Reply};
use crate::simulation::dice::Dice;

/// A directed pair of servers.
type Pair = (ServerName, ServerName);

/// A process that is up.
struct Process {
    commands: mpsc::UnboundedSender<Command>,
    incarnation: u64,
    frozen: bool,
}

struct State {
    dice: Dice,
    up: BTreeMap<ServerName, Process>,
    cut: BTreeSet<Pair>,
    /// As a server sees its link to another, and since when it is otherwise.
    seen: BTreeMap<Pair, (bool, Option<Instant>)>,
}

/// The links. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Links(Arc<Mutex<State>>);

impl Links {
    pub(super) fn new(seed: u64) -> Self {
        let state = State { dice: Dice::new(seed), up: BTreeMap::new(), cut: BTreeSet::new(), seen: BTreeMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A server's end.
    pub(super) fn end(&self, own: ServerName, incarnation: u64) -> Arc<dyn Others> {
        Arc::new(End { own, incarnation, links: self.clone() })
    }

    pub(super) fn up(&self, server: ServerName, incarnation: u64, commands: mpsc::UnboundedSender<Command>) {
        let mut state = self.0.lock().unwrap();
        state.seen.retain(|(from, _), _| *from != server);
        state.up.insert(server, Process { commands, incarnation, frozen: false });
    }

    /// A process ended. Those that are linked have proof of it, unless its host is lost.
    pub(super) fn down(&self, server: &ServerName, proof: bool) {
        let mut state = self.0.lock().unwrap();
        let Some(process) = state.up.remove(server) else { return };
        let State { dice, up, seen, cut, .. } = &mut *state;
        for (other, end) in up.iter() {
            let pair = (other.clone(), server.clone());
            let linked = seen.get(&pair).is_some_and(|(linked, _)| *linked);
            let open = !cut.contains(&pair) && !cut.contains(&(server.clone(), other.clone()));
            if proof && linked && open && dice.chance(800) {
                let (commands, after) = (end.commands.clone(), Duration::from_millis(1 + dice.below(15)));
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let _ = commands.send(Command::Died(process.incarnation));
                });
            }
        }
    }

    pub(super) fn set_frozen(&self, server: &ServerName, frozen: bool) {
        if let Some(process) = self.0.lock().unwrap().up.get_mut(server) {
            process.frozen = frozen;
        }
    }

    pub(super) fn cut(&self, from: &ServerName, to: &ServerName) {
        self.0.lock().unwrap().cut.insert((from.clone(), to.clone()));
    }

    pub(super) fn mend(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    /// Tells the servers to whom they have links.
    pub(super) async fn watch(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let mut state = self.0.lock().unwrap();
            let State { up, cut, seen, .. } = &mut *state;
            let now = Instant::now();
            for (from, process) in up.iter() {
                let mut changed = false;
                for (to, other) in up.iter().map(|(to, other)| (to, Some(other))).filter(|(to, _)| *to != from) {
                    let _ = other;
                    seen.entry((from.clone(), to.clone())).or_insert((false, None));
                }
                for ((_, to), (linked, since)) in seen.iter_mut().filter(|((of, _), _)| of == from) {
                    let is_cut = cut.contains(&(from.clone(), to.clone())) || cut.contains(&(to.clone(), from.clone()));
                    let alive = up.get(to);
                    let is = alive.is_some_and(|other| !other.frozen) && !is_cut;
                    if is == *linked {
                        *since = None;
                        continue;
                    }
                    let began = *since.get_or_insert(now);
                    // A connection that is closed is noticed at once; silence takes a while.
                    let after = if is {
                        30
                    } else if alive.is_none() && !is_cut {
                        3
                    } else {
                        800
                    };
                    if now.duration_since(began) >= Duration::from_millis(after) {
                        (*linked, *since, changed) = (is, None, true);
                    }
                }
                if changed {
                    let linked = seen.iter().filter(|((of, _), (linked, _))| of == from && *linked);
                    let _ = process.commands.send(Command::Linked(linked.map(|((_, to), _)| to.clone()).collect()));
                }
            }
        }
    }

    /// How long a message takes; `None` if it is lost.
    fn way(&self, from: &ServerName, to: &ServerName) -> Option<Duration> {
        let mut state = self.0.lock().unwrap();
        let open = state.up.contains_key(to) && !state.cut.contains(&(from.clone(), to.clone()));
        open.then(|| Duration::from_micros(50 + state.dice.below(1_000)))
    }
}

struct End {
    own: ServerName,
    incarnation: u64,
    links: Links,
}

impl Others for End {
    fn ask(&self, to: &ServerName, message: Message, timeout: Duration) -> BoxFuture<'static, Option<Reply>> {
        let (own, incarnation, links, to) = (self.own.clone(), self.incarnation, self.links.clone(), to.clone());
        let answer = async move {
            let alive = links.0.lock().unwrap().up.get(&own).is_some_and(|process| process.incarnation == incarnation);
            if !alive {
                return None;
            }
            tokio::time::sleep(links.way(&own, &to)?).await;
            let commands = links.0.lock().unwrap().up.get(&to)?.commands.clone();
            let (sender, reply) = oneshot::channel();
            commands.send(Command::Told(message, sender)).ok()?;
            let reply = reply.await.ok()?;
            tokio::time::sleep(links.way(&to, &own)?).await;
            Some(reply)
        };
        tokio::time::timeout(timeout, answer).map(|answer| answer.ok().flatten()).boxed()
    }
}
