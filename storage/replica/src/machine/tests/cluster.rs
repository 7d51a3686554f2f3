//! Birth, members, policy, placement.

use baton_domain::{Assistance, ChangeId, PolicyChange, StopReason};

use super::*;

#[test]
fn only_the_first_genesis_counts_and_nothing_comes_before_it() {
    let mut bench = Bench::new();
    assert!(bench.refused(&activate("a")).contains("not begun"));
    assert_eq!(bench.apply(&genesis()), Applied::Done);
    let begun = bench.cluster().clone();
    assert_eq!((begun.next_replica, begun.hosts()), (4, vec![server("a"), server("b")]));
    let other =
        Command::Genesis { cluster: ClusterId([9; 16]), generation: 7, members: Vec::new(), policy: Policy::default() };
    assert_eq!(bench.apply(&other), Applied::Done);
    assert_eq!(*bench.cluster(), begun);
}

/// Invariant 1, its token: each activation has a greater epoch than all before it, and clears what stopped the engine.
#[test]
fn every_activation_has_a_greater_epoch() {
    let (mut bench, first) = Bench::running();
    assert_eq!(first, Epoch { generation: 0, index: 2 });
    let stop = |epoch| Command::Stop { epoch, reason: StopReason::Placed(ActivationReason::HandOver), at_ms: 9 };
    assert_eq!(bench.apply(&stop(first)), Applied::Done);
    assert_eq!(bench.cluster().stopped.as_ref().unwrap().epoch, first);
    let Applied::Activated { epoch: second } = bench.apply(&activate("b")) else { panic!() };
    assert!(second > first);
    assert_eq!(bench.cluster().stopped, None);
    assert_eq!(bench.apply(&stop(first)), Applied::Done);
    assert_eq!(bench.cluster().stopped, None, "stopping an older activation changes nothing");
    assert!(bench.refused(&activate("w")).contains("witness"));
    assert!(bench.refused(&activate("x")).contains("no server x"));
    assert_eq!(bench.cluster().epoch(), second);
}

#[test]
fn the_history_of_placements_is_bounded_and_ends_with_the_newest() {
    let (mut bench, _) = Bench::running();
    for _ in 0..100 {
        bench.apply(&activate("b"));
    }
    let cluster = bench.cluster();
    assert_eq!(cluster.history.len(), 64);
    assert_eq!(cluster.history.last(), cluster.placement.as_ref());
    assert!(cluster.history.is_sorted_by_key(|placement| placement.epoch));
}

/// Invariant 6, the store's part: an operator's move holds until the engine starts elsewhere or the policy changes.
#[test]
fn a_hold_ends_with_an_activation_elsewhere_or_a_new_policy() {
    let (mut bench, _) = Bench::running();
    let hold = |name: Option<&str>| Command::Hold { server: name.map(server) };
    let held = |bench: &Bench| bench.cluster().hold.clone();
    assert_eq!(bench.apply(&hold(Some("b"))), Applied::Done);
    bench.apply(&activate("b"));
    assert_eq!(held(&bench), Some(server("b")), "the activation that a move asked for keeps it");
    bench.apply(&activate("a"));
    assert_eq!(held(&bench), None);
    bench.apply(&hold(Some("b")));
    assert_eq!(bench.apply(&Command::SetPolicy { policy: Policy::default() }), Applied::Done);
    assert_eq!(held(&bench), None);
    bench.apply(&hold(Some("a")));
    bench.apply(&hold(None));
    assert_eq!(held(&bench), None);
    for (name, word) in [("w", "witness"), ("x", "no server x")] {
        assert!(bench.refused(&hold(Some(name))).contains(word));
    }
}

#[test]
fn a_policy_is_checked_against_the_servers() {
    let (mut bench, _) = Bench::running();
    let policy = |preferred: &[&str], preferred_only| Policy {
        assistance: Assistance::None,
        preferred: preferred.iter().map(|name| server(name)).collect(),
        preferred_only,
        ..Policy::default()
    };
    let set = |policy| Command::SetPolicy { policy };
    for (bad, word) in [
        (policy(&["w"], false), "can host"),
        (policy(&["x"], false), "can host"),
        (policy(&["a", "a"], false), "twice"),
        (policy(&[], true), "preferred-only"),
    ] {
        assert!(bench.refused(&set(bad)).contains(word), "{word}");
    }
    assert_eq!(bench.apply(&set(policy(&["b"], true))), Applied::Done);
    assert_eq!(bench.cluster().policy, policy(&["b"], true));
}

#[test]
fn members_keep_their_place_and_replica_ids_are_never_used_again() {
    let (mut bench, _) = Bench::running();
    let admit = |name: &str, role, address: &str| Command::Admit { name: server(name), role, address: address.into() };
    let admitted = |id| Applied::Admitted { replica: ReplicaId(id) };
    assert_eq!(bench.apply(&admit("a", Role::Server, "elsewhere:1")), admitted(4));
    assert_eq!(bench.apply(&admit("c", Role::Server, "c:1")), admitted(5));
    let names: Vec<_> = bench.cluster().members.iter().map(|member| (member.name.as_str(), member.replica.0)).collect();
    assert_eq!(names, [("a", 4), ("b", 2), ("w", 3), ("c", 5)]);
    assert_eq!(bench.cluster().member(&server("a")).unwrap().address, "elsewhere:1");
    assert!(bench.refused(&admit("w", Role::Server, "w:1")).contains("another role"));
    assert_eq!(bench.apply(&Command::Dismiss { name: server("c") }), Applied::Done);
    assert_eq!(bench.apply(&admit("c", Role::Server, "c:1")), admitted(6));
}

#[test]
fn a_server_that_is_dismissed_leaves_the_preferred_list_unless_nothing_is_left_of_it() {
    let (mut bench, _) = Bench::running();
    let policy = |names: &[&str]| Policy {
        assistance: Assistance::None,
        preferred: names.iter().map(|name| server(name)).collect(),
        preferred_only: true,
        ..Policy::default()
    };
    bench.apply(&Command::SetPolicy { policy: policy(&["a", "b"]) });
    bench.apply(&Command::Hold { server: Some(server("b")) });
    assert_eq!(bench.apply(&Command::Dismiss { name: server("b") }), Applied::Done);
    assert_eq!(bench.cluster().policy, policy(&["a"]));
    assert_eq!(bench.cluster().hold, None);
    assert!(bench.refused(&Command::Dismiss { name: server("a") }).contains("preferred"));
    assert!(bench.refused(&Command::Dismiss { name: server("x") }).contains("no server x"));
}

/// Invariant 7, the record: a marker holds the hash of all writes before it, and only the newest are kept.
#[test]
fn markers_record_the_hash_of_what_came_before() {
    let (mut bench, _) = Bench::running();
    let mut marked = Vec::new();
    for nonce in 0..20 {
        let before = bench.machine.hash;
        let Applied::Marked { hash } = bench.apply(&Command::Marker { nonce }) else { panic!() };
        assert_eq!(hash, before);
        assert_ne!(bench.machine.hash, before, "a marker's own record counts from then on");
        marked.push((bench.index, hash));
    }
    let kept: Vec<_> = bench.memory.scan(Family::Markers).unwrap().into_iter().collect();
    let expected: Vec<_> =
        marked[4..].iter().map(|(index, hash)| (index.to_be_bytes().to_vec(), hash.to_be_bytes().to_vec())).collect();
    assert_eq!(kept, expected);
}

#[test]
fn a_server_that_moves_keeps_its_replica_and_its_place() {
    let (mut bench, _) = Bench::running();
    let before = bench.cluster().member(&server("b")).cloned().unwrap();
    let set = |name: &str| Command::SetAddress { name: server(name), address: "elsewhere:1".to_owned() };
    assert_eq!(bench.apply(&set("b")), Applied::Done);
    let after = baton_domain::Member { address: "elsewhere:1".to_owned(), ..before };
    assert_eq!(bench.cluster().members[1], after);
    assert!(bench.refused(&set("x")).contains("no server x"));
}

/// Of two changes at once both hold: each names its own fields, and the second one finds what the first one made.
#[test]
fn changes_of_the_policy_are_merged() {
    let (mut bench, _) = Bench::running();
    let change = |change| Command::ChangePolicy { change };
    let none = PolicyChange { assistance: Some(Assistance::None), ..PolicyChange::default() };
    let back = PolicyChange { fail_back: Some(true), ..PolicyChange::default() };
    let only =
        PolicyChange { preferred: Some(vec![server("a")]), preferred_only: Some(true), ..PolicyChange::default() };
    let answers = bench.apply_all(&[change(none), change(back), change(only)]);
    let policy = Policy {
        assistance: Assistance::None,
        fail_back: true,
        preferred_only: true,
        preferred: vec![server("a")],
        manual: false,
    };
    assert_eq!(answers[2], Applied::Policy { policy: policy.clone() });
    assert_eq!(bench.machine.cluster().policy, policy);
    let unknown = PolicyChange { preferred: Some(vec![server("nobody")]), ..PolicyChange::default() };
    assert!(matches!(bench.apply(&change(unknown)), Applied::Refused { .. }));
    assert_eq!(bench.machine.cluster().policy, policy);

    let once = |number, change| {
        let command = Box::new(Command::ChangePolicy { change });
        Command::Once { change: ChangeId([number; 16]), command }
    };
    let fail_back = |value| PolicyChange { fail_back: Some(value), ..PolicyChange::default() };
    let first = bench.apply(&once(1, fail_back(false)));
    bench.apply(&once(2, fail_back(true)));
    assert_eq!(bench.apply(&once(1, fail_back(false))), Applied::Repeated(Box::new(first.clone())));
    assert_eq!(bench.apply(&Command::Recall { change: ChangeId([1; 16]) }), Applied::Repeated(Box::new(first)));
    assert_eq!(bench.apply(&Command::Recall { change: ChangeId([3; 16]) }), Applied::Done);
    assert_eq!(bench.machine.cluster().policy, policy);
}
