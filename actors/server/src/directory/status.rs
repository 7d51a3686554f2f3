//! `baton status`, composed from what a server knows and what the others report. Pure.

use std::collections::{BTreeMap, BTreeSet};

use baton_client::protocol::{
    DatabaseStatus, EngineState, EngineStatus, QuorumStatus, ServerReport, ServerStatus, Status,
};
use baton_domain::{ClusterState, Role, ServerName, majority};
use baton_replica::{Keeping, StoreStatus};

/// A replica that lags by no more follows by itself.
const FOLLOWS: u64 = 1024;

/// What the status is composed from.
#[derive(Debug, Clone)]
pub struct StatusInput {
    /// The replicated facts, as this server has applied them.
    pub cluster: ClusterState,
    /// This server's place in the store.
    pub store: StoreStatus,
    /// What each server that answered says of itself, this one included.
    pub reports: BTreeMap<ServerName, ServerReport>,
    /// Why the storage leader keeps the engine stopped, if it said so.
    pub leader_why: Option<String>,
}

/// Composes the status.
#[must_use]
pub fn compose_status(input: &StatusInput) -> Status {
    let hosts = input.cluster.hosts();
    let preferred = input.cluster.policy.preference(&hosts);
    let last_index =
        input.reports.values().map(|report| report.applied).chain([input.store.last_index]).max().unwrap_or(0);
    let leader = input.reports.values().find(|report| report.leads);
    let servers = input.cluster.members.iter().map(|member| {
        let report = input.reports.get(&member.name);
        let lag = report.map(|report| last_index.saturating_sub(report.applied));
        ServerStatus {
            name: member.name.clone(),
            role: member.role,
            up: report.is_some(),
            engine: report.map_or("unknown", |report| engine_word(report, member.role)).to_owned(),
            leader: report.is_some_and(|report| report.leads),
            lag,
            preference: preferred
                .iter()
                .position(|name| *name == member.name)
                .and_then(|place| u32::try_from(place + 1).ok()),
            trouble: report.and_then(|report| trouble(report, leader, lag)),
            fail_back: leader.and_then(|leader| leader.waits.iter().find(|wait| wait.server == member.name)).cloned(),
        }
    });
    let quorum = quorum(input);
    let (engine, servers) = (engine(input, quorum), servers.collect());
    Status { engine, policy: input.cluster.policy.clone(), servers, quorum, database: database(input) }
}

/// What is wrong with a server, or what it is busy with.
fn trouble(report: &ServerReport, leader: Option<&ServerReport>, lag: Option<u64>) -> Option<String> {
    let odd = leader.filter(|leader| leader.election_max_ms != report.election_max_ms).map(|leader| {
        format!(
            "its {} is {}, but that of {} is {}: set the same value on all servers",
            if report.database.is_some() { "lease_ms" } else { "election_max_ms" },
            report.election_max_ms,
            leader.name,
            leader.election_max_ms
        )
    });
    // A transfer that broke off shows until the next one: of a replica that is level it says nothing.
    let filling = report.filling.filter(|_| lag.is_some_and(|lag| lag > FOLLOWS)).map(|(arrived, bytes)| {
        let percent = (u128::from(arrived) * 100).checked_div(bytes.into()).unwrap_or(100);
        format!("its replica is being filled: {percent} % of {} MiB", bytes.div_ceil(1024 * 1024))
    });
    report.trouble.clone().or(odd).or(filling)
}

fn engine_word(report: &ServerReport, role: Role) -> &'static str {
    match (role, report.engine) {
        (Role::Witness, _) => "none",
        (Role::Server, EngineState::Standby) => "standby",
        (Role::Server, EngineState::Starting) => "starting",
        (Role::Server, EngineState::Started) => "started",
        (Role::Server, EngineState::Stopping) => "stopping",
    }
}

/// The database as the storage leader sees it, else as any server that it answers.
fn database(input: &StatusInput) -> Option<DatabaseStatus> {
    let seen = |report: &ServerReport| report.database.clone();
    let leader = input.reports.values().find(|report| report.leads).and_then(seen);
    let mut all = input.reports.values().filter_map(seen);
    leader.or_else(|| all.clone().find(|database| database.reached)).or_else(|| all.next())
}

fn quorum(input: &StatusInput) -> QuorumStatus {
    // A store in a database needs no majority.
    let Some((voters, _)) = input.store.votes() else { return QuorumStatus { needed: 0, up: 0 } };
    let up: BTreeSet<_> =
        input.reports.values().filter_map(|report| report.replica).filter(|replica| voters.contains(replica)).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    QuorumStatus { needed: count(majority(voters.len())), up: count(up.len()) }
}

fn engine(input: &StatusInput, quorum: QuorumStatus) -> EngineStatus {
    let placement = input.cluster.placement.as_ref();
    // The instance that runs under the newest epoch is the engine; an older one that does not know yet is not.
    let instance = input
        .reports
        .values()
        .filter(|report| report.engine != EngineState::Standby)
        .max_by_key(|report| report.epoch)
        .filter(|report| report.epoch >= placement.map(|placement| placement.epoch));
    if let Some(report) = instance {
        let state = match report.engine {
            EngineState::Started => "started",
            EngineState::Starting | EngineState::Standby => "starting",
            EngineState::Stopping => "stopping",
        };
        let current = placement.filter(|placement| Some(placement.epoch) == report.epoch);
        return EngineStatus {
            state: state.to_owned(),
            server: Some(report.name.clone()),
            epoch: report.epoch.map(|epoch| epoch.to_string()),
            since: current.map(|placement| placement.at_ms),
            reason: current.map_or_else(String::new, |placement| placement.reason.to_string()),
        };
    }
    let reason = if quorum.up < quorum.needed {
        let lost = placement
            .filter(|placement| input.cluster.stopped.is_none() && !input.reports.contains_key(&placement.host));
        let last = lost.map_or_else(String::new, |lost| format!("; {}, its last host, is not among them", lost.host));
        format!("no quorum: {} of the {} voters needed for a majority can be reached{last}", quorum.up, quorum.needed)
    } else if let Some(why) = input.leader_why.as_ref().filter(|why| !why.is_empty()) {
        why.clone()
    } else if let Some(database) = database(input).filter(|database| !database.reached) {
        format!(
            "the database does not answer{}",
            if database.name.is_empty() { String::new() } else { format!(": {}", database.name) }
        )
    } else if !input.reports.values().any(|report| report.leads) {
        match input.store.keeping {
            Keeping::Replicas { .. } => "the servers are electing a storage leader".to_owned(),
            Keeping::Log(_) => "no server holds the lease in the database yet".to_owned(),
        }
    } else {
        match &input.cluster.stopped {
            Some(stopped) => format!("stopped: {}", stopped.reason),
            None => "the storage leader is about to place it".to_owned(),
        }
    };
    EngineStatus { state: "stopped".to_owned(), server: None, epoch: None, since: None, reason }
}

#[cfg(test)]
mod tests {
    use baton_client::protocol::PlacementNews;
    use baton_domain::{ActivationReason, Epoch, Member, Placement, ReplicaId};
    use baton_replica::LogHealth;

    use super::*;

    fn name(number: u64) -> ServerName {
        ServerName::new(format!("server{number}")).unwrap()
    }

    fn report(number: u64, engine: EngineState, epoch: Option<u64>) -> (ServerName, ServerReport) {
        let report = ServerReport {
            name: name(number),
            role: Role::Server,
            replica: Some(ReplicaId(number)),
            engine,
            epoch: epoch.map(|index| Epoch { generation: 0, index }),
            leads: engine == EngineState::Started,
            applied: 10,
            reaches: Vec::new(),
            free_bytes: 0,
            trouble: None,
            at_need: false,
            why: String::new(),
            filling: None,
            election_max_ms: 340,
            leaving: false,
            waits: Vec::new(),
            database: None,
        };
        (name(number), report)
    }

    fn input(reports: Vec<(ServerName, ServerReport)>) -> StatusInput {
        let members = (1..=3).map(|number| Member {
            name: name(number),
            role: Role::Server,
            address: format!("h:{number}"),
            replica: ReplicaId(number),
        });
        let placement = Placement {
            host: name(1),
            epoch: Epoch { generation: 0, index: 5 },
            reason: ActivationReason::Start,
            at_ms: 7,
        };
        let cluster =
            ClusterState { members: members.collect(), placement: Some(placement), ..ClusterState::default() };
        let (voters, learners) = ((1..=3).map(ReplicaId).collect(), BTreeSet::new());
        let keeping = Keeping::Replicas { voters, learners, quorum_acked: None };
        let store = StoreStatus { keeping, last_index: 12, ..StoreStatus::default() };
        StatusInput { cluster, store, reports: reports.into_iter().collect(), leader_why: None }
    }

    #[test]
    fn the_instance_under_the_newest_epoch_is_the_engine() {
        let status = compose_status(&input(vec![
            report(1, EngineState::Started, Some(5)),
            report(2, EngineState::Standby, None),
        ]));
        assert_eq!((status.engine.state.as_str(), status.engine.server), ("started", Some(name(1))));
        assert_eq!((status.quorum.needed, status.quorum.up), (2, 2));
        assert_eq!(
            (status.servers[2].up, status.servers[2].engine.as_str(), status.servers[2].lag),
            (false, "unknown", None)
        );
        assert_eq!(status.servers[0].preference, Some(1));
    }

    #[test]
    fn a_replica_that_is_filled_and_a_lease_that_differs_are_shown() {
        let mut filled = report(2, EngineState::Standby, None);
        (filled.1.applied, filled.1.filling) = (0, Some((30 << 20, 100 << 20)));
        let mut odd = report(3, EngineState::Standby, None);
        odd.1.election_max_ms = 200;
        let mut input = input(vec![report(1, EngineState::Started, Some(5)), filled, odd]);
        input.store.last_index = 5_000;
        let trouble = |input: &StatusInput| -> Vec<Option<String>> {
            compose_status(input).servers.into_iter().map(|server| server.trouble).collect()
        };
        let told = trouble(&input);
        assert_eq!(told[0], None);
        assert_eq!(told[1].as_deref(), Some("its replica is being filled: 30 % of 100 MiB"));
        let lease = "its election_max_ms is 200, but that of server1 is 340: set the same value on all servers";
        assert_eq!(told[2].as_deref(), Some(lease));
        for report in input.reports.values_mut() {
            report.applied = 5_000;
        }
        assert_eq!(trouble(&input)[1], None, "it is level: the transfer broke off");
    }

    #[test]
    fn an_instance_of_an_older_epoch_is_not_the_engine() {
        let status = compose_status(&input(vec![
            report(2, EngineState::Started, Some(4)),
            report(3, EngineState::Standby, None),
        ]));
        assert_eq!(status.engine.state, "stopped");
    }

    #[test]
    fn without_a_quorum_the_status_says_so() {
        let status = compose_status(&input(vec![report(3, EngineState::Standby, None)]));
        assert_eq!(status.engine.state, "stopped");
        assert!(status.engine.reason.contains("no quorum: 1 of the 2"), "{}", status.engine.reason);
    }

    /// For a store in a database one server of three is enough; the database may be missing.
    #[test]
    fn over_a_database_the_status_names_no_quorum_and_says_who_does_not_answer() {
        let database = |reached| {
            let keeping = Keeping::Log(LogHealth { reached, timeline: 3, ..LogHealth::default() });
            super::super::arguments::database(&keeping)
        };
        let with = |reports: Vec<(u64, bool)>| {
            let reports = reports.into_iter().map(|(number, reached)| {
                let (name, mut report) = report(number, EngineState::Standby, None);
                (report.database, report.leads) = (database(reached), number == 3);
                (name, report)
            });
            let mut input = input(reports.collect());
            input.store.keeping = Keeping::Log(LogHealth::default());
            compose_status(&input)
        };
        let status = with(vec![(3, true)]);
        assert_eq!((status.quorum.needed, status.quorum.up), (0, 0));
        assert_eq!(status.engine.reason, "the storage leader is about to place it");
        assert_eq!(status.database.map(|database| (database.reached, database.timeline)), Some((true, 3)));
        assert!(with(vec![(1, false), (2, true)]).database.unwrap().reached, "one that reaches it knows best");
        assert_eq!(with(vec![(2, true)]).engine.reason, "no server holds the lease in the database yet");
        assert_eq!(with(vec![(1, false)]).engine.reason, "the database does not answer");
    }

    #[test]
    fn a_stopped_engine_has_no_host_in_the_news() {
        let mut cluster = input(Vec::new()).cluster;
        assert_eq!(PlacementNews::of(&cluster).address.as_deref(), Some("h:1"));
        cluster.stopped = Some(baton_domain::Stopped {
            epoch: cluster.epoch(),
            reason: baton_domain::StopReason::Placed(baton_domain::ActivationReason::Move),
            at_ms: 0,
        });
        assert_eq!(PlacementNews::of(&cluster).host, None);
    }
}
