//! Topic spaces: stored once, shared by those who want it, gone with the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_domain::{
    DestinationKind, ExceptionDestination, MoveTo, SYSTEM_EXCEPTION_QUEUE, Settings, Subscription, Timer, TimerKind,
};
use proptest::prelude::*;

use super::*;
use crate::machine::records::MessageHead;

const SPACE: QueueId = QueueId(1);

fn create(name: &str, kind: DestinationKind, owner: Option<u8>) -> EngineOp {
    let owner = owner.map(|number| ConsumerId([number; 16]));
    EngineOp::Create { name: queue(name), kind, settings: Settings::default(), owner }
}

fn subscription(topic: &str) -> DestinationKind {
    DestinationKind::Subscription(Subscription { space: SPACE, topic: topic.to_owned(), selector: String::new() })
}

fn publish(first: u64, messages: &[(&str, &str)]) -> EngineOp {
    let messages = messages.iter().map(|(topic, text)| message(text).with_topic(*topic)).collect();
    EngineOp::Send { registration: 0, producer: producer(1), first, messages, dispatch: false }
}

/// A topic space `news` with producer 1.
fn ready() -> (Bench, Epoch) {
    let (mut bench, epoch) = Bench::running();
    let open = EngineOp::OpenProducer { producer: producer(1), queue: queue("news") };
    bench.ops(epoch, vec![create("news", DestinationKind::TopicSpace, None), open]);
    (bench, epoch)
}

fn of(bench: &Bench, name: &str) -> QueueId {
    bench.machine.names[&queue(name)]
}

/// The keys of a destination's messages.
fn ids(bench: &Bench, id: QueueId) -> Vec<MessageId> {
    bench.stored(id).into_iter().map(|(id, _)| id).collect()
}

fn settle(id: QueueId, messages: Vec<MessageId>) -> EngineOp {
    EngineOp::Settle { queue: id, messages, heads: vec![] }
}

#[test]
fn a_message_is_stored_once_and_goes_with_the_last_subscription_that_has_it() {
    let (mut bench, epoch) = ready();
    let names = [("all", "#"), ("sport", "sport/*"), ("tennis", "sport/tennis")];
    bench.ops(epoch, names.iter().map(|(name, topic)| create(name, subscription(topic), None)).collect());
    let sent = [("sport/tennis", "a"), ("sport/golf", "b"), ("weather", "c")];
    let results = bench.ops(epoch, vec![publish(1, &sent)]);
    let OpResult::Published { accepted: 3, duplicates: 0, matched, .. } = &results[0] else { panic!("{results:?}") };
    let (all, sport, tennis) = (of(&bench, "all"), of(&bench, "sport"), of(&bench, "tennis"));
    assert_eq!(*matched, [(all, vec![0, 1, 2]), (sport, vec![0, 1]), (tennis, vec![0])]);
    assert_eq!((ids(&bench, SPACE).len(), bench.queue(SPACE).depth()), (3, 3));
    let stored = ids(&bench, all);
    assert_eq!((stored.clone(), stored[..2].to_vec()), (ids(&bench, SPACE), ids(&bench, sport)), "under the same ids");

    bench.ops(epoch, vec![settle(all, stored.clone())]);
    assert_eq!(ids(&bench, SPACE), stored[..2], "nobody else wanted the weather");
    bench.ops(epoch, vec![settle(sport, stored[..2].to_vec()), settle(sport, stored[..2].to_vec())]);
    assert_eq!(ids(&bench, SPACE), stored[..1], "a second acknowledgement takes nobody's share");
    bench.ops(epoch, vec![settle(tennis, stored[..1].to_vec())]);
    assert!(ids(&bench, SPACE).is_empty() && bench.memory.scan(Family::Shares).unwrap().is_empty());
    assert_eq!((bench.queue(SPACE).depth(), bench.queue(SPACE).bytes), (0, 0));

    let results = bench.ops(epoch, vec![publish(1, &sent), publish(4, &[("nobody/wants/this", "d")])]);
    assert!(matches!(results[0], OpResult::Published { accepted: 0, duplicates: 3, .. }), "{results:?}");
    assert!(matches!(results[1], OpResult::Published { accepted: 1, .. }));
    assert_eq!(ids(&bench, SPACE).len(), 1, "only `all` wants it");
}

#[test]
fn a_selector_chooses_by_headers_and_a_wrong_one_is_refused() {
    let (mut bench, epoch) = ready();
    let selecting = |selector: &str| {
        let (topic, selector) = ("#".to_owned(), selector.to_owned());
        DestinationKind::Subscription(Subscription { space: SPACE, topic, selector })
    };
    let wrong = bench.ops(epoch, vec![create("wrong", selecting("kind ="), None)]);
    assert!(matches!(&wrong[0], OpResult::Refused { why } if why.contains("column")), "{wrong:?}");
    bench.ops(epoch, vec![create("large", selecting("size > 10 AND priority >= 4 AND topic LIKE 'a/%'"), None)]);
    let sized = |topic: &str, size: &str| message(size).with_topic(topic).with_header("size", size);
    let messages = vec![sized("a/b", "11"), sized("a/b", "9"), sized("b", "99"), sized("a/c", "12").with_priority(0)];
    bench.ops(
        epoch,
        vec![EngineOp::Send {
            registration: 0,
            producer: producer(1),
            first: 1,
            messages: messages.into(),
            dispatch: false,
        }],
    );
    assert_eq!(ids(&bench, of(&bench, "large")).len(), 1);
    assert_eq!(bench.messages(SPACE)[0].1, "11");
    assert_eq!(Machine::load(&bench.memory).unwrap().topics, bench.machine.topics);
}

#[test]
fn a_deleted_subscription_gives_up_its_shares_and_a_space_with_subscriptions_stays() {
    let (mut bench, epoch) = ready();
    bench.ops(epoch, vec![create("one", subscription("#"), None), create("two", subscription("#"), None)]);
    bench.ops(epoch, vec![publish(1, &[("a", "a"), ("b", "b")])]);
    let delete = |name: &str| EngineOp::DeleteQueue { name: queue(name) };
    assert!(matches!(bench.ops(epoch, vec![delete("news")])[0], OpResult::Refused { .. }));
    bench.ops(epoch, vec![delete("one")]);
    assert_eq!(ids(&bench, SPACE).len(), 2);
    bench.ops(epoch, vec![delete("two")]);
    assert!(ids(&bench, SPACE).is_empty());
    assert_eq!(bench.ops(epoch, vec![delete("news")]), [OpResult::Done]);
    assert_eq!(bench.memory.scan(Family::Settings).unwrap(), []);
    let orphan = bench.ops(epoch, vec![create("three", subscription("#"), None)]);
    assert!(matches!(orphan[0], OpResult::Refused { .. }), "its space is gone");
}

#[test]
fn what_is_a_consumers_own_goes_with_it() {
    let (mut bench, epoch) = ready();
    let attach = |number: u8, name: &str| EngineOp::Attach { queue: queue(name), consumer: ConsumerId([number; 16]) };
    let own = [create("mine", subscription("#"), Some(7)), create("answers", DestinationKind::Queue, Some(7))];
    bench.ops(epoch, own.to_vec());
    bench.ops(epoch, vec![attach(7, "mine"), attach(8, "mine"), publish(1, &[("a", "a")])]);
    let owned = vec![of(&bench, "mine"), of(&bench, "answers")];
    let detach = |number: u8| EngineOp::Detach { consumer: ConsumerId([number; 16]) };
    assert_eq!(bench.ops(epoch, vec![detach(8)]), [OpResult::Detached { deleted: vec![] }]);
    assert_eq!(bench.ops(epoch, vec![detach(7)]), [OpResult::Detached { deleted: owned }]);
    assert!(ids(&bench, SPACE).is_empty() && bench.machine.queues.len() == 1);
}

/// Each subscription has its own time, until the message comes back to it, too.
#[test]
fn a_message_lives_as_long_as_it_says_or_its_subscription_or_their_space() {
    let (mut bench, epoch) = Bench::running();
    let create = |name: &str, kind: DestinationKind, time_to_live_ms: u64| {
        let settings = Settings { time_to_live_ms, redelivery_delay_ms: 3, ..Settings::default() };
        EngineOp::Create { name: queue(name), kind, settings, owner: None }
    };
    let space = create("news", DestinationKind::TopicSpace, 1_000);
    let (long, short) = (create("long", subscription("#"), 0), create("short", subscription("#"), 50));
    bench.ops(epoch, vec![space, long, short]);
    let (long, short) = (of(&bench, "long"), of(&bench, "short"));
    let at_ms = bench.index * 10;
    let messages =
        vec![message("a").with_topic("t"), message("b").with_topic("t").with_time_to_live(Duration::from_millis(7))];
    bench.ops(epoch, vec![EngineOp::Post { queue: SPACE, messages: messages.into(), dispatch: false }]);
    let timers = |bench: &Bench| {
        let all = bench.memory.scan(Family::Timers).unwrap();
        let timer = |(key, value): (Vec<u8>, Vec<u8>)| (Timer::from_key(&key).unwrap(), value);
        all.into_iter().map(timer).collect::<Vec<_>>()
    };
    let due: Vec<_> = timers(&bench).iter().map(|(timer, _)| (timer.due_ms - at_ms, timer.queue)).collect();
    assert_eq!(due, [(7, long), (7, short), (50, short), (1_000, long)]);
    let a = ids(&bench, short)[0];
    bench.ops(epoch, vec![EngineOp::Requeue { queue: short, messages: vec![a] }]);
    let all = timers(&bench);
    let (_, back) = all.iter().find(|(timer, _)| timer.kind == TimerKind::Enter).unwrap();
    assert_eq!(MessageHead::read(back).unwrap().0.expires_ms, at_ms + 50);
}

/// What leaves a subscription for elsewhere is a message of its own.
#[test]
fn a_subscriptions_poison_message_goes_to_the_exception_destination_and_the_others_keep_theirs() {
    let (mut bench, epoch) = ready();
    bench.ops(epoch, vec![create("one", subscription("#"), None), create("two", subscription("#"), None)]);
    bench.ops(epoch, vec![publish(1, &[("a", "poison")])]);
    let (one, two) = (of(&bench, "one"), of(&bench, "two"));
    let id = ids(&bench, one)[0];
    let reject = EngineOp::Move { queue: one, messages: vec![id], to: MoveTo::Exception { reason: "no".into() } };
    bench.ops(epoch, vec![reject]);
    let exception = of(&bench, SYSTEM_EXCEPTION_QUEUE);
    assert_eq!(bench.messages(exception)[0].1, "poison");
    assert_eq!((ids(&bench, one).len(), ids(&bench, two).len(), ids(&bench, SPACE).len()), (0, 1, 1));
    let back = EngineOp::Move { queue: exception, messages: vec![ids(&bench, exception)[0]], to: MoveTo::Origin };
    bench.ops(epoch, vec![back]);
    assert_eq!(bench.messages(one)[0].1, "poison", "it comes back to this subscription alone");
    let again = ids(&bench, one);
    bench.ops(epoch, vec![settle(one, again), settle(two, vec![id])]);
    assert!(bench.memory.scan(Family::Messages).unwrap().is_empty());
}

#[derive(Debug, Clone)]
enum Deed {
    Subscribe(u8, u8),
    Unsubscribe(u8),
    Publish(Vec<(u8, bool)>),
    Settle(u8, Vec<u8>),
    Fail(u8, Vec<u8>),
    Purge(u8, bool),
}

const TOPICS: [&str; 4] = ["a", "a/b", "a/c", "b"];
const PATTERNS: [&str; 4] = ["#", "a/*", "a/#", "b"];

fn deed() -> impl Strategy<Value = Deed> {
    let some = || proptest::collection::vec(any::<u8>(), 1..5);
    prop_oneof![
        3 => (0..4_u8, 0..4_u8).prop_map(|(name, pattern)| Deed::Subscribe(name, pattern)),
        1 => (0..4_u8).prop_map(Deed::Unsubscribe),
        6 => proptest::collection::vec((0..4_u8, any::<bool>()), 1..6).prop_map(Deed::Publish),
        6 => (0..4_u8, some()).prop_map(|(name, which)| Deed::Settle(name, which)),
        3 => (0..4_u8, some()).prop_map(|(name, which)| Deed::Fail(name, which)),
        1 => (0..4_u8, any::<bool>()).prop_map(|(name, high)| Deed::Purge(name, high)),
    ]
}

fn op(deed: &Deed, bench: &Bench, sent: &mut u64) -> EngineOp {
    let name = |number: &u8| format!("s{number}");
    let id = |number: &u8| bench.machine.names.get(&queue(&name(number))).copied().unwrap_or(QueueId(99));
    let pick = |queue: QueueId, which: &[u8]| -> Vec<MessageId> {
        let all = ids(bench, queue);
        which.iter().filter_map(|which| all.get(*which as usize % all.len().max(1)).copied()).collect()
    };
    match deed {
        Deed::Subscribe(number, pattern) => {
            let settings = Settings {
                max_failed_deliveries: 2,
                redelivery_delay_ms: u64::from(number % 2) * 50,
                exception: ExceptionDestination::System,
                ..Settings::default()
            };
            let kind = subscription(PATTERNS[*pattern as usize]);
            EngineOp::Create { name: queue(&name(number)), kind, settings, owner: None }
        }
        Deed::Unsubscribe(number) => EngineOp::DeleteQueue { name: queue(&name(number)) },
        Deed::Publish(messages) => {
            let first = *sent + 1;
            let messages = messages.iter().map(|(topic, high)| {
                *sent += 1;
                let priority = if *high { 9 } else { 4 };
                message(&sent.to_string()).with_topic(TOPICS[*topic as usize]).with_priority(priority)
            });
            EngineOp::Send {
                registration: 0,
                producer: producer(1),
                first,
                messages: messages.collect(),
                dispatch: false,
            }
        }
        Deed::Settle(number, which) => settle(id(number), pick(id(number), which)),
        Deed::Fail(number, which) => EngineOp::Requeue { queue: id(number), messages: pick(id(number), which) },
        Deed::Purge(number, high) => EngineOp::Purge {
            queue: id(number),
            through: baton_domain::Lane::of_priority(if *high { 9 } else { 4 }).end_of(0, bench.index),
            limit: 3,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Each share has its message, each message as many shares as are counted, and every batching ends in the same bytes.
    #[test]
    fn messages_and_shares_go_together(
        deeds in proptest::collection::vec(deed(), 1..60),
        cuts in proptest::collection::vec(1..6_usize, 1..20),
    ) {
        let (mut single, epoch) = ready();
        let (mut sent, mut commands) = (0, Vec::new());
        for deed in &deeds {
            let ops = vec![op(deed, &single, &mut sent)];
            let command = Command::Engine { epoch, at_ms: single.index * 10, ops };
            let Applied::Engine { .. } = single.apply(&command) else { panic!("refused") };
            commands.push(command);
            let mut shares: BTreeMap<MessageId, u32> = BTreeMap::new();
            for (id, state) in &single.machine.queues {
                let stored = single.stored(*id);
                prop_assert_eq!(state.depth(), stored.len() as u64);
                for (message, _) in stored.iter().filter(|(_, stored)| stored.is_none()) {
                    *shares.entry(*message).or_default() += 1;
                }
            }
            let stored: BTreeSet<MessageId> = ids(&single, SPACE).into_iter().collect();
            prop_assert_eq!(&stored, &shares.keys().copied().collect::<BTreeSet<_>>());
            for (id, count) in shares {
                let counted = single.memory.get(Family::Shares, &message_key(SPACE, id)).unwrap();
                let counted = counted.map_or(1, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
                prop_assert_eq!(counted, count);
            }
        }
        let (mut batched, _) = ready();
        batched.apply_in_batches(&commands, &cuts);
        prop_assert_eq!(&single.memory, &batched.memory);
        let mut forgetful = ready().0;
        forgetful.apply_forgetting(&commands, &cuts);
        prop_assert_eq!(&single.memory, &forgetful.memory);
        let reloaded = Machine::load(&batched.memory).unwrap();
        prop_assert_eq!(&reloaded.topics, &single.machine.topics.clone().into_iter().filter(|(_, tree)| !tree.is_empty()).collect());
    }
}
