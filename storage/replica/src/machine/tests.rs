//! The state machine over tables in memory.

mod cluster;
mod dead_letters;
mod engine;
mod forwarding;
mod golden;
mod memory;
mod moves;
mod packs;
mod posts;
pub(crate) mod random;
mod topics;
mod transactions;

use memory::Memory;

use baton_domain::{
    ActivationReason, ClusterId, DestinationKind, EngineOp, Epoch, Member, Message, MessageId, OpResult, Policy,
    ProducerId, ReplicaId, Role, ServerName, SessionId, Settings, StoredMessage,
};

use super::*;

/// A marker of this nonce cannot be applied, on any replica: a defect that only tests have.
pub(crate) const POISON: u64 = 0xdead_beef_0bad_f00d;

pub(super) fn fail_if_seeded(command: &Command) {
    if matches!(command, Command::Marker { nonce: POISON }) {
        // The other replicas receive the entry before the leader stops at it and sends nothing more.
        std::thread::sleep(std::time::Duration::from_millis(100));
        panic!("a seeded defect");
    }
}

pub(crate) fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn members() -> Vec<Member> {
    let member = |name: &str, role, replica| Member {
        name: server(name),
        role,
        address: format!("{name}:7100"),
        replica: ReplicaId(replica),
    };
    vec![member("a", Role::Server, 1), member("b", Role::Server, 2), member("w", Role::Witness, 3)]
}

pub(crate) fn genesis() -> Command {
    Command::Genesis { cluster: ClusterId([1; 16]), generation: 0, members: members(), policy: Policy::default() }
}

pub(crate) fn activate(host: &str) -> Command {
    Command::Activate { host: server(host), reason: ActivationReason::Start, at_ms: 1 }
}

pub(crate) fn create(name: &str, settings: Settings) -> EngineOp {
    EngineOp::Create { name: queue(name), kind: DestinationKind::Queue, settings, owner: None }
}

pub(crate) fn configure(name: &str, settings: Settings) -> EngineOp {
    EngineOp::Configure { name: queue(name), patch: Box::new(settings.into()), if_version: None }
}

pub(crate) fn producer(number: u8) -> ProducerId {
    ProducerId([number; 16])
}

pub(crate) fn session_id(number: u8) -> SessionId {
    SessionId([number; 16])
}

pub(crate) fn message(text: &str) -> Message {
    Message::new(text.as_bytes().to_vec())
}

/// A machine, its tables and its log index.
struct Bench {
    machine: Machine,
    memory: Memory,
    index: u64,
}

impl Bench {
    fn new() -> Self {
        let memory = Memory::default();
        Self { machine: Machine::load(&memory).unwrap(), memory, index: 0 }
    }

    /// The same after a restart.
    fn reopened(&self) -> Self {
        let memory = self.memory.clone();
        Self { machine: Machine::load(&memory).unwrap(), memory, index: self.index }
    }

    /// Begun, and active on server a.
    fn running() -> (Self, Epoch) {
        let mut bench = Self::new();
        assert_eq!(bench.apply(&genesis()), Applied::Done);
        let Applied::Activated { epoch } = bench.apply(&activate("a")) else { panic!("not activated") };
        (bench, epoch)
    }

    fn apply(&mut self, command: &Command) -> Applied {
        self.apply_all(std::slice::from_ref(command)).remove(0)
    }

    /// Applies commands in one batch.
    fn apply_all(&mut self, commands: &[Command]) -> Vec<Applied> {
        let mut batch = self.memory.batch();
        let mut answers = Vec::new();
        for command in commands {
            self.index += 1;
            if Machine::begins_batch(command) {
                self.write(std::mem::take(&mut batch));
            }
            answers.push(self.machine.apply(self.index, command, &self.memory, &mut batch).unwrap());
        }
        self.write(batch);
        answers
    }

    fn write(&mut self, mut batch: memory::MemoryBatch) {
        self.machine.seal_batch(&mut batch);
        self.memory.write(batch);
        self.machine.end_batch();
    }

    /// Applies commands in batches of these sizes, over and over.
    fn apply_in_batches(&mut self, mut commands: &[Command], sizes: &[usize]) -> Vec<Applied> {
        let mut answers = Vec::new();
        let mut sizes = sizes.iter().cycle();
        while !commands.is_empty() {
            let (batch, rest) = commands.split_at((*sizes.next().unwrap()).min(commands.len()));
            answers.extend(self.apply_all(batch));
            commands = rest;
        }
        answers
    }

    fn ops(&mut self, epoch: Epoch, ops: Vec<EngineOp>) -> Vec<OpResult> {
        match self.apply(&Command::Engine { epoch, at_ms: self.index * 10, ops }) {
            Applied::Engine { results } => results,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, command: &Command) -> String {
        let before = self.memory.clone();
        match self.apply(command) {
            Applied::Refused { why } => {
                assert_eq!(self.memory.without_hash(), before.without_hash(), "a refusal changes nothing");
                why
            }
            other => panic!("{command:?} was not refused: {other:?}"),
        }
    }

    fn cluster(&self) -> &ClusterState {
        self.machine.cluster()
    }

    fn queue(&self, id: QueueId) -> QueueState {
        decode(&self.memory.get(Family::Queues, &queue_key(id)).unwrap().unwrap()).unwrap()
    }

    /// The messages of the queue; of shares only their ids.
    fn stored(&self, id: QueueId) -> Vec<(MessageId, Option<StoredMessage>)> {
        let mut all = Vec::new();
        for (key, value) in self.memory.scan(Family::Messages).unwrap() {
            let first = message_key_id(&key).unwrap();
            if key[..4] != queue_key(id) {
            } else if is_pack(&value) {
                let left = PackRemainder::read(&self.memory.get(Family::Packs, &key).unwrap().unwrap()).unwrap();
                let messages = Pack::read(&value).unwrap().messages(0, &left).map(Result::unwrap);
                all.extend(messages.map(|(at, message)| (first.after(at as u32, first.lane()), Some(message))));
            } else {
                all.push((first, (!is_share(&value)).then(|| decode_message(&value, None).unwrap())));
            }
        }
        all
    }

    /// The messages of a queue: ids and bodies.
    fn messages(&self, id: QueueId) -> Vec<(MessageId, String)> {
        let text = |message: StoredMessage| String::from_utf8(message.message.body.to_vec()).unwrap();
        self.stored(id).into_iter().map(|(id, message)| (id, text(message.unwrap()))).collect()
    }

    /// Every pack has its record, and something is left of it.
    fn check_packs(&self) {
        let records = self.memory.scan(Family::Packs).unwrap();
        for (key, left) in &records {
            let pack = self.memory.get(Family::Messages, key).unwrap().expect("what is left of nothing");
            let messages = Pack::read(&pack).unwrap().len();
            let left = PackRemainder::read(left).unwrap().0;
            assert!(left.len() == messages && left.iter().any(|size| *size != pack::GONE), "{left:?} of {messages}");
        }
        let packs = self.memory.scan(Family::Messages).unwrap().into_iter().filter(|(_, value)| is_pack(value));
        assert_eq!(packs.count(), records.len());
    }

    /// The same commands in batches of these sizes; before each the machine forgets all that is only in its memory.
    fn apply_forgetting(&mut self, mut commands: &[Command], sizes: &[usize]) {
        let mut sizes = sizes.iter().cycle();
        while !commands.is_empty() {
            let (batch, rest) = commands.split_at((*sizes.next().unwrap()).min(commands.len()));
            self.machine = Machine::load(&self.memory).unwrap();
            self.apply_all(batch);
            commands = rest;
        }
    }
}
