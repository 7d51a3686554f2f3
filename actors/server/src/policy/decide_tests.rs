use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Assistance, Policy};

use super::*;
use crate::policy::view::PolicyTiming;

const NOW: BootTime = BootTime(100_000_000_000);

fn name(number: usize) -> ServerName {
    ServerName::new(format!("server{number}")).unwrap()
}

fn names(numbers: &[usize]) -> Vec<ServerName> {
    numbers.iter().map(|number| name(*number)).collect()
}

fn server(name: ServerName, role: Role) -> ServerView {
    let up_since = Some(NOW - Duration::from_secs(60));
    ServerView {
        name,
        role,
        up_since,
        seen: true,
        may_lead: true,
        lag: Some(0),
        caught_up_since: up_since,
        cannot_host: None,
        at_need: false,
        reported: true,
        distrusted_until: None,
        paused_until: None,
        damped_until: None,
    }
}

/// Three servers and a witness, all up for long; `me` leads; nothing was ever placed.
fn cluster(me: usize) -> View {
    let mut servers: Vec<_> = (1..=3).map(|number| server(name(number), Role::Server)).collect();
    servers.push(server(ServerName::new("witness1").unwrap(), Role::Witness));
    View {
        now: NOW,
        me: name(me),
        leads_since: NOW - Duration::from_secs(60),
        started_at: NOW - Duration::from_secs(60),
        servers,
        policy: Policy::default(),
        hold: None,
        last_host: None,
        last_reason: None,
        cold_start: false,
        policy_changed: false,
        ran_here: false,
        stopped_for: None,
        engine: EngineHere::Idle,
        place_anew: false,
        leaving: false,
        disk_fails: false,
        timing: PolicyTiming::default(),
    }
}

/// The same, with the engine running on `me`.
fn running(me: usize) -> View {
    View { engine: EngineHere::RunsHere, last_host: Some(name(me)), ran_here: true, ..cluster(me) }
}

fn preferring(list: &[usize]) -> Policy {
    Policy { assistance: Assistance::None, preferred: names(list), ..Policy::default() }
}

fn down(mut view: View, numbers: &[usize]) -> View {
    for number in numbers {
        view.servers[number - 1].up_since = None;
    }
    view
}

fn activate(reason: ActivationReason) -> Decision {
    Decision::ActivateHere { reason }
}

fn hand_over(to: usize, reason: ActivationReason) -> Decision {
    Decision::HandOver { to: name(to), reason }
}

#[test]
fn figure_1_the_engine_starts_on_the_first_server() {
    assert_eq!(decide(&cluster(1)), activate(ActivationReason::Start));
    assert_eq!(decide(&cluster(3)), hand_over(1, ActivationReason::Start));
}

#[test]
fn figure_2_the_next_server_takes_over() {
    let view = View { last_host: Some(name(1)), ..down(cluster(2), &[1]) };
    assert_eq!(decide(&view), activate(ActivationReason::FailOver));
    let view = View { last_host: Some(name(1)), ..down(cluster(3), &[1]) };
    assert_eq!(decide(&view), hand_over(2, ActivationReason::FailOver));
}

/// What `status` gives as the reason, for an engine that does not run and was last on server1.
#[test]
fn the_reason_says_what_brought_the_engine_there() {
    use ActivationReason::{EngineFailed, FailBack, FailOver, HandOver, Move, PolicyChange, Start};
    let idle = |me: usize| View { last_host: Some(name(1)), last_reason: Some(FailOver), ..cluster(me) };
    let elsewhere = || down(idle(2), &[1]);
    for (what, view, reason) in [
        ("its host died", elsewhere(), FailOver),
        ("its host shut down", View { stopped_for: Some(HandOver), ..elsewhere() }, HandOver),
        ("all were started again", View { cold_start: true, ..elsewhere() }, Start),
        ("after a hand-over", View { cold_start: true, stopped_for: Some(HandOver), ..elsewhere() }, Start),
        ("after a move", View { cold_start: true, hold: Some(name(1)), ..idle(1) }, Start),
        ("an operator's move", View { hold: Some(name(2)), ..elsewhere() }, Move),
        ("the policy allows it again", View { policy_changed: true, ..elsewhere() }, PolicyChange),
        ("here, too", View { stopped_for: Some(PolicyChange), ran_here: true, ..idle(1) }, PolicyChange),
        ("nobody took it", View { stopped_for: Some(FailBack), ran_here: true, ..idle(1) }, FailOver),
        ("it stopped by itself", View { ran_here: true, ..idle(1) }, EngineFailed),
        ("its host came back", idle(1), Start),
        ("and the policy had changed", View { policy_changed: true, ..idle(1) }, Start),
    ] {
        assert_eq!(decide(&view), activate(reason), "{what}");
    }
}

#[test]
fn figure_3_the_only_server_left_takes_over() {
    let view = View { last_host: Some(name(2)), ..down(cluster(3), &[1, 2]) };
    assert_eq!(decide(&view), activate(ActivationReason::FailOver));
}

#[test]
fn a_witness_never_hosts_the_engine() {
    let mut view = down(cluster(1), &[1, 2, 3]);
    view.me = ServerName::new("witness1").unwrap();
    assert!(matches!(decide(&view), Decision::KeepStopped { .. }));
    view.servers[2].up_since = Some(NOW);
    assert_eq!(decide(&view), hand_over(3, ActivationReason::Start));
}

#[test]
fn without_fail_back_the_engine_stays_where_it_is() {
    assert_eq!(decide(&running(2)), Decision::Stay);
    assert_eq!(decide(&View { policy: preferring(&[1, 2]), ..running(2) }), Decision::Stay);
}

#[test]
fn fail_back_waits_for_a_stable_and_caught_up_server() {
    let back = View { policy: Policy { fail_back: true, ..preferring(&[1, 2, 3]) }, ..running(2) };
    assert_eq!(decide(&back), hand_over(1, ActivationReason::FailBack));
    let with_first = |change: fn(&mut ServerView)| {
        let mut view = back.clone();
        change(&mut view.servers[0]);
        decide(&view)
    };
    assert_eq!(with_first(|first| first.up_since = Some(NOW - Duration::from_secs(4))), Decision::Stay);
    assert_eq!(with_first(|first| first.caught_up_since = Some(NOW - Duration::from_secs(4))), Decision::Stay);
    assert_eq!(with_first(|first| first.lag = Some(100_000)), Decision::Stay);
    assert_eq!(with_first(|first| first.lag = None), Decision::Stay);
    assert_eq!(with_first(|first| first.may_lead = false), Decision::Stay);
    assert_eq!(with_first(|first| first.cannot_host = Some("its disk is full".to_owned())), Decision::Stay);
    assert_eq!(with_first(|first| first.distrusted_until = Some(NOW + Duration::from_millis(1))), Decision::Stay);
    assert_eq!(with_first(|first| first.damped_until = Some(NOW + Duration::from_millis(1))), Decision::Stay);
    assert_eq!(decide(&View { policy: Policy { manual: true, ..back.policy.clone() }, ..back }), Decision::Stay);
}

#[test]
fn servers_outside_the_list_are_all_alike() {
    let fail_back =
        |list: &[usize], view: View| View { policy: Policy { fail_back: true, ..preferring(list) }, ..view };
    assert_eq!(decide(&fail_back(&[1], down(running(3), &[1]))), Decision::Stay, "server2 is not preferred either");
    assert_eq!(decide(&fail_back(&[], running(3))), Decision::Stay);
    assert_eq!(decide(&View { place_anew: true, ..fail_back(&[], running(3)) }), Decision::Stay);
    assert_eq!(decide(&fail_back(&[1], running(3))), hand_over(1, ActivationReason::FailBack));
}

#[test]
fn preferred_only_keeps_the_engine_stopped_rather_than_elsewhere() {
    let policy = Policy { preferred_only: true, ..preferring(&[2]) };
    let view = View { policy: policy.clone(), ..down(cluster(1), &[2]) };
    let Decision::KeepStopped { why } = decide(&view) else { panic!("{:?}", decide(&view)) };
    assert_eq!(why, "no preferred server is available: server2 is down");
    assert_eq!(decide(&View { policy: policy.clone(), ..cluster(1) }), hand_over(2, ActivationReason::Start));
    let forbidden = View { policy, ..down(running(1), &[2]) };
    assert!(matches!(decide(&forbidden), Decision::Stop { .. }));
}

#[test]
fn an_empty_list_takes_any_available_server() {
    assert_eq!(decide(&View { policy: preferring(&[]), ..down(cluster(2), &[1]) }), activate(ActivationReason::Start));
    assert_eq!(
        decide(&View { policy: preferring(&[3]), ..down(cluster(2), &[3, 1]) }),
        activate(ActivationReason::Start)
    );
}

#[test]
fn a_changed_list_places_the_engine_anew() {
    let view = View { policy: preferring(&[3, 1]), place_anew: true, ..running(1) };
    assert_eq!(decide(&view), hand_over(3, ActivationReason::PolicyChange));
    let same = View { policy: preferring(&[1, 3]), place_anew: true, ..running(1) };
    assert_eq!(decide(&same), Decision::Stay);
    let manual = View { policy: Policy { manual: true, ..preferring(&[3, 1]) }, place_anew: true, ..running(1) };
    assert_eq!(decide(&manual), Decision::Stay);
}

#[test]
fn an_operators_move_holds_until_that_server_fails() {
    let held = |view: View| View { hold: Some(name(3)), ..view };
    assert_eq!(decide(&held(running(1))), hand_over(3, ActivationReason::Move));
    let back = Policy { fail_back: true, ..preferring(&[1, 2, 3]) };
    assert_eq!(decide(&held(View { policy: back.clone(), ..running(3) })), Decision::Stay);
    assert_eq!(
        decide(&held(View { last_host: Some(name(3)), ..down(cluster(1), &[3]) })),
        activate(ActivationReason::FailOver)
    );
    let moving = View { last_host: Some(name(1)), stopped_for: Some(ActivationReason::Move), ..cluster(3) };
    assert_eq!(decide(&held(moving)), activate(ActivationReason::Move));
}

/// Written while the policy changed: it must not keep the engine from where the new policy wants it.
#[test]
fn a_move_to_where_the_policy_forbids_it_counts_for_nothing() {
    let policy = Policy { fail_back: true, preferred_only: true, ..preferring(&[2, 1]) };
    let view = View { hold: Some(name(3)), policy, ..running(1) };
    assert_eq!(decide(&view), hand_over(2, ActivationReason::FailBack));
}

#[test]
fn manual_moves_only_when_told() {
    let policy = Policy { manual: true, ..Policy::default() };
    let manual = |view: View| View { policy: policy.clone(), last_host: Some(name(1)), ..view };
    let Decision::KeepStopped { why } = decide(&manual(down(cluster(2), &[1]))) else { panic!("moved by itself") };
    assert!(why.contains("baton move"), "{why}");
    assert_eq!(decide(&manual(cluster(2))), hand_over(1, ActivationReason::Start));
    let leaving = View { policy: policy.clone(), leaving: true, ..running(1) };
    assert_eq!(decide(&leaving), Decision::Stay);
    assert_eq!(decide(&View { policy: policy.clone(), ..cluster(1) }), activate(ActivationReason::Start));
    let told = View { hold: Some(name(2)), ..manual(down(cluster(2), &[1])) };
    assert_eq!(decide(&told), activate(ActivationReason::Move));
    let mut forbidden = View { policy: Policy { preferred_only: true, ..preferring(&[2]) }, ..manual(cluster(1)) };
    forbidden.policy.manual = true;
    let Decision::KeepStopped { why } = decide(&forbidden) else { panic!("started where it may not be") };
    assert!(why.contains("may not host"), "{why}");
}

#[test]
fn a_move_is_newer_than_the_change_of_the_list_before_it() {
    let view = View { policy: preferring(&[1]), place_anew: true, hold: Some(name(2)), ..running(2) };
    assert_eq!(decide(&view), Decision::Stay);
}

#[test]
fn a_host_that_shuts_down_hands_over_first() {
    assert_eq!(decide(&View { leaving: true, ..running(1) }), hand_over(2, ActivationReason::HandOver));
    assert_eq!(decide(&View { leaving: true, ..down(running(1), &[2, 3]) }), Decision::Stay);
    assert_eq!(decide(&View { leaving: true, ..cluster(1) }), hand_over(2, ActivationReason::HandOver));
    for mut behind in [running(1), cluster(1)] {
        (behind.leaving, behind.servers[2].up_since) = (true, None);
        behind.servers[1].lag = Some(100_000);
        assert_eq!(decide(&behind), Decision::AwaitSuccessor, "server2 catches up");
    }
}

#[test]
fn at_the_start_earlier_servers_get_a_grace() {
    let mut view = View { started_at: NOW - Duration::from_secs(1), ..down(cluster(2), &[1]) };
    view.servers[0].seen = false;
    assert!(matches!(decide(&view), Decision::Wait { .. }));
    view.started_at = NOW - Duration::from_secs(4);
    assert_eq!(decide(&view), activate(ActivationReason::Start));
}

#[test]
fn a_new_leader_waits_a_moment_to_hear_who_is_caught_up() {
    let mut view = View { leads_since: NOW, ..cluster(2) };
    view.servers[0].lag = None;
    assert!(matches!(decide(&view), Decision::Wait { .. }));
    view.leads_since = NOW - Duration::from_secs(1);
    assert_eq!(decide(&view), activate(ActivationReason::Start));
    let mut silent = View { leads_since: NOW, ..cluster(2) };
    silent.servers[0].reported = false;
    assert!(matches!(decide(&silent), Decision::Wait { .. }), "it may say that its engine cannot start");
}

#[test]
fn after_a_failed_hand_over_the_engine_starts_here_meanwhile() {
    let mut view = cluster(2);
    view.servers[0].damped_until = Some(NOW + Duration::from_secs(1));
    assert_eq!(decide(&view), activate(ActivationReason::Start));
}

#[test]
fn a_server_whose_engine_failed_is_passed_over() {
    let mut view = View { last_host: Some(name(1)), ran_here: true, ..cluster(1) };
    assert_eq!(decide(&view), activate(ActivationReason::EngineFailed));
    view.servers[0].cannot_host = Some("its engine failed".to_owned());
    view.servers[0].at_need = true;
    assert_eq!(decide(&view), hand_over(2, ActivationReason::FailOver));
}

#[test]
fn where_no_server_is_fit_one_that_failed_is_tried_again() {
    let mut view = View { last_host: Some(name(1)), ran_here: true, ..cluster(1) };
    for server in &mut view.servers {
        server.cannot_host = Some("its engine failed".to_owned());
    }
    assert!(matches!(decide(&view), Decision::KeepStopped { .. }), "none says that it may be tried again");
    view.servers[2].at_need = true;
    assert_eq!(decide(&view), hand_over(3, ActivationReason::FailOver));
    view.leaving = true;
    assert_eq!(decide(&view), hand_over(3, ActivationReason::HandOver));
    view.leaving = false;
    view.servers[0].at_need = true;
    assert_eq!(decide(&view), activate(ActivationReason::EngineFailed));
    view.servers[0].at_need = false;
    view.servers[2].may_lead = false;
    assert!(matches!(decide(&view), Decision::KeepStopped { .. }), "without a vote");
}
