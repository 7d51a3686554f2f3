//! A cluster in simulated time, and what must hold of it.

use std::collections::BTreeMap;

use baton_client::protocol::EngineState;
use baton_domain::{ActivationReason, Command, Epoch, Policy, Role, ServerName};

use super::server::{Left, Server};
use super::store::Store;
use super::{Fault, name};

/// The step of the simulated time, in milliseconds.
const TICK_MS: u64 = 10;
/// How long it may take until the engine is where the policy says, when all is whole: hand-overs that failed many times
/// are not tried again for minutes.
const REST_MS: u64 = 900_000;
/// Within which the policies have seen what was changed last.
const SEEN_MS: u64 = 1_000;
/// How long it must stay there then.
const STAY_MS: u64 = 15_000;

#[derive(Debug)]
pub(super) struct World {
    store: Store,
    servers: Vec<Server>,
    hosts: usize,
    /// The newest epoch that something left, and where.
    newest: Option<(Epoch, usize)>,
    served: u64,
}

impl World {
    pub(super) fn new(hosts: usize, witnesses: usize, dice: u64) -> Self {
        Self {
            store: Store::new(hosts, witnesses, dice),
            servers: (0..hosts + witnesses).map(|number| Server::new(number, 0)).collect(),
            hosts,
            newest: None,
            served: 0,
        }
    }

    fn host(&self) -> Option<usize> {
        self.servers.iter().position(|server| server.engine.view().state == EngineState::Started)
    }

    /// Whether the engine is started on that server.
    pub(super) fn hosts_on(&self, number: usize) -> bool {
        self.host() == Some(number)
    }

    /// How often the engine was activated.
    pub(super) fn activations(&self) -> usize {
        self.store.activations()
    }

    fn kill(&mut self, number: usize) {
        self.store.kill(number);
        // Nothing is left of what it remembered.
        self.servers[number] = Server::new(number, self.store.now);
    }

    fn restart(&mut self) {
        for number in 0..self.servers.len() {
            if !self.store.replicas[number].up {
                self.store.restart(number);
                self.servers[number] = Server::new(number, self.store.now);
            }
        }
    }

    fn propose(&mut self, command: Command) {
        if let Some(leader) = self.store.replicas.iter().position(|replica| replica.leads && replica.up) {
            self.store.propose(leader, command);
        }
    }

    fn cut(&mut self, one: usize, other: usize) {
        self.store.cut.extend([(one, other), (other, one)]);
    }

    pub(super) fn fault(&mut self, fault: &Fault) {
        let count = self.servers.len();
        match fault {
            Fault::Calm => {}
            Fault::Kill(number) => self.kill(number % count),
            Fault::KillHost => self.host().into_iter().for_each(|host| self.kill(host)),
            Fault::Restart => self.restart(),
            Fault::Freeze(number, ms) => self.store.replicas[number % count].frozen_until = self.store.now + ms,
            Fault::FreezeHost(ms) => {
                if let Some(host) = self.host() {
                    self.store.replicas[host].frozen_until = self.store.now + ms;
                }
            }
            Fault::Cut(one, other) => self.cut(one % count, other % count),
            Fault::CutOneWay(from, to) => drop(self.store.cut.insert((from % count, to % count))),
            Fault::Isolate(number) => (0..count).for_each(|other| self.cut(number % count, other)),
            Fault::IsolateHost => {
                if let Some(host) = self.host() {
                    (0..count).for_each(|other| self.cut(host, other));
                }
            }
            Fault::Heal => self.store.cut.clear(),
            Fault::Break(number, ms) => self.servers[number % count].broken_until = self.store.now + ms,
            Fault::Leave(number) => {
                let number = number % count;
                if self.store.replicas[number].up {
                    self.servers[number].policy.leave();
                    self.servers[number].leaving = true;
                }
            }
            Fault::SetPolicy(policy) => {
                let mut policy = Policy::clone(policy);
                policy.preferred.retain(|server| (0..self.hosts).any(|host| name(host) == *server));
                policy.preferred_only &= !policy.preferred.is_empty();
                self.propose(Command::SetPolicy { policy });
            }
            Fault::Move(to) => self.propose(Command::Hold { server: Some(name(to % self.hosts)) }),
        }
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.store.now + ms;
        while self.store.now < end {
            self.tick(TICK_MS);
        }
    }

    fn tick(&mut self, ms: u64) {
        self.store.now += ms;
        // A process that wakes up may do anything first.
        let store_first = self.store.dice.below(2) == 0;
        if store_first {
            self.store.tick();
        }
        for number in 0..self.servers.len() {
            if !self.store.runs(number) {
                continue;
            }
            let answer = |other: usize| other != number && self.store.exchange(number, other);
            let others: BTreeMap<_, _> = (0..self.servers.len())
                .filter(|other| answer(*other))
                .map(|other| (other, (self.servers[other].incarnation, self.servers[other].report(&self.store))))
                .collect();
            let left = self.servers[number].tick(&mut self.store, &others);
            left.into_iter().for_each(|left| self.left(left));
            if self.servers[number].leaving && self.servers[number].policy.may_leave() {
                self.kill(number);
            }
        }
        if !store_first {
            self.store.tick();
        }
        self.check_leases();
    }

    /// Invariant 2: nothing leaves an engine once anything left a newer one, and an epoch is served at one server.
    fn left(&mut self, Left { server, epoch }: Left) {
        if let Some((newest, by)) = self.newest {
            let now = self.store.now;
            assert!(epoch >= newest, "{now} ms: {epoch} left server {server} after {newest} had left server {by}");
            assert!(epoch > newest || server == by, "{now} ms: {epoch} left servers {by} and {server}");
        }
        self.newest = Some((epoch, server));
        self.served += 1;
    }

    /// Invariant 2: no two engines serve under a lease at one moment.
    fn check_leases(&self) {
        let serves = |number: &usize| {
            let state = self.servers[*number].engine.view().state;
            matches!(state, EngineState::Started | EngineState::Stopping)
                && self.store.now < self.store.replicas[*number].lease_until
        };
        let serving: Vec<usize> = (0..self.servers.len()).filter(serves).collect();
        assert!(serving.len() <= 1, "{} ms: servers {serving:?} serve", self.store.now);
    }

    /// Where the engine may be when everybody is up; empty if nowhere. The policies' own words, told again.
    fn belongs(&self) -> Vec<ServerName> {
        let cluster = self.store.replicas.iter().max_by_key(|replica| replica.cluster.epoch()).unwrap().cluster.clone();
        let policy = &cluster.policy;
        let hosts: Vec<ServerName> = cluster
            .members
            .iter()
            .filter(|member| member.role == Role::Server)
            .map(|member| member.name.clone())
            .collect();
        let allowed: Vec<ServerName> =
            hosts.into_iter().filter(|host| !policy.preferred_only || policy.preferred.contains(host)).collect();
        let only = |server: &ServerName| vec![server.clone()];
        if let Some(hold) = cluster.hold.as_ref().filter(|hold| allowed.contains(hold)) {
            return only(hold);
        }
        match (&cluster.placement, policy.preferred.first()) {
            // Manual: where it was.
            (Some(placement), _) if policy.manual && allowed.contains(&placement.host) => only(&placement.host),
            (_, Some(first)) if policy.fail_back && !policy.manual => only(first),
            _ => allowed,
        }
    }

    fn settled(&self) -> bool {
        let started: Vec<usize> = (0..self.servers.len())
            .filter(|number| self.servers[*number].engine.view().state == EngineState::Started)
            .collect();
        // One that is about to leave takes the engine with it.
        self.servers.iter().all(|server| !server.leaving)
            && matches!(started[..], [host] if self.belongs().contains(&name(host)))
            && started.iter().all(|host| self.store.now < self.store.replicas[*host].lease_until)
    }

    fn manual_and_nowhere(&self) -> bool {
        let cluster = &self.store.replicas.iter().max_by_key(|replica| replica.cluster.epoch()).unwrap().cluster;
        let last = cluster.placement.as_ref().map(|placement| placement.host.clone());
        let forbidden =
            last.is_some_and(|last| cluster.policy.preferred_only && !cluster.policy.preferred.contains(&last));
        cluster.policy.manual && forbidden
    }

    /// All is whole: the engine comes to where the policy says, and stays.
    pub(super) fn come_to_rest(&mut self) {
        self.store.cut.clear();
        self.store.replicas.iter_mut().for_each(|replica| replica.frozen_until = 0);
        self.servers.iter_mut().for_each(|server| server.broken_until = 0);
        let rested = self.store.now + REST_MS;
        let fine = self.store.now + 30_000;
        // What was changed last is about to have its effect.
        let seen = self.store.now + SEEN_MS;
        while !self.settled() || self.store.now < seen {
            // Who was leaving is gone, and comes back.
            self.restart();
            let nowhere = self.manual_and_nowhere() && self.store.now > fine;
            if nowhere {
                // A manual policy forbids where it was: it stays stopped until somebody moves it.
                return;
            }
            assert!(self.store.now < rested, "the engine belongs on {:?}: {:#?}", self.belongs(), self.words());
            self.tick(if self.store.now < fine { TICK_MS } else { 5 * TICK_MS });
        }
        let served = self.served;
        let mut activations = self.stay();
        // A list that was changed is followed once the server that it names can take the engine.
        if self.store.activations() != activations && self.placed_by_policy_change() {
            activations = self.stay();
        }
        assert!(self.settled(), "it did not stay: {:#?}", self.words());
        assert!(self.served > served, "an engine that is started serves");
        assert_eq!(self.store.activations(), activations, "activated without a reason: {:#?}", self.words());
    }

    /// Lets time pass; answers how many activations there were before.
    fn stay(&mut self) -> usize {
        let activations = self.store.activations();
        let until = self.store.now + STAY_MS;
        while self.store.now < until {
            self.tick(TICK_MS);
            self.restart();
        }
        activations
    }

    fn placed_by_policy_change(&self) -> bool {
        let newest = self.store.replicas.iter().filter_map(|replica| replica.cluster.placement.as_ref());
        let newest = newest.max_by_key(|placement| placement.epoch);
        newest.is_some_and(|placement| placement.reason == ActivationReason::PolicyChange)
    }

    fn words(&self) -> Vec<String> {
        let words = self.servers.iter().zip(&self.store.replicas).enumerate().map(|(number, (server, replica))| {
            let view = server.engine.view();
            format!(
                "server{number}: up {}, leads {} in {}, lease until {} of {}, engine {:?} {:?} ({}), policy says {:?}, own trouble {:?}",
                replica.up,
                replica.leads,
                replica.term,
                replica.lease_until,
                self.store.now,
                view.state,
                view.epoch,
                view.why,
                server.policy.why(),
                server.policy.own_trouble()
            )
        });
        let cluster = &self.store.replicas[0].cluster;
        let facts = format!(
            "{:?} hold {:?} placed {:?} stopped {:?}",
            cluster.policy, cluster.hold, cluster.placement, cluster.stopped
        );
        words.chain([facts]).collect()
    }
}
