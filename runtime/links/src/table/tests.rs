use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const MIN: Duration = Duration::from_millis(20);
const MAX: Duration = Duration::from_millis(1_000);

fn identity(name: &str, kind: PeerKind, incarnation: u64) -> Identity {
    Identity { name: name.to_owned(), kind, incarnation }
}

fn server(name: &str) -> Identity {
    identity(name, PeerKind::Server, 1)
}

fn table(name: &str, kind: PeerKind) -> Table {
    Table::new(Rules { me: identity(name, kind, 100), max_clients: 2, redial_min: MIN, redial_max: MAX })
}

fn at(ms: u64) -> BootTime {
    BootTime(0) + Duration::from_millis(1_000_000 + ms)
}

fn named(name: &str) -> (Option<String>, String) {
    (Some(name.to_owned()), format!("{name}:1"))
}

fn dial(target: TargetId, address: &str, wait: Duration) -> Effect {
    Effect::Dial { target, address: address.to_owned(), wait }
}

fn opened(connection: ConnectionId, who: Identity) -> Event {
    Event::Opened { connection, who, direction: Direction::Inbound }
}

/// A link that is up.
fn link(table: &mut Table, connection: ConnectionId, who: Identity) {
    assert_eq!(table.step(opened(connection, who)), [Effect::HandOver { connection }]);
    assert_eq!(table.step(Event::Ready { connection, now: at(0) }), [Effect::Announce { connection }]);
}

fn refusal(admission: Admission) -> Option<RefusalReason> {
    match admission {
        Admission::Refuse(refused) => Some(refused.reason),
        Admission::Admit | Admission::UnlessAlive(_) => None,
    }
}

#[test]
fn of_two_servers_the_lesser_name_dials_and_nobody_dials_itself() {
    let all = || vec![named("server1"), named("server2"), named("server3")];
    let mut two = table("server2", PeerKind::Server);
    let (late, at_once) = (dial(0, "server1:1", MAX), dial(1, "server3:1", Duration::ZERO));
    assert_eq!(two.step(Event::Ensure(all())), [late, at_once]);
    assert_eq!(two.step(Event::Ensure(all())), [], "once more changes nothing");
    let moved = (Some("server3".to_owned()), "elsewhere:2".to_owned());
    assert_eq!(
        two.step(Event::Ensure(vec![moved])),
        [Effect::Cancel { target: 1 }, dial(1, "elsewhere:2", Duration::ZERO)]
    );
}

/// Its file gives one address and the store another: both are tried, in turn.
#[test]
fn a_server_with_two_addresses_is_dialed_at_both() {
    let mut one = table("server1", PeerKind::Server);
    let at = |address: &str| (Some("server2".to_owned()), address.to_owned());
    let both = || vec![at("old:1"), at("new:1")];
    assert_eq!(one.step(Event::Ensure(both())), [dial(0, "old:1", Duration::ZERO)]);
    assert_eq!(one.step(Event::Ensure(both())), [], "once more changes nothing");
    let failed = || Event::DialFailed { target: 0, found: None, failure: DialFailure::Broken };
    assert_eq!(one.step(failed()), [dial(0, "new:1", MIN)]);
    assert_eq!(one.target(0), Some((Some("server2"), "new:1")));
    assert_eq!(one.step(failed()), [dial(0, "old:1", MIN * 2)]);
    let settled = one.step(Event::Ensure(vec![at("new:1")]));
    assert_eq!(settled, [Effect::Cancel { target: 0 }, dial(0, "new:1", Duration::ZERO)]);
}

/// It moved, and only its own file has the new address: it may dial, though of the pair this server is the one that
/// dials.
#[test]
fn a_server_that_cannot_be_reached_where_it_was_may_come_by_itself() {
    let mut one = table("server1", PeerKind::Server);
    one.step(Event::Ensure(vec![named("server2")]));
    for _ in 0..3 {
        assert_eq!(refusal(one.admit(&server("server2"), Direction::Inbound)), Some(RefusalReason::WrongDirection));
        one.step(Event::DialFailed { target: 0, found: None, failure: DialFailure::Broken });
    }
    assert_eq!(one.admit(&server("server2"), Direction::Inbound), Admission::Admit);
    let effects = one.step(opened(1, server("server2")));
    assert_eq!(effects, [Effect::Cancel { target: 0 }, Effect::HandOver { connection: 1 }]);
}

#[test]
fn a_client_dials_the_next_address_when_one_ended_or_after_its_turn() {
    let mut client = table("client", PeerKind::Client);
    let first = client.step(Event::Ensure(vec![named("a"), named("b"), named("c")]));
    assert_eq!(first, [dial(0, "a:1", Duration::ZERO), Effect::Turn { after: TURN }]);
    let failed = client.step(Event::DialFailed { target: 0, found: None, failure: DialFailure::Broken });
    assert_eq!(failed, [dial(0, "a:1", MIN), dial(1, "b:1", Duration::ZERO)], "one failed: the next, at once");
    assert_eq!(client.step(Event::Turn), [dial(2, "c:1", Duration::ZERO)], "one hangs: the next, in time");
    assert_eq!(client.step(Event::Turn), []);
}

#[test]
fn redials_wait_longer_and_longer_and_a_link_that_lasted_is_redialed_at_once() {
    let mut one = table("server1", PeerKind::Server);
    one.step(Event::Ensure(vec![named("server2")]));
    let waits: Vec<_> = (0..8)
        .map(|_| {
            match one.step(Event::DialFailed { target: 0, found: None, failure: DialFailure::Broken }).as_slice() {
                [Effect::Dial { wait, .. }] => wait.as_millis(),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    let mut end = |connection, ended_at| {
        let who = server("server2");
        one.step(Event::Opened { connection, who, direction: Direction::Outbound(0) });
        one.step(Event::Ready { connection, now: at(0) });
        one.step(Event::Ended { connection, now: at(ended_at) })
    };
    assert_eq!(end(1, 1_000), [Effect::Withdraw { connection: 1 }, dial(0, "server2:1", Duration::ZERO)]);
    assert_eq!(end(2, 10), [Effect::Withdraw { connection: 2 }, dial(0, "server2:1", MIN)], "it did not last");
    assert_eq!(end(3, 10), [Effect::Withdraw { connection: 3 }, dial(0, "server2:1", MIN * 2)]);
}

#[test]
fn a_refused_dial_is_tried_again_without_hurry() {
    let mut one = table("server1", PeerKind::Server);
    one.step(Event::Ensure(vec![named("server2")]));
    let failure = DialFailure::Refused(RefusalReason::WrongCookie);
    assert_eq!(one.step(Event::DialFailed { target: 0, found: None, failure }), [dial(0, "server2:1", MAX)]);
}

#[test]
fn a_newer_connection_waits_until_the_old_session_has_ended() {
    let mut one = table("server1", PeerKind::Server);
    link(&mut one, 1, server("server0"));
    let restarted = identity("server0", PeerKind::Server, 2);
    assert_eq!(
        one.step(opened(2, restarted.clone())),
        [Effect::Withdraw { connection: 1 }, Effect::Close { connection: 1 }]
    );
    assert_eq!(one.step(opened(3, restarted)), [Effect::Discard { connection: 2 }], "the newest waits");
    assert_eq!(one.step(Event::Ended { connection: 1, now: at(5) }), [Effect::HandOver { connection: 3 }]);
    assert_eq!(one.step(Event::Ready { connection: 3, now: at(6) }), [Effect::Announce { connection: 3 }]);
    assert_eq!(one.step(Event::Ended { connection: 1, now: at(7) }), [], "old news");
}

#[test]
fn who_may_link() {
    let mut one = table("server1", PeerKind::Server);
    one.step(Event::Ensure(vec![named("server2")]));
    link(&mut one, 1, server("server0"));
    link(&mut one, 2, identity("shop", PeerKind::Client, 1));
    let inbound = |table: &Table, who: &Identity| table.admit(who, Direction::Inbound);
    let client = |name: &str| identity(name, PeerKind::Client, 5);

    assert_eq!(inbound(&one, &server("server0")), Admission::Admit, "its old connection is stale");
    let other = identity("server0", PeerKind::Server, 9);
    assert_eq!(inbound(&one, &other), Admission::UnlessAlive(1), "restarted, or another of that name");
    assert_eq!(inbound(&one, &identity("shop", PeerKind::Server, 9)), Admission::Admit, "servers go first");
    assert_eq!(inbound(&one, &client("bank")), Admission::Admit);
    link(&mut one, 3, client("bank"));
    for (who, expected) in [
        (identity("server1", PeerKind::Server, 100), RefusalReason::Yourself),
        (identity("server1", PeerKind::Server, 101), RefusalReason::NameInUse),
        (client("server1"), RefusalReason::NameInUse),
        (client("server2"), RefusalReason::NameOfServer),
        (client("third"), RefusalReason::TooManyConnections),
        (server("server2"), RefusalReason::WrongDirection),
    ] {
        assert_eq!(refusal(inbound(&one, &who)), Some(expected), "{who:?}");
    }
    assert_eq!(inbound(&one, &client("bank")), Admission::Admit, "a client that is counted already");
    let outbound = |who: &Identity| one.admit(who, Direction::Outbound(0));
    assert_eq!(refusal(outbound(&server("server3"))), Some(RefusalReason::UnexpectedName));
    assert_eq!(outbound(&server("server2")), Admission::Admit);
    one.step(Event::Stop);
    assert_eq!(refusal(inbound(&one, &server("server7"))), Some(RefusalReason::Busy));
}

#[test]
fn an_address_that_leads_to_a_linked_process_waits_for_that_link_to_end() {
    let mut client = table("client", PeerKind::Client);
    client.step(Event::Ensure(vec![(None, "localhost:1".to_owned()), (None, "127.0.0.1:1".to_owned())]));
    let up = Event::Opened { connection: 1, who: server("server1"), direction: Direction::Outbound(0) };
    client.step(up);
    assert_eq!(
        client.step(Event::Ready { connection: 1, now: at(0) }),
        [Effect::Announce { connection: 1 }, dial(1, "127.0.0.1:1", Duration::ZERO)]
    );
    let again = client.admit(&server("server1"), Direction::Outbound(1));
    assert_eq!(refusal(again), Some(RefusalReason::AlreadyLinked));
    let failure = DialFailure::Refused(RefusalReason::AlreadyLinked);
    assert_eq!(client.step(Event::DialFailed { target: 1, found: Some("server1".to_owned()), failure }), []);
    let effects = client.step(Event::Ended { connection: 1, now: at(2_000) });
    assert!(effects.contains(&dial(0, "localhost:1", Duration::ZERO)), "{effects:?}");
    assert!(effects.contains(&dial(1, "127.0.0.1:1", MAX)), "{effects:?}");
}

#[test]
fn a_server_known_by_address_only_is_dialed_until_its_name_says_that_it_dials() {
    let mut two = table("server2", PeerKind::Server);
    assert_eq!(two.step(Event::Ensure(vec![(None, "x:1".to_owned())])), [dial(0, "x:1", Duration::ZERO)]);
    let failure = DialFailure::Refused(RefusalReason::WrongDirection);
    let found = Some("server1".to_owned());
    assert_eq!(two.step(Event::DialFailed { target: 0, found, failure }), [dial(0, "x:1", MAX)], "it may not know us");
    assert_eq!(two.step(Event::Ensure(vec![(Some("server1".to_owned()), "x:1".to_owned())])), []);
    let failure = DialFailure::Broken;
    assert_eq!(
        two.step(Event::DialFailed { target: 0, found: None, failure }),
        [dial(0, "x:1", MAX)],
        "the other dials"
    );
    two.step(Event::Ensure(vec![(None, "me:1".to_owned())]));
    // A peer that answers may claim to be this process, or send its hello back: dialing goes on.
    let found = Some("server2".to_owned());
    let myself = DialFailure::Refused(RefusalReason::Yourself);
    assert_eq!(two.step(Event::DialFailed { target: 1, found, failure: myself }), [dial(1, "me:1", MAX)]);
}

/// A client that took the name before the server was known must not keep the server out.
#[test]
fn a_client_in_a_servers_name_gives_way() {
    let mut one = table("server1", PeerKind::Server);
    link(&mut one, 1, identity("server2", PeerKind::Client, 5));
    let effects = one.step(Event::Ensure(vec![named("server2")]));
    assert_eq!(effects[..2], [Effect::Withdraw { connection: 1 }, Effect::Close { connection: 1 }]);
    assert!(matches!(effects[2], Effect::Dial { target: 0, .. }), "{effects:?}");
    // And it does not come back under that name.
    one.step(Event::Ended { connection: 1, now: at(1) });
    let again = one.admit(&identity("server2", PeerKind::Client, 5), Direction::Inbound);
    assert_eq!(refusal(again), Some(RefusalReason::NameOfServer));
}

#[test]
fn an_address_that_leads_to_this_process_is_said_to_be_wrong() {
    let mut one = table("server1", PeerKind::Server);
    one.step(Event::Ensure(vec![named("server2")]));
    let myself = identity("server1", PeerKind::Server, 100);
    assert_eq!(refusal(one.admit(&myself, Direction::Outbound(0))), Some(RefusalReason::UnexpectedName));
}

#[test]
fn forgetting_closes_the_link_and_stopping_closes_all() {
    let mut one = table("server1", PeerKind::Server);
    one.step(Event::Ensure(vec![named("server2"), named("server3")]));
    for (connection, target, name) in [(1, 0, "server2"), (2, 1, "server3")] {
        one.step(Event::Opened { connection, who: server(name), direction: Direction::Outbound(target) });
        one.step(Event::Ready { connection, now: at(0) });
    }
    let close = |connection| [Effect::Withdraw { connection }, Effect::Close { connection }];
    assert_eq!(one.step(Event::Forget("server2".to_owned()))[1..], close(1));
    assert_eq!(one.step(Event::Ended { connection: 1, now: at(1) }), [], "not dialed again");
    assert_eq!(one.step(Event::Stop)[1..], close(2));
    assert!(!one.is_empty());
    assert_eq!(one.step(Event::Ended { connection: 2, now: at(1) }), []);
    assert!(one.is_empty());
    assert_eq!(one.step(opened(3, server("server4"))), [Effect::Discard { connection: 3 }]);
    assert_eq!(one.step(Event::Ensure(vec![named("server5")])), []);
}

/// State of one connection at a shell that obeys the table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ConnectionLife {
    Parked,
    Running,
    Announced,
    Closing,
    Over,
}

proptest! {
    /// Whatever happens in whatever order: at most one session a name, handed over once, announced at most once,
    /// withdrawn before it is over; and a target is dialed at most once at a time.
    #[test]
    fn one_session_a_name_at_any_time(
        me_first in any::<bool>(),
        steps in prop::collection::vec((0..9u8, 0..3usize, 0..6usize), 1..200),
    ) {
        let mut table = table(if me_first { "a" } else { "z" }, PeerKind::Server);
        let names = ["server1", "server2", "server3"];
        let mut lives: BTreeMap<ConnectionId, (usize, ConnectionLife)> = BTreeMap::new();
        let mut dialing = BTreeSet::new();
        for (now, (action, who, which)) in steps.into_iter().enumerate() {
            let now = at(now as u64 * 100);
            let chosen = lives.keys().rev().nth(which).copied();
            let running = chosen.filter(|id| !matches!(lives[id].1, ConnectionLife::Parked | ConnectionLife::Over));
            let event = match action {
                0 => Event::Ensure(vec![named(names[who])]),
                1 => Event::Ensure(vec![(None, format!("{}:1", names[who]))]),
                2 | 3 => {
                    let connection = lives.len() as u64 + 1;
                    lives.insert(connection, (who, ConnectionLife::Parked));
                    let direction = match dialing.iter().next().copied() {
                        Some(target) if action == 3 => {
                            dialing.remove(&target);
                            Direction::Outbound(target)
                        }
                        _ => Direction::Inbound,
                    };
                    Event::Opened { connection, who: identity(names[who], PeerKind::Server, which as u64), direction }
                }
                4 => match running {
                    Some(connection) => Event::Ready { connection, now },
                    None => continue,
                },
                5 => match chosen {
                    Some(connection) => Event::Lost { connection },
                    None => continue,
                },
                6 => match running {
                    Some(connection) => Event::Ended { connection, now },
                    None => continue,
                },
                7 => match dialing.pop_first() {
                    Some(target) => Event::DialFailed { target, found: None, failure: DialFailure::Broken },
                    None => continue,
                },
                _ => Event::Forget(names[who].to_owned()),
            };
            let over = match &event {
                Event::Ended { connection, .. } => Some(*connection),
                _ => None,
            };
            for effect in table.step(event) {
                let mut turn = |connection: ConnectionId, from: &[ConnectionLife], to| {
                    let life = &mut lives.get_mut(&connection).unwrap().1;
                    prop_assert!(from.contains(life), "connection {connection} is {life:?}, and then {to:?}");
                    *life = to;
                    Ok(())
                };
                match effect {
                    Effect::Dial { target, .. } => prop_assert!(dialing.insert(target), "target {target} twice"),
                    Effect::Cancel { target } => drop(dialing.remove(&target)),
                    Effect::Turn { .. } => {}
                    Effect::HandOver { connection } => {
                        let over = over.filter(|over| *over != connection);
                        if let Some(over) = over {
                            lives.get_mut(&over).unwrap().1 = ConnectionLife::Over;
                        }
                        let name = lives[&connection].0;
                        let other = lives.iter().find(|(id, (who, life))| {
                            **id != connection && *who == name && !matches!(life, ConnectionLife::Parked | ConnectionLife::Over)
                        });
                        prop_assert!(other.is_none(), "{connection} handed over beside {other:?}");
                        lives.get_mut(&connection).unwrap().1 = ConnectionLife::Running;
                    }
                    Effect::Discard { connection } => turn(connection, &[ConnectionLife::Parked], ConnectionLife::Over)?,
                    Effect::Close { connection } => turn(connection, &[ConnectionLife::Running], ConnectionLife::Closing)?,
                    Effect::Announce { connection } => turn(connection, &[ConnectionLife::Running], ConnectionLife::Announced)?,
                    Effect::Withdraw { connection } => turn(connection, &[ConnectionLife::Announced], ConnectionLife::Running)?,
                }
            }
            if let Some(over) = over {
                let life = &mut lives.get_mut(&over).unwrap().1;
                prop_assert!(*life != ConnectionLife::Announced, "{over} ended without being withdrawn");
                *life = ConnectionLife::Over;
            }
        }
        // Every connection that came in was used, is waiting for its turn, or was dropped; none is forgotten.
        for (name, _) in names.iter().enumerate() {
            let parked = lives.values().filter(|(who, life)| *who == name && *life == ConnectionLife::Parked).count();
            prop_assert!(parked <= 1, "{parked} connections wait");
        }
    }
}
