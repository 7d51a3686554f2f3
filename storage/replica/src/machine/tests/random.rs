//! Random commands in random batches, against the rules told once more in another way.

use baton_domain::StopReason;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A command before it is known what the cluster looks like when it comes.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Activate(bool),
    Stop,
    Policy,
    Marker,
    Admit(u8),
    /// Ops, and how many activations back their epoch is.
    Engine(Vec<Op>, u8),
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(u8),
    Delete(u8),
    Open(u8, u8),
    Forget(u8),
    /// Producer, how far from its next number (0: right), count, whether it is delivered at once.
    Send(u8, i8, u8, bool),
    /// Queue, which messages of those that were ever stored.
    Settle(u8, Vec<u8>),
    Requeue(u8, Vec<u8>),
    Dispatch(u8, u8),
    Attach(u8, u8),
    Detach(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let some = || proptest::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        2 => (0..3_u8).prop_map(Op::Create),
        1 => (0..3_u8).prop_map(Op::Delete),
        3 => (0..4_u8, 0..3_u8).prop_map(|(producer, queue)| Op::Open(producer, queue)),
        1 => (0..4_u8).prop_map(Op::Forget),
        10 => (0..4_u8, -3..3_i8, 0..5_u8, any::<bool>())
            .prop_map(|(producer, off, count, dispatch)| Op::Send(producer, off, count, dispatch)),
        5 => (0..4_u8, some()).prop_map(|(queue, which)| Op::Settle(queue, which)),
        3 => (0..4_u8, some()).prop_map(|(queue, which)| Op::Requeue(queue, which)),
        1 => (0..4_u8, any::<u8>()).prop_map(|(queue, which)| Op::Dispatch(queue, which)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(consumer, queue)| Op::Attach(consumer, queue)),
        1 => (0..3_u8).prop_map(Op::Detach),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<bool>().prop_map(Step::Activate),
        1 => Just(Step::Stop),
        1 => Just(Step::Policy),
        1 => Just(Step::Marker),
        1 => (0..5_u8).prop_map(Step::Admit),
        14 => (proptest::collection::vec(op(), 1..6), 0..3_u8)
            .prop_map(|(ops, back)| Step::Engine(ops, back.saturating_sub(1))),
    ]
}

pub(crate) fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..count)
}

/// Turns steps into commands: a small part of the rules, as a client would know them.
#[derive(Default)]
pub(crate) struct Author {
    index: u64,
    epochs: Vec<Epoch>,
    queues: u32,
    stored: Vec<MessageId>,
    next: BTreeMap<u8, u64>,
}

impl Author {
    /// The commands of a log, genesis first.
    pub(crate) fn write(steps: &[Step]) -> Vec<Command> {
        let mut author = Self::default();
        let mut commands = vec![author.command(&genesis()), author.command(&activate("a"))];
        commands.extend(steps.iter().map(|step| author.step(step)));
        commands
    }

    fn command(&mut self, command: &Command) -> Command {
        self.index += 1;
        if let Command::Activate { .. } = command {
            self.epochs.push(Epoch { generation: 0, index: self.index });
        }
        command.clone()
    }

    fn epoch(&self, back: u8) -> Epoch {
        self.epochs[self.epochs.len().saturating_sub(1 + back as usize)]
    }

    fn step(&mut self, step: &Step) -> Command {
        let command = match step {
            Step::Activate(here) => activate(if *here { "a" } else { "b" }),
            Step::Stop => {
                Command::Stop { epoch: self.epoch(0), reason: StopReason::Nowhere("test".to_owned()), at_ms: 3 }
            }
            Step::Policy => Command::SetPolicy { policy: Policy { manual: true, ..Policy::default() } },
            Step::Marker => Command::Marker { nonce: 1 },
            Step::Admit(name) => {
                Command::Admit { name: server(&format!("s{name}")), role: Role::Server, address: "x:1".into() }
            }
            Step::Engine(ops, back) => {
                let mut position = 0;
                let ops = ops.iter().map(|op| self.op(op, &mut position)).collect();
                Command::Engine { epoch: self.epoch(*back), at_ms: self.index, ops }
            }
        };
        self.command(&command)
    }

    fn ids(&self, which: &[u8]) -> Vec<MessageId> {
        let pick = |which: &u8| self.stored.iter().rev().nth(*which as usize % 16).copied();
        which.iter().filter_map(pick).collect()
    }

    fn op(&mut self, op: &Op, position: &mut u32) -> EngineOp {
        let name = |number: &u8| queue(&format!("q{number}"));
        match op {
            Op::Create(number) => {
                self.queues += 1;
                EngineOp::CreateQueue { name: name(number) }
            }
            Op::Delete(number) => EngineOp::DeleteQueue { name: name(number) },
            Op::Open(number, of) => EngineOp::OpenProducer { producer: producer(*number), queue: name(of) },
            Op::Forget(number) => {
                self.next.remove(number);
                EngineOp::ForgetProducers { producers: vec![producer(*number)] }
            }
            Op::Send(number, off, count, dispatch) => {
                let next = self.next.entry(*number).or_insert(1);
                let first = next.saturating_add_signed(i64::from(*off).min(0)).max(1) + u64::from(*off == 2);
                let last = first + u64::from(*count);
                let messages = (first..last).map(|at| message(&format!("{number}:{at}"))).collect();
                // A guess: whether it is accepted is for the machine to say.
                *next = (*next).max(last);
                for _ in 0..*count {
                    self.stored.push(MessageId { generation: 0, index: self.index + 1, position: *position });
                    *position += 1;
                }
                EngineOp::Send { registration: 0, producer: producer(*number), first, messages, dispatch: *dispatch }
            }
            Op::Settle(of, which) => {
                EngineOp::Settle { queue: self.queue(*of), messages: self.ids(which), heads: Vec::new() }
            }
            Op::Requeue(of, which) => EngineOp::Requeue { queue: self.queue(*of), messages: self.ids(which) },
            Op::Dispatch(of, which) => {
                let through = self.ids(&[*which]).first().copied().unwrap_or_default();
                EngineOp::Dispatch { queue: self.queue(*of), through }
            }
            Op::Attach(number, of) => EngineOp::Attach { queue: name(of), consumer: ConsumerId([*number; 16]) },
            Op::Detach(number) => EngineOp::Detach { consumer: ConsumerId([*number; 16]) },
        }
    }

    /// One of the newest queues; it may be gone.
    fn queue(&self, back: u8) -> QueueId {
        QueueId(self.queues.saturating_sub(u32::from(back)).max(1))
    }
}

/// What the rules say of producers, told again: which numbers were taken, and where the messages must be.
#[derive(Default)]
struct Oracle {
    newest: Option<Epoch>,
    stopped: bool,
    /// Numbers that each registration took.
    last: BTreeMap<ProducerId, u64>,
}

impl Oracle {
    fn check(&mut self, index: u64, command: &Command, applied: &Applied) {
        match (command, applied) {
            (Command::Activate { .. }, Applied::Activated { epoch }) => {
                assert!(Some(*epoch) > self.newest && epoch.index == index);
                (self.newest, self.stopped) = (Some(*epoch), false);
            }
            (Command::Stop { epoch, .. }, _) => self.stopped |= Some(*epoch) == self.newest,
            (Command::Engine { epoch, ops, .. }, applied) => {
                let runs = Some(*epoch) == self.newest && !self.stopped;
                match applied {
                    Applied::Engine { results } => {
                        assert!(runs, "an old engine wrote");
                        assert_eq!(ops.len(), results.len());
                        ops.iter().zip(results).for_each(|(op, result)| self.op(op, result));
                    }
                    Applied::Fenced { current } => assert!(!runs && Some(*current) == self.newest),
                    other => panic!("{other:?}"),
                }
            }
            _ => {}
        }
    }

    fn op(&mut self, op: &EngineOp, result: &OpResult) {
        match (op, result) {
            (EngineOp::OpenProducer { producer, .. }, OpResult::Producer { next, .. }) => {
                if *next == 1 {
                    self.last.insert(*producer, 0);
                }
                assert_eq!(self.last[producer] + 1, *next);
            }
            (EngineOp::Send { producer, first, messages, .. }, OpResult::Sent { duplicates, accepted, .. }) => {
                let last = self.last.get_mut(producer).expect("an unknown producer was accepted");
                assert!(*first <= *last + 1, "a gap was accepted");
                assert_eq!(u64::from(*duplicates), (*last + 1 - first).min(messages.len() as u64));
                assert_eq!(messages.len() as u32, duplicates + accepted);
                *last += u64::from(*accepted);
            }
            (EngineOp::Send { producer, first, .. }, OpResult::Gap { expected }) => {
                assert_eq!(self.last[producer] + 1, *expected);
                assert!(first > expected || *first == 0);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Invariants 1, 4 and 7: whatever comes in whatever batches, the answers follow the rules, and all batchings end
    /// in the same bytes, the same hash and the same memory.
    #[test]
    fn every_batching_gives_the_same_answers_bytes_and_hash(
        steps in steps(60),
        cuts in proptest::collection::vec(1..9_usize, 1..40),
    ) {
        let commands = Author::write(&steps);
        let mut single = Bench::new();
        let mut oracle = Oracle::default();
        let mut answers = Vec::new();
        for (index, command) in (1..).zip(&commands) {
            let applied = single.apply(command);
            oracle.check(index, command, &applied);
            answers.push(applied);
        }
        let mut batched = Bench::new();
        let again = batched.apply_in_batches(&commands, &cuts);
        prop_assert_eq!(&answers, &again);
        prop_assert_eq!(&single.memory, &batched.memory);
        let mut forgetful = Bench::new();
        forgetful.apply_forgetting(&commands, &cuts);
        prop_assert_eq!(&single.memory, &forgetful.memory);
        let reloaded = Machine::load(&batched.memory).unwrap();
        prop_assert_eq!(reloaded.hash, single.machine.hash);
        prop_assert_eq!(&reloaded.queues, &single.machine.queues);
        prop_assert_eq!(&reloaded.names, &single.machine.names);
        prop_assert_eq!(&reloaded.consumers, &single.machine.consumers);
        prop_assert_eq!(reloaded.cluster(), single.machine.cluster());
        single.check_packs();
        // Depths and sizes are those of the messages that are there.
        for (id, state) in &single.machine.queues {
            let messages = single.messages(*id);
            prop_assert_eq!(state.depth(), messages.len() as u64);
            prop_assert_eq!(state.bytes, messages.iter().map(|(_, text)| text.len() as u64).sum::<u64>());
        }
    }
}
