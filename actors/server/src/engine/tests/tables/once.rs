//! Changes of destinations whose answer was lost, and that are sent again.

use baton_client::protocol::Kind;
use baton_domain::{ChangeId, Destinations, SettingsPatch};

use super::*;

fn once(number: u8, again: bool, request: EngineRequest) -> EngineRequest {
    EngineRequest::Once { change: ChangeId([number; 16]), again, request: Box::new(request) }
}

fn bound(messages: u64) -> EngineRequest {
    let patch = SettingsPatch::default().max_messages(messages);
    EngineRequest::Configure { name: queue("q"), patch: Box::new(patch), if_version: None }
}

fn max_messages(bench: &mut Bench) -> u64 {
    let EngineReply::Queues(queues) = bench.call(EngineRequest::ListQueues) else { panic!() };
    queues[0].settings.max_messages
}

/// Also by the next engine, which has only the store to know it from.
#[test]
fn a_change_that_is_repeated_does_not_undo_a_later_one() {
    let mut bench = started();
    let first = bench.call(once(1, false, bound(7)));
    assert_eq!(first, EngineReply::Configured { version: 1 });
    assert_eq!(bench.call(once(2, false, bound(9))), EngineReply::Configured { version: 2 });
    let mut bench = Bench::over(bench.model, EngineConfig::default());
    for again in [true, false] {
        assert_eq!(bench.call(once(1, again, bound(7))), first);
        assert_eq!(max_messages(&mut bench), 9);
    }
    assert_eq!(bench.call(once(3, true, bound(5))), EngineReply::Configured { version: 3 }, "the first that arrives");
    assert_eq!(max_messages(&mut bench), 5);
}

#[test]
fn what_was_created_or_deleted_is_answered_as_the_first_time() {
    let mut bench = started();
    let (name, settings) = (queue("p"), Box::<SettingsPatch>::default());
    let create = EngineRequest::Create { name: name.clone(), kind: Kind::Queue, settings };
    let delete = EngineRequest::Delete { name: name.clone(), if_empty: false, if_unused: false };
    let deleted = EngineReply::Deleted { messages: 0, consumers: 0 };
    assert_eq!(bench.call(once(1, false, create.clone())), EngineReply::Created { created: true });
    assert_eq!(bench.call(once(2, false, delete.clone())), deleted);
    assert_eq!(bench.call(once(1, true, create.clone())), EngineReply::Created { created: true });
    assert_eq!(bench.state.running().unwrap().queues.id(&name), None, "it stays deleted");
    assert_eq!(bench.call(once(3, false, create.clone())), EngineReply::Created { created: true });
    assert_eq!(bench.call(once(2, true, delete.clone())), deleted);
    assert!(bench.state.running().unwrap().queues.id(&name).is_some(), "the later one stays");
    // It was there: what it names is compared again, as the first time.
    assert_eq!(bench.call(once(4, false, create.clone())), EngineReply::Created { created: false });
    assert_eq!(bench.call(once(4, true, create)), EngineReply::Created { created: false });
}

#[test]
fn an_id_makes_no_other_change_and_no_other_request() {
    let mut bench = started();
    let bad = |reply| matches!(reply, EngineReply::Error(EngineError::BadRequest(_)));
    assert!(bad(bench.call(once(1, false, EngineRequest::ListQueues))));
    assert!(bad(bench.call(once(1, true, once(1, true, bound(7))))));
    bench.call(once(1, false, bound(7)));
    let delete = EngineRequest::Delete { name: queue("q"), if_empty: false, if_unused: false };
    bench.call(once(1, false, delete));
    assert_eq!(max_messages(&mut bench), 7);
}

/// As a client does it: it looks first, and purges what it saw, however often it has to ask.
#[test]
fn a_purge_that_is_repeated_leaves_what_came_since() {
    let mut bench = started();
    bench.send(1, 3);
    bench.settle_down();
    let look = EngineRequest::Browse { queue: queue("q"), from: None, limit: 1 };
    let EngineReply::Messages { newest: through, .. } = bench.call(look) else { panic!() };
    let purge = EngineRequest::Purge { queue: queue("q"), through };
    assert_eq!(bench.call(purge.clone()), EngineReply::Moved { messages: 3 });
    bench.send(4, 2);
    bench.settle_down();
    assert_eq!(bench.call(purge), EngineReply::Moved { messages: 0 });
    bench.attach(1, "q", 9, &[]);
    assert_eq!(bench.take().len(), 2);
}
