//! What holds of every decision, whatever the cluster looks like.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{ActivationReason, Assistance, Policy, Role, ServerName};
use proptest::prelude::*;

use super::decide;
use crate::policy::view::{Decision, EngineHere, PolicyTiming, ServerView, View};

const NOW: BootTime = BootTime(100_000_000_000);

fn ago() -> impl Strategy<Value = Option<BootTime>> {
    prop::option::weighted(0.8, (0..20_u64).prop_map(|seconds| NOW - Duration::from_secs(seconds)))
}

fn servers() -> impl Strategy<Value = Vec<ServerView>> {
    let lag = prop::option::weighted(0.9, prop_oneof![Just(0), Just(10), Just(100_000)]);
    let one = (ago(), any::<bool>(), prop::bool::weighted(0.9), lag, ago(), any::<(u8, bool)>(), ago());
    prop::collection::vec(one, 5).prop_map(|all| {
        let views = all.into_iter().enumerate().map(
            |(at, (up_since, seen, may_lead, lag, caught_up_since, (fault, at_need), damped))| {
                let (role, name) = if at < 4 { (Role::Server, "server") } else { (Role::Witness, "witness") };
                ServerView {
                    name: ServerName::new(format!("{name}{at}")).unwrap(),
                    role,
                    up_since,
                    seen,
                    may_lead,
                    lag,
                    caught_up_since,
                    cannot_host: (fault < 64).then(|| "its engine failed".to_owned()),
                    at_need,
                    reported: seen,
                    distrusted_until: None,
                    paused_until: (fault >= 192).then_some(NOW + Duration::from_secs(1)),
                    damped_until: damped.map(|ago| ago + Duration::from_secs(1)),
                }
            },
        );
        views.collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let list = Just((0..4).collect::<Vec<usize>>()).prop_shuffle();
    (any::<bool>(), list, 0..=4_usize, any::<[bool; 3]>()).prop_map(|(assisted, order, length, flags)| {
        let [fail_back, preferred_only, manual] = flags;
        if assisted {
            return Policy { manual, ..Policy::default() };
        }
        let preferred: Vec<_> =
            order[..length].iter().map(|at| ServerName::new(format!("server{at}")).unwrap()).collect();
        let preferred_only = preferred_only && !preferred.is_empty();
        Policy { assistance: Assistance::None, preferred, fail_back, preferred_only, manual }
    })
}

prop_compose! {
    fn views()(
        servers in servers(),
        policy in policies(),
        me in 0..5_usize,
        hold in prop::option::of(0..4_usize),
        last in prop::option::of(0..4_usize),
        engine in prop_oneof![Just(EngineHere::Idle), Just(EngineHere::RunsHere), Just(EngineHere::Stopping)],
        flags in any::<[bool; 3]>(),
        leads_since in 0..2_u64,
        started in 0..5_u64,
    ) -> View {
        let name = |at: usize| servers[at].name.clone();
        let [ran_here, place_anew, leaving] = flags;
        View {
            now: NOW,
            me: name(me),
            leads_since: NOW - Duration::from_secs(leads_since),
            started_at: NOW - Duration::from_secs(started),
            policy,
            hold: hold.map(name),
            last_host: last.map(name),
            last_reason: None,
            cold_start: false,
            policy_changed: false,
            ran_here,
            stopped_for: None,
            engine,
            place_anew,
            leaving,
            disk_fails: false,
            timing: PolicyTiming::default(),
            servers,
        }
    }
}

/// Whether nothing speaks against the engine on that server.
fn fit(view: &View, server: &ServerView) -> bool {
    let follows = server.may_lead
        && server.lag.is_some_and(|lag| lag <= view.timing.caught_up_entries)
        && server.damped_until.is_none_or(|until| until <= NOW);
    let can = if server.name == view.me { !view.leaving } else { follows };
    can && allowed(view, &server.name) && server.up_since.is_some() && server.cannot_host.is_none()
}

fn allowed(view: &View, name: &ServerName) -> bool {
    let host = view.servers.iter().any(|server| server.name == *name && server.role == Role::Server);
    host && (!view.policy.preferred_only || view.policy.preferred.contains(name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Invariant 6: never where the policy forbids it, never to a server that is down, lags or failed.
    #[test]
    fn the_engine_goes_only_where_it_may_and_can(view in views()) {
        match decide(&view) {
            Decision::ActivateHere { .. } => {
                prop_assert!(allowed(&view, &view.me));
                prop_assert!(!view.leaving);
                prop_assert_eq!(view.engine, EngineHere::Idle);
                let me = view.servers.iter().find(|server| server.name == view.me).unwrap();
                let nobody_else = view.policy.manual || !view.servers.iter().any(|server| fit(&view, server));
                prop_assert!(me.cannot_host.is_none() || me.at_need && nobody_else);
            }
            Decision::HandOver { to, .. } => {
                prop_assert!(allowed(&view, &to) && to != view.me);
                let target = view.servers.iter().find(|server| server.name == to).unwrap();
                prop_assert!(target.up_since.is_some() && target.may_lead);
                let nobody_else = view.policy.manual || !view.servers.iter().any(|server| fit(&view, server));
                prop_assert!(target.cannot_host.is_none() || target.at_need && nobody_else);
                prop_assert!(target.lag.is_some_and(|lag| lag <= view.timing.caught_up_entries));
                prop_assert!(target.damped_until.is_none_or(|until| until <= NOW));
            }
            Decision::Stay | Decision::AwaitSuccessor | Decision::Stop { .. } | Decision::KeepStopped { .. }
            | Decision::Wait { .. } => {}
        }
    }

    /// Invariant 6: an engine that runs where it may moves for a stated reason only.
    #[test]
    fn a_running_engine_moves_for_a_reason_only(view in views()) {
        if view.engine != EngineHere::RunsHere || !allowed(&view, &view.me) {
            return Ok(());
        }
        let held = view.hold.as_ref().is_some_and(|hold| allowed(&view, hold));
        match decide(&view) {
            Decision::HandOver { to, reason } => {
                let rank = |name: &ServerName| view.policy.preferred.iter().position(|other| other == name);
                let holds = match reason {
                    ActivationReason::HandOver => view.leaving,
                    ActivationReason::Move => view.hold == Some(to),
                    ActivationReason::PolicyChange => view.place_anew && !held && !view.policy.manual,
                    ActivationReason::FailBack => {
                        let better = rank(&to).is_some_and(|rank_of_it| rank(&view.me).is_none_or(|mine| rank_of_it < mine));
                        let paused = |server: &ServerView| server.paused_until.is_some_and(|until| until > NOW);
                        let rested = !view.servers.iter().any(|server| server.name == to && paused(server));
                        view.policy.fail_back && better && !held && !view.policy.manual && rested
                    }
                    ActivationReason::Start | ActivationReason::FailOver | ActivationReason::EngineFailed => false,
                };
                prop_assert!(holds, "{reason:?}");
            }
            Decision::Stay => {}
            Decision::AwaitSuccessor => prop_assert!(view.leaving),
            other @ (Decision::ActivateHere { .. } | Decision::Stop { .. } | Decision::KeepStopped { .. }
            | Decision::Wait { .. }) => prop_assert!(false, "{other:?}"),
        }
    }
}
