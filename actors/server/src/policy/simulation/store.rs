//! The replicated store as policies see it: who leads under which lease, what is committed, and what is applied where.
//! Elections and leases follow the rules that the store's own simulation checks the real one by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_domain::clock::BootTime;
use baton_domain::{
    ClusterId, ClusterState, Command, Epoch, Member, Placement, Policy, ReplicaId, Role, Stopped, majority,
};
use baton_replica::{Follower, Keeping, StoreStatus};

use super::name;
use crate::policy::MembershipStep;

/// A follower that heard its leader elects nobody for so long, in milliseconds; a leader's lease is shorter.
const ELECTION_MS: u64 = 340;
const LEASE_MS: u64 = 300;
/// A hand-over that nobody took is over.
const TRANSFER_MS: u64 = 500;

pub(super) fn boot(ms: u64) -> BootTime {
    BootTime((1_000_000 + ms) * 1_000_000)
}

/// The same numbers from the same seed; SplitMix64.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pending,
    Committed(u64),
    /// Not written, or nobody knows.
    Lost,
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) up: bool,
    pub(super) frozen_until: u64,
    pub(super) term: u64,
    pub(super) leads: bool,
    pub(super) leader: Option<usize>,
    pub(super) lease_until: u64,
    pub(super) cluster: Arc<ClusterState>,
    applied: usize,
    /// How much of what is committed it holds ...
    matched: usize,
    /// ... and how much it knows to be committed.
    told: usize,
    heard: u64,
    patience: u64,
    acked: BTreeMap<usize, u64>,
    own_committed: bool,
    given_away: bool,
    proposed: Vec<(u64, Command)>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) now: u64,
    pub(super) replicas: Vec<Replica>,
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) dice: Dice,
    /// What is committed, from index 1.
    log: Vec<Command>,
    voters: BTreeSet<usize>,
    learners: BTreeSet<usize>,
    fates: BTreeMap<u64, Fate>,
    transfers: Vec<(usize, usize, u64)>,
    proposals: u64,
}

fn id(replica: usize) -> ReplicaId {
    ReplicaId(replica as u64 + 1)
}

fn number(replica: ReplicaId) -> usize {
    replica.0 as usize - 1
}

impl Store {
    pub(super) fn new(hosts: usize, witnesses: usize, dice: u64) -> Self {
        let count = hosts + witnesses;
        let role = |number| if number < hosts { Role::Server } else { Role::Witness };
        let member =
            |number| Member { name: name(number), role: role(number), address: String::new(), replica: id(number) };
        let cluster = Arc::new(ClusterState {
            cluster: Some(ClusterId([1; 16])),
            members: (0..count).map(member).collect(),
            ..ClusterState::default()
        });
        let replica = |number: usize| Replica {
            up: true,
            frozen_until: 0,
            term: 0,
            leads: false,
            leader: None,
            lease_until: 0,
            cluster: cluster.clone(),
            applied: 0,
            matched: 0,
            told: 0,
            heard: 0,
            patience: 30 * number as u64,
            acked: BTreeMap::new(),
            own_committed: false,
            given_away: false,
            proposed: Vec::new(),
        };
        Self {
            now: 0,
            replicas: (0..count).map(replica).collect(),
            cut: BTreeSet::new(),
            dice: Dice(dice),
            log: Vec::new(),
            voters: (0..count).collect(),
            learners: BTreeSet::new(),
            fates: BTreeMap::new(),
            transfers: Vec::new(),
            proposals: 0,
        }
    }

    /// Whether its process runs now.
    pub(super) fn runs(&self, replica: usize) -> bool {
        self.replicas[replica].up && self.replicas[replica].frozen_until <= self.now
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || (self.runs(from) && self.runs(to) && !self.cut.contains(&(from, to)))
    }

    pub(super) fn exchange(&self, one: usize, other: usize) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    pub(super) fn kill(&mut self, number: usize) {
        let lost: Vec<u64> = self.replicas[number].proposed.drain(..).map(|(proposal, _)| proposal).collect();
        self.fates.extend(lost.into_iter().map(|proposal| (proposal, Fate::Lost)));
        let replica = &mut self.replicas[number];
        (replica.up, replica.leads, replica.leader, replica.lease_until) = (false, false, None, 0);
    }

    pub(super) fn restart(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        (replica.up, replica.frozen_until) = (true, 0);
        // It may have acknowledged a lease and does not remember.
        replica.heard = self.now;
    }

    pub(super) fn propose(&mut self, number: usize, command: Command) -> u64 {
        self.proposals += 1;
        let proposal = self.proposals;
        let replica = &mut self.replicas[number];
        let takes = replica.leads && !replica.given_away;
        if takes {
            replica.proposed.push((proposal, command));
        }
        self.fates.insert(proposal, if takes { Fate::Pending } else { Fate::Lost });
        proposal
    }

    pub(super) fn fate(&self, proposal: u64) -> Fate {
        self.fates[&proposal]
    }

    /// Gives leadership up; whether anybody takes it shows later. Until when to wait; an error at once.
    pub(super) fn hand_over(&mut self, from: usize, to: ReplicaId) -> Result<u64, ()> {
        let to = number(to);
        let level = self.replicas[to].matched == self.log.len() && self.replicas[from].proposed.is_empty();
        let heard = self.replicas[from].acked.get(&to).is_some_and(|acked| self.now - acked <= ELECTION_MS);
        let leader = &mut self.replicas[from];
        if !leader.leads || leader.given_away || !level || !heard || !self.voters.contains(&to) {
            return Err(());
        }
        (leader.given_away, leader.lease_until) = (true, 0);
        self.transfers.push((from, to, self.now + 10));
        Ok(self.now + TRANSFER_MS)
    }

    pub(super) fn change_members(&mut self, from: usize, step: &MembershipStep) {
        let reached = |store: &Self, voters: &BTreeSet<usize>| {
            voters.iter().filter(|voter| store.exchange(from, **voter)).count() >= majority(voters.len())
        };
        if !self.replicas[from].leads || self.replicas[from].given_away || !reached(self, &self.voters) {
            return;
        }
        match step {
            MembershipStep::AddLearner { member } => drop(self.learners.insert(number(member.replica))),
            MembershipStep::Change { voters, learners, .. } => {
                let voters: BTreeSet<usize> = voters.iter().map(|voter| number(*voter)).collect();
                if reached(self, &voters) {
                    self.voters = voters;
                    self.learners = learners.iter().map(|learner| number(*learner)).collect();
                }
            }
        }
    }

    /// One moment of consensus.
    pub(super) fn tick(&mut self) {
        for leader in 0..self.replicas.len() {
            if self.runs(leader) && self.replicas[leader].leads && !self.replicas[leader].given_away {
                self.lead(leader);
            }
        }
        for (from, to, at) in std::mem::take(&mut self.transfers) {
            if at > self.now {
                self.transfers.push((from, to, at));
            } else if self.reaches(from, to) {
                // Its leader wants it: nobody's lease is in the way.
                self.elect(to, 0);
            }
        }
        for candidate in 0..self.replicas.len() {
            let replica = &self.replicas[candidate];
            let silent = self.now - replica.heard >= ELECTION_MS + replica.patience;
            if self.runs(candidate) && self.voters.contains(&candidate) && !replica.leads && silent {
                self.replicas[candidate].patience = self.dice.below(160);
                self.elect(candidate, ELECTION_MS);
            }
        }
        for number in 0..self.replicas.len() {
            if self.runs(number) {
                self.apply(number);
            }
        }
    }

    fn step_down(&mut self, number: usize, term: u64) {
        let replica = &mut self.replicas[number];
        (replica.leads, replica.term, replica.leader, replica.lease_until) = (false, term, None, 0);
        let lost: Vec<u64> = replica.proposed.drain(..).map(|(proposal, _)| proposal).collect();
        self.fates.extend(lost.into_iter().map(|proposal| (proposal, Fate::Lost)));
    }

    /// A leader's heartbeats, their answers, and what follows from them.
    fn lead(&mut self, leader: usize) {
        let term = self.replicas[leader].term;
        for other in 0..self.replicas.len() {
            if other == leader || !self.reaches(leader, other) {
                continue;
            }
            if self.replicas[other].term > term {
                if self.reaches(other, leader) {
                    return self.step_down(leader, self.replicas[other].term);
                }
                continue;
            }
            if self.replicas[other].leads {
                self.step_down(other, term);
            }
            let level = self.log.len();
            let replica = &mut self.replicas[other];
            (replica.term, replica.leader, replica.heard) = (term, Some(leader), self.now);
            (replica.matched, replica.told) = (level, level);
            if self.reaches(other, leader) {
                self.replicas[leader].acked.insert(other, self.now);
            }
        }
        let mut acked: Vec<u64> =
            self.voters
                .iter()
                .map(|voter| {
                    if *voter == leader {
                        self.now
                    } else {
                        self.replicas[leader].acked.get(voter).copied().unwrap_or(0)
                    }
                })
                .collect();
        acked.sort_unstable();
        let quorum = acked[acked.len() - majority(acked.len())];
        if quorum < self.now {
            return;
        }
        let replica = &mut self.replicas[leader];
        (replica.own_committed, replica.heard) = (true, self.now);
        replica.lease_until = quorum + LEASE_MS;
        for (proposal, command) in std::mem::take(&mut self.replicas[leader].proposed) {
            self.log.push(command);
            self.fates.insert(proposal, Fate::Committed(self.log.len() as u64));
        }
        // It came with the heartbeat, and is committed because a majority holds it.
        let level = self.log.len();
        let acked = self.replicas[leader].acked.clone();
        for (other, _) in acked.into_iter().filter(|(_, at)| *at == self.now) {
            self.replicas[other].matched = level;
        }
        (self.replicas[leader].matched, self.replicas[leader].told) = (level, level);
    }

    /// Makes `candidate` the leader if a majority that heard nobody for so long votes for it.
    fn elect(&mut self, candidate: usize, silence: u64) {
        let votes = |voter: &usize| {
            let replica = &self.replicas[*voter];
            let free = *voter == candidate || self.now - replica.heard >= silence;
            self.exchange(candidate, *voter) && free && replica.matched <= self.replicas[candidate].matched
        };
        let voters: Vec<usize> = self.voters.iter().copied().filter(votes).collect();
        if !self.runs(candidate) || voters.len() < majority(self.voters.len()) {
            return;
        }
        let term = 1 + voters.iter().map(|voter| self.replicas[*voter].term).max().unwrap_or(0);
        for voter in voters {
            self.step_down(voter, term);
            let replica = &mut self.replicas[voter];
            (replica.leader, replica.heard) = (Some(candidate), self.now);
        }
        let replica = &mut self.replicas[candidate];
        assert_eq!(replica.matched, self.log.len(), "whoever is elected holds all that is committed");
        (replica.leads, replica.given_away, replica.own_committed) = (true, false, false);
        replica.acked.clear();
    }

    fn apply(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        // A few at a time: not all see everything at once.
        let end = replica.told.min(replica.applied + 2);
        while replica.applied < end {
            let command = &self.log[replica.applied];
            replica.applied += 1;
            let index = replica.applied as u64;
            apply(Arc::make_mut(&mut replica.cluster), index, command);
        }
    }

    /// How many activations are committed.
    pub(super) fn activations(&self) -> usize {
        self.log.iter().filter(|command| matches!(command, Command::Activate { .. })).count()
    }

    pub(super) fn status(&self, number: usize) -> StoreStatus {
        let replica = &self.replicas[number];
        let followers = self.replicas.iter().enumerate().filter(|(other, _)| *other != number).map(|(other, state)| {
            let heard = replica.acked.get(&other).map(|acked| boot(*acked));
            (id(other), Follower { matched: state.matched as u64, heard, may_lead: self.voters.contains(&other) })
        });
        StoreStatus {
            leads: replica.leads,
            leader: replica.leader.map(id),
            term: replica.term,
            last_index: replica.matched as u64,
            applied: replica.applied as u64,
            followers: if replica.leads { followers.collect() } else { BTreeMap::new() },
            keeping: Keeping::Replicas {
                voters: self.voters.iter().copied().map(id).collect(),
                learners: self.learners.iter().copied().map(id).collect(),
                quorum_acked: None,
            },
            failed: None,
        }
    }
}

/// What the commands that policies commit do to the facts.
fn apply(cluster: &mut ClusterState, index: u64, command: &Command) {
    match command {
        Command::Activate { host, reason, at_ms } => {
            let epoch = Epoch { generation: 0, index };
            let placement = Placement { host: host.clone(), epoch, reason: *reason, at_ms: *at_ms };
            cluster.history.push(placement.clone());
            cluster.placement = Some(placement);
            cluster.stopped = None;
            if cluster.hold.as_ref() != Some(host) {
                cluster.hold = None;
            }
        }
        Command::Stop { epoch, reason, at_ms } if *epoch == cluster.epoch() && cluster.stopped.is_none() => {
            cluster.stopped = Some(Stopped { epoch: *epoch, reason: reason.clone(), at_ms: *at_ms });
        }
        Command::SetPolicy { policy } => {
            cluster.policy = Policy::clone(policy);
            cluster.hold = None;
        }
        Command::Hold { server } => cluster.hold.clone_from(server),
        Command::Stop { .. } => {}
        other @ (Command::Genesis { .. }
        | Command::Admit { .. }
        | Command::Dismiss { .. }
        | Command::Marker { .. }
        | Command::Once { .. }
        | Command::Recall { .. }
        | Command::SetAddress { .. }
        | Command::ChangePolicy { .. }
        | Command::Engine { .. }) => unreachable!("nobody commits {other:?} here"),
    }
}
