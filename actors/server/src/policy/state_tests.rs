use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_client::protocol::ServerReport;
use baton_domain::{ClusterId, Epoch, Member, Placement, Policy, StopReason, Stopped};
use baton_replica::{Follower, Keeping, LogHealth, Shortage, StoreStatus};

use super::*;

#[path = "state_history_tests.rs"]
mod history;

const START: BootTime = BootTime(1_000_000_000_000);

fn voting(voters: impl Iterator<Item = ReplicaId>) -> Keeping {
    Keeping::Replicas { voters: voters.collect(), learners: BTreeSet::new(), quorum_acked: None }
}

fn name(number: u64) -> ServerName {
    ServerName::new(format!("server{number}")).unwrap()
}

fn after(seconds: u64) -> BootTime {
    START + Duration::from_secs(seconds)
}

fn policy(me: u64) -> PolicyState {
    PolicyState::new(name(me), PolicyTiming::default(), START)
}

/// What server `me`, leading three servers that are all linked and level, sees at `now`.
fn leading(me: u64, now: BootTime) -> Observation {
    let replicas = || (1..=3).map(ReplicaId);
    let members = (1..=3).map(|number| Member {
        name: name(number),
        role: Role::Server,
        address: String::new(),
        replica: ReplicaId(number),
    });
    let others = (1..=3).filter(|number| *number != me);
    let links = others.map(|number| (name(number), Link { incarnation: 1, replica: Some(ReplicaId(number)) }));
    Observation {
        now,
        unix_ms: now.0 / 1_000_000,
        status: StoreStatus {
            leads: true,
            leader: Some(ReplicaId(me)),
            term: 1,
            last_index: 10,
            applied: 10,
            followers: replicas()
                .map(|replica| (replica, Follower { matched: 10, heard: Some(now), may_lead: true }))
                .collect(),
            keeping: voting(replicas()),
            ..StoreStatus::default()
        },
        lease_holds: true,
        cluster: Arc::new(ClusterState {
            cluster: Some(ClusterId([1; 16])),
            members: members.collect(),
            ..ClusterState::default()
        }),
        engine: (EngineState::Standby, None),
        engine_why: String::new(),
        engine_missing: false,
        waits: Duration::ZERO,
        shortage: None,
        links: links.collect(),
        reports: (1..=3).filter(|number| *number != me).map(|number| (name(number), report(number, &[]))).collect(),
    }
}

/// The same under an operator's list.
fn preferring(mut seen: Observation, list: &[u64], fail_back: bool) -> Observation {
    Arc::make_mut(&mut seen.cluster).policy = Policy {
        assistance: Assistance::None,
        preferred: list.iter().map(|number| name(*number)).collect(),
        fail_back,
        ..Policy::default()
    };
    seen
}

fn report(number: u64, reaches: &[u64]) -> ServerReport {
    ServerReport {
        name: name(number),
        role: Role::Server,
        replica: Some(ReplicaId(number)),
        engine: EngineState::Standby,
        epoch: None,
        leads: false,
        applied: 10,
        reaches: reaches.iter().map(|number| name(*number)).collect(),
        free_bytes: 0,
        trouble: None,
        at_need: false,
        why: String::new(),
        filling: None,
        election_max_ms: 340,
        leaving: false,
        waits: Vec::new(),
        database: None,
    }
}

/// The same with the engine started on `me` at epoch 5.
fn hosting(me: u64, now: BootTime) -> Observation {
    let mut seen = leading(me, now);
    let epoch = Epoch { generation: 0, index: 5 };
    let placement = Placement { host: name(me), epoch, reason: ActivationReason::Start, at_ms: 0 };
    Arc::make_mut(&mut seen.cluster).placement = Some(placement);
    seen.engine = (EngineState::Started, Some(epoch));
    seen
}

#[test]
fn a_server_that_does_not_lead_fences_its_engine() {
    let mut policy = policy(1);
    let mut seen = hosting(1, START);
    assert_eq!(policy.step(&seen), []);
    seen.status.leads = false;
    assert_eq!(policy.step(&seen), [Effect::Fence]);
    seen.engine = (EngineState::Standby, None);
    assert_eq!(policy.step(&seen), []);
}

#[test]
fn without_a_lease_nothing_is_placed() {
    let mut policy = policy(1);
    let mut seen = leading(1, START);
    seen.lease_holds = false;
    assert_eq!(policy.step(&seen), []);
    seen.lease_holds = true;
    assert_eq!(policy.step(&seen), [Effect::Activate { reason: ActivationReason::Start }]);
}

#[test]
fn a_new_leader_decides_by_what_was_written_last() {
    let mut policy = policy(1);
    let mut seen = leading(1, START);
    seen.status.applied = 9;
    assert_eq!(policy.step(&seen), []);
    assert!(policy.why().contains("not applied here yet"), "{}", policy.why());
    // The leader before had just changed the list, and its log goes on meanwhile.
    let mut seen = preferring(leading(1, START), &[2], false);
    seen.status.last_index = 12;
    assert!(matches!(&policy.step(&seen)[..], [Effect::HandOver { to, .. }] if *to == name(2)));
}

#[test]
fn a_server_that_has_not_answered_the_new_leader_is_waited_for() {
    let mut policy = policy(2);
    let mut seen = leading(2, START);
    seen.status.followers.get_mut(&ReplicaId(1)).unwrap().heard = None;
    assert_eq!(policy.step(&seen), []);
    assert!(policy.why().contains("server1"), "{}", policy.why());
    seen.now = after(1);
    assert_eq!(policy.step(&seen), [Effect::Activate { reason: ActivationReason::Start }]);
}

#[test]
fn one_placement_is_under_way_at_a_time() {
    let mut policy = policy(1);
    let seen = leading(1, START);
    assert_eq!(policy.step(&seen), [Effect::Activate { reason: ActivationReason::Start }]);
    assert_eq!(policy.step(&seen), []);
    policy.acted(Outcome::Done, START);
    assert_eq!(policy.step(&seen), [Effect::Activate { reason: ActivationReason::Start }]);
}

#[test]
fn a_failed_hand_over_is_not_tried_again_at_once() {
    let mut policy = policy(2);
    let seen = leading(2, START);
    assert!(matches!(&policy.step(&seen)[..], [Effect::HandOver { to, .. }] if *to == name(1)));
    policy.acted(Outcome::HandOverFailed { to: name(1) }, START);
    assert_eq!(policy.step(&leading(2, START)), [Effect::Activate { reason: ActivationReason::Start }]);
}

#[test]
fn an_engine_that_fails_here_is_moved_on() {
    let mut policy = policy(1);
    policy.step(&leading(1, START));
    policy.acted(Outcome::EngineFailed { why: "no memory".to_owned() }, START);
    assert!(matches!(&policy.step(&leading(1, START))[..], [Effect::HandOver { to, .. }] if *to == name(2)));
    assert_eq!(policy.own_trouble(), Some("no memory"));
    policy.acted(Outcome::Done, START);
    policy.step(&leading(1, after(31)));
    assert_eq!(policy.own_trouble(), None);
}

/// Always running: whoever failed is tried again where nobody else is left, but not at once.
#[test]
fn an_engine_that_failed_where_alone_it_may_run_is_tried_again_after_a_moment() {
    let mut policy = policy(1);
    let mut alone = preferring(leading(1, START), &[1], false);
    Arc::make_mut(&mut alone.cluster).policy.preferred_only = true;
    assert!(matches!(policy.step(&alone)[..], [Effect::Activate { .. }]));
    policy.acted(Outcome::EngineFailed { why: "no memory".to_owned() }, START);
    assert_eq!(policy.step(&alone), []);
    assert!(policy.why().contains("no memory"), "{}", policy.why());
    alone.now = after(1);
    assert!(matches!(policy.step(&alone)[..], [Effect::Activate { .. }]));
    assert!(policy.hosts_at_need() && policy.own_trouble().is_some());
}

/// Self-knowledge: a disk that hangs says nothing, and the host of the engine must not go on as if it had one.
#[test]
fn an_engine_whose_disk_hangs_is_moved_on_and_not_back_at_once() {
    let mut policy = policy(1);
    let mut seen = hosting(1, START);
    seen.waits = Duration::from_millis(900);
    assert_eq!(policy.step(&seen), [], "a slow disk is none that hangs");
    seen.waits = Duration::from_secs(1);
    assert!(
        matches!(&policy.step(&seen)[..], [Effect::HandOver { to, reason: ActivationReason::FailOver, .. }] if *to == name(2))
    );
    assert!(policy.own_trouble().is_some_and(|why| why.contains("disk hangs")), "{:?}", policy.own_trouble());
    policy.acted(Outcome::Done, START);
    let mut database = hosting(1, START);
    database.waits = Duration::from_secs(9);
    database.status.keeping = Keeping::Log(LogHealth::default());
    assert_eq!(self::policy(1).step(&database), [], "a database that hangs does so for all");
    let mut manual = preferring(hosting(1, START), &[1], false);
    Arc::make_mut(&mut manual.cluster).policy.manual = true;
    manual.waits = Duration::from_secs(1);
    assert_eq!(policy.step(&manual), [], "where it moves only when told, it stays");
}

/// A full disk: the others have room. Once there is space, nothing is held against the server.
#[test]
fn an_engine_whose_disk_is_full_is_moved_on_and_the_server_is_fit_as_soon_as_there_is_room() {
    let mut policy = policy(1);
    let mut seen = hosting(1, START);
    seen.shortage = Some(Shortage::Disk);
    assert!(matches!(&policy.step(&seen)[..], [Effect::HandOver { to, .. }] if *to == name(2)));
    assert!(policy.own_trouble().is_some_and(|why| why.contains("disk is nearly full")), "{:?}", policy.own_trouble());
    assert!(!policy.hosts_at_need());
    policy.acted(Outcome::Done, START);
    seen.now = after(1);
    policy.step(&seen);
    assert!(policy.hosts_at_need(), "where no other can, it goes on as well as it can");
    seen.shortage = None;
    policy.step(&seen);
    assert_eq!(policy.own_trouble(), None);
}

#[test]
fn a_returned_server_must_be_stable_before_the_engine_fails_back() {
    let mut policy = policy(2);
    let at = |seconds: u64, first_up: bool, incarnation: u64| {
        let mut seen = preferring(hosting(2, after(seconds)), &[1], true);
        seen.links.get_mut(&name(1)).unwrap().incarnation = incarnation;
        if !first_up {
            seen.links.remove(&name(1));
        }
        seen
    };
    assert_eq!(policy.step(&at(0, false, 1)), []);
    assert_eq!(policy.step(&at(1, true, 2)), []);
    assert_eq!(policy.step(&at(5, true, 2)), []);
    // It was started again in between: the time counts from then on.
    assert_eq!(policy.step(&at(6, true, 3)), []);
    assert_eq!(policy.step(&at(10, true, 3)), []);
    assert!(matches!(
        &policy.step(&at(11, true, 3))[..],
        [Effect::HandOver { reason: ActivationReason::FailBack, .. }]
    ));
}

#[test]
fn a_changed_list_places_anew_once() {
    let mut policy = policy(1);
    assert_eq!(policy.step(&hosting(1, START)), []);
    let mut seen = preferring(hosting(1, START), &[3], false);
    assert!(
        matches!(&policy.step(&seen)[..], [Effect::HandOver { to, reason: ActivationReason::PolicyChange, .. }] if *to == name(3))
    );
    policy.acted(Outcome::HandOverFailed { to: name(3) }, START);
    assert_eq!(policy.step(&seen), [], "damped");
    seen.now = after(6);
    seen.status.followers.values_mut().for_each(|follower| follower.heard = Some(after(6)));
    assert!(matches!(&policy.step(&seen)[..], [Effect::HandOver { to, .. }] if *to == name(3)), "tried again");
    policy.acted(Outcome::Done, after(6));
    seen.links.remove(&name(3));
    assert_eq!(policy.step(&seen), [], "it stays where it is");
    seen.links.insert(name(3), Link { incarnation: 2, replica: Some(ReplicaId(3)) });
    assert_eq!(policy.step(&seen), [], "and does not fail back later");
}

#[test]
fn a_changed_list_waits_for_a_server_that_catches_up() {
    let mut policy = policy(1);
    policy.step(&hosting(1, START));
    let mut seen = preferring(hosting(1, START), &[3], false);
    let level = seen.status.clone();
    seen.status.followers.get_mut(&ReplicaId(3)).unwrap().heard = None;
    assert_eq!(policy.step(&seen), []);
    seen.status = level;
    assert!(matches!(&policy.step(&seen)[..], [Effect::HandOver { to, .. }] if *to == name(3)));
}

#[test]
fn servers_that_come_and_go_do_not_move_the_engine() {
    let mut policy = policy(2);
    let mut seen = hosting(2, START);
    assert_eq!(policy.step(&seen), []);
    let member =
        |number| Member { name: name(number), role: Role::Server, address: String::new(), replica: ReplicaId(number) };
    Arc::make_mut(&mut seen.cluster).members.push(member(4));
    assert_eq!(policy.step(&seen), [], "server4 was added");
    Arc::make_mut(&mut seen.cluster).members.retain(|member| member.name != name(4));
    assert_eq!(policy.step(&seen), [], "and removed");
}

#[test]
fn a_host_that_handed_over_to_shut_down_counts_as_down() {
    let mut policy = policy(2);
    let mut seen = leading(2, START);
    let epoch = Epoch { generation: 0, index: 5 };
    let cluster = Arc::make_mut(&mut seen.cluster);
    cluster.placement = Some(Placement { host: name(1), epoch, reason: ActivationReason::Start, at_ms: 0 });
    cluster.stopped = Some(Stopped { epoch, reason: StopReason::Placed(ActivationReason::HandOver), at_ms: 0 });
    assert_eq!(policy.step(&seen), [Effect::Activate { reason: ActivationReason::HandOver }]);
}

#[test]
fn a_host_that_came_back_after_it_handed_over_counts_as_up() {
    let mut policy = policy(2);
    let mut seen = leading(2, START);
    let epoch = Epoch { generation: 0, index: 5 };
    let cluster = Arc::make_mut(&mut seen.cluster);
    cluster.placement = Some(Placement { host: name(1), epoch, reason: ActivationReason::Start, at_ms: 0 });
    cluster.stopped = Some(Stopped { epoch, reason: StopReason::Placed(ActivationReason::HandOver), at_ms: 7 });
    seen.links.get_mut(&name(1)).unwrap().incarnation = 8 << 20;
    assert!(matches!(&policy.step(&seen)[..], [Effect::HandOver { to, .. }] if *to == name(1)));
}

#[test]
fn an_engine_that_stops_by_itself_again_and_again_is_moved_on() {
    let mut policy = policy(1);
    for round in 0..3_u64 {
        let mut seen = hosting(1, after(round));
        let epoch = Epoch { generation: 0, index: 5 + round };
        Arc::make_mut(&mut seen.cluster).placement.as_mut().unwrap().epoch = epoch;
        seen.engine = (EngineState::Started, Some(epoch));
        assert_eq!(policy.step(&seen), []);
        (seen.engine, seen.engine_why) = ((EngineState::Standby, None), "a block cannot be read".to_owned());
        let next = policy.step(&seen);
        if round < 2 {
            assert_eq!(next, [Effect::Activate { reason: ActivationReason::EngineFailed }]);
        } else {
            assert!(matches!(&next[..], [Effect::HandOver { to, .. }] if *to == name(2)), "{next:?}");
            assert!(policy.own_trouble().is_some_and(|why| why.contains("a block cannot be read")));
        }
        policy.acted(Outcome::Done, after(round));
    }
}

#[test]
fn a_server_that_cannot_take_over_is_tried_ever_more_rarely() {
    let mut policy = policy(2);
    let seen = |seconds: u64| preferring(hosting(2, after(seconds)), &[1], true);
    let mut tries = Vec::new();
    for second in 0..120 {
        for effect in policy.step(&seen(second)) {
            assert!(matches!(effect, Effect::HandOver { .. }), "{effect:?}");
            tries.push(second);
            policy.acted(Outcome::HandOverFailed { to: name(1) }, after(second));
        }
    }
    assert_eq!(tries, [5, 10, 20, 40, 80]);
}

#[test]
fn a_server_that_another_one_reaches_is_not_dead() {
    let mut policy = policy(3);
    let at = |seconds: u64, reached: bool| {
        let mut seen = hosting(3, after(seconds));
        seen.links.remove(&name(1));
        Arc::make_mut(&mut seen.cluster).members.push(Member {
            name: name(4),
            role: Role::Witness,
            address: String::new(),
            replica: ReplicaId(4),
        });
        seen.links.insert(name(4), Link { incarnation: 1, replica: Some(ReplicaId(4)) });
        seen.status.keeping = voting((1..=4).map(ReplicaId));
        seen.reports.remove(&name(1));
        seen.reports.insert(name(2), report(2, if reached { &[1] } else { &[] }));
        seen
    };
    assert_eq!(policy.step(&at(0, true)), []);
    assert_eq!(policy.step(&at(60, true)), []);
    assert_eq!(policy.step(&at(61, false)), []);
    assert!(matches!(&policy.step(&at(71, false))[..], [Effect::Membership(MembershipStep::Change { .. })]));
}
