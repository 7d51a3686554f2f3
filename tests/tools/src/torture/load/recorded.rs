//! Clients that print each operation when they request it and when it is answered (`torture-client`): producers that
//! resume after their end, movers, consumers that hold many messages, and clients that change settings. Some are killed
//! again and again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use baton_tests::program::{Background, Output};

use super::super::queues::{BRIEF, DEAD, DEAD_MOST, DELAY_MS, LIVE_MS, MOVED, SET_ASIDE, TIMED};
use crate::torture::access::Access;
use crate::torture::history::{Consumer, Producer, RunClock};
use crate::torture::operation::{Answer, Operation, Request, read};

/// Between two deaths.
const DEATH: Duration = Duration::from_millis(1_300);
/// Time for which a mover is frozen instead: longer than an engine waits for a consumer, shorter than the checks allow
/// a message to be on its way.
const FREEZE: Duration = Duration::from_millis(1_800);
/// Every Nth death of a mover is a freeze.
const FROZEN: usize = 3;
const SOON: Duration = Duration::from_secs(20);
/// Deadline of a client's end after SIGTERM.
const END: Duration = Duration::from_secs(30);
/// The register of a queue's settings; its queue has that name, too.
const SETTINGS: &str = "settings";

/// Kinds of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The last to have its messages.
    Consumer,
    /// It looks at messages that are counted elsewhere.
    Observer,
    /// It takes messages and sends them on.
    Mover,
    /// It is killed and goes on where it ended, under one name.
    Producer,
    /// It writes and reads settings.
    Settings,
}

/// A client.
#[derive(Debug, Clone, Copy)]
struct Plan {
    name: &'static str,
    role: Role,
    /// The queue as the checks know it.
    queue: &'static str,
    /// Its queue.
    destination: &'static str,
    /// Its arguments; of a consumer, credit and how long it holds a message.
    arguments: &'static str,
    /// True if it is killed again and again.
    dies: bool,
    /// True if it starts only when all faults are over.
    late: bool,
}

const fn plan(name: &'static str, role: Role, queue: &'static str, destination: &'static str) -> Plan {
    Plan { name, role, queue, destination, arguments: "200 0", dies: false, late: false }
}

const PREFETCHING: &str = "1000 2500";

const PLANS: [Plan; 18] = [
    Plan { arguments: "15 64 0", dies: true, ..plan("resumed-producer", Role::Producer, "resumed", "resumed") },
    plan("resumed-consumer", Role::Consumer, "resumed", "resumed"),
    Plan { dies: true, ..plan("mover1", Role::Mover, "moves", "moves") },
    Plan { dies: true, ..plan("mover2", Role::Mover, "moves", "moves") },
    plan("moves-consumer", Role::Consumer, "moves", MOVED[0]),
    plan("copies-consumer", Role::Observer, "moves", MOVED[1]),
    Plan { arguments: PREFETCHING, dies: true, ..plan("prefetch-consumer1", Role::Consumer, "prefetch", "prefetch") },
    Plan { arguments: PREFETCHING, dies: true, ..plan("prefetch-consumer2", Role::Consumer, "prefetch", "prefetch") },
    plan("prefetch-observer", Role::Observer, "prefetch", SET_ASIDE),
    plan("timed-consumer", Role::Consumer, "timed", TIMED),
    Plan { arguments: "8 0", ..plan("large-consumer", Role::Consumer, "large", "large") },
    Plan { dies: true, ..plan("settings1", Role::Settings, SETTINGS, SETTINGS) },
    plan("settings2", Role::Settings, SETTINGS, SETTINGS),
    plan("timed-producer", Role::Producer, "timed", "timed"),
    plan("brief-producer", Role::Producer, "brief", "brief"),
    Plan { late: true, ..plan("brief-consumer", Role::Observer, "brief", BRIEF) },
    Plan { late: true, ..plan("refused-consumer", Role::Consumer, "refused", DEAD) },
    Plan { arguments: "100 64 0", ..plan("refused-producer", Role::Producer, "refused", "refused") },
];

/// One process.
#[derive(Debug)]
struct ClientLife {
    name: String,
    from_ms: u64,
    killed_ms: Option<u64>,
    output: Output,
}

/// A client and its processes, one after the other.
#[derive(Debug)]
struct Client {
    plan: Plan,
    past: Vec<ClientLife>,
    now: Option<(String, u64, Background)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Recorded {
    access: Access,
    clock: RunClock,
    clients: Arc<Mutex<Vec<Client>>>,
    /// The operation that each register begins with.
    began: Vec<Operation>,
    movers: Vec<Background>,
    stop: Arc<AtomicBool>,
    deaths: Arc<AtomicUsize>,
    reaper: Option<JoinHandle<()>>,
}

/// The result of the clients.
#[derive(Debug, Default)]
pub(super) struct ClientResults {
    pub(super) producers: Vec<Producer>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) others: Vec<Consumer>,
    pub(super) operations: Vec<Operation>,
}

impl Recorded {
    /// Makes the queues and starts all clients.
    ///
    /// # Errors
    /// If a queue cannot be created.
    pub(super) fn start(access: &Access, clock: RunClock) -> Result<Self, String> {
        for command in commands() {
            access.ok(&command.split(' ').collect::<Vec<_>>(), SOON)?;
        }
        let transfer = |from: &str, to: &str| access.spawn(&["transfer", from, to, "--follow"]);
        let movers = vec![
            transfer("timed", TIMED),
            transfer("brief", BRIEF),
            access.spawn(&["receive", "refused", "--follow", "--reject", "tortured"]),
        ];
        let began = vec![beginning(&format!("settings of {SETTINGS}"), &["0"])];
        let clients = PLANS.into_iter().map(|plan| Client { plan, past: Vec::new(), now: None }).collect();
        let mut this = Self {
            access: access.clone(),
            clock,
            clients: Arc::new(Mutex::new(clients)),
            began,
            movers,
            stop: Arc::default(),
            deaths: Arc::default(),
            reaper: None,
        };
        this.begin(false);
        let (access, clients) = (this.access.clone(), Arc::clone(&this.clients));
        let (stop, deaths) = (Arc::clone(&this.stop), Arc::clone(&this.deaths));
        this.reaper = Some(std::thread::spawn(move || reap(&access, clock, &clients, &stop, &deaths)));
        Ok(this)
    }

    /// Starts those that come first, or those that come late.
    fn begin(&self, late: bool) {
        for client in lock(&self.clients).iter_mut().filter(|client| client.plan.late == late) {
            client.start(&self.access, self.clock);
        }
    }

    /// Stops deaths and sending, and lets those come that come late.
    pub(super) fn stop_sending(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
        eprintln!("  {} deaths of clients beside the faults", self.deaths.load(Ordering::Acquire));
        for client in lock(&self.clients).iter().filter(|it| matches!(it.plan.role, Role::Producer | Role::Settings)) {
            if let Some((_, _, process)) = &client.now {
                process.tell_to_end();
            }
        }
        self.begin(true);
    }

    /// True if all producers ended.
    pub(super) fn all_sent(&mut self) -> bool {
        let mut clients = lock(&self.clients);
        let mut producers = clients.iter_mut().filter(|client| client.plan.role == Role::Producer);
        producers.all(|client| client.now.as_mut().is_none_or(|(_, _, process)| !process.runs()))
    }

    /// Ends all, and reads their output.
    pub(super) fn finish(self) -> ClientResults {
        self.movers.into_iter().for_each(|mover| drop(mover.kill()));
        let mut clients = std::mem::take(&mut *lock(&self.clients));
        // Movers first: their messages go back.
        clients.iter().filter_map(|client| client.now.as_ref()).for_each(|(_, _, process)| process.tell_to_end());
        for client in &mut clients {
            client.end(None, |process| process.wait_or_kill(END));
        }
        let mut done = ClientResults { operations: self.began, ..ClientResults::default() };
        clients.into_iter().for_each(|client| client.account(self.clock, &mut done));
        done
    }
}

/// A register that nobody has written to yet.
pub(super) fn beginning(register: &str, fields: &[&str]) -> Operation {
    let at_ns = baton_tests::clock::boot_ns();
    Operation {
        client: "nobody".to_owned(),
        what: Request::Register { register: register.to_owned(), write: None },
        asked_ns: at_ns,
        answered_ns: Some(at_ns),
        answer: Answer::Saw(fields.iter().map(|&field| field.to_owned()).collect()),
    }
}

/// The commands that create the queues.
fn commands() -> Vec<String> {
    let queues = [SET_ASIDE, "resumed", "moves", "timed", TIMED, "large", SETTINGS, "brief", BRIEF];
    let mut commands: Vec<String> =
        queues.into_iter().chain(MOVED).map(|queue| format!("queue create {queue}")).collect();
    commands.push(format!("queue create prefetch --exception {SET_ASIDE}"));
    commands.push(format!("queue create {DEAD} --max-messages {DEAD_MOST}"));
    commands.push(format!("queue create refused --exception {DEAD}"));
    commands
}

impl Client {
    fn start(&mut self, access: &Access, clock: RunClock) {
        let plan = &self.plan;
        // The number of its life, which distinguishes the tags of its transactions and the registers of its producers.
        let life = self.past.len() + 1;
        let name = if life == 1 { plan.name.to_owned() } else { format!("{}.{life}", plan.name) };
        let command = match plan.role {
            Role::Consumer | Role::Observer => format!("consume {} {}", plan.destination, plan.arguments),
            Role::Mover => format!("move {name} {} {}", plan.destination, MOVED.join(" ")),
            Role::Producer => {
                let times = match plan.queue {
                    "timed" => format!("40 256 0 {DELAY_MS}"),
                    "brief" => format!("100 256 0 0 {LIVE_MS}"),
                    _ => plan.arguments.to_owned(),
                };
                format!("produce {} {} {times}", plan.queue, plan.name)
            }
            Role::Settings => format!("settings {} {name} {life}", plan.queue),
        };
        let process = access.spawn_client(&command.split(' ').collect::<Vec<_>>());
        self.now = Some((name, clock.ms(), process));
    }

    fn end(&mut self, killed_ms: Option<u64>, end: impl FnOnce(Background) -> Output) {
        if let Some((name, from_ms, process)) = self.now.take() {
            self.past.push(ClientLife { name, from_ms, killed_ms, output: end(process) });
        }
    }

    fn account(self, clock: RunClock, done: &mut ClientResults) {
        let Plan { name, role, queue, destination, .. } = self.plan;
        let mut last_number = 0;
        for life in &self.past {
            let place = if role == Role::Producer { name } else { destination };
            let read = read(&life.name, place, &life.output.lines);
            done.operations.extend(read.operations);
            last_number = last_number.max(read.last_number);
            let at = |(at_ns, received)| crate::torture::history::Received { at_ms: clock.at_boot(at_ns), ..received };
            let consumer = Consumer {
                name: life.name.clone(),
                queue: queue.to_owned(),
                destination: destination.to_owned(),
                received: read.received.into_iter().map(at).collect(),
                from_ms: life.from_ms,
                killed_ms: life.killed_ms,
                code: life.output.code,
                said: life.output.stderr.clone(),
            };
            match role {
                Role::Consumer => done.consumers.push(consumer),
                // Producers and the like are no consumers; how they ended is seen here, too.
                Role::Observer | Role::Mover | Role::Settings | Role::Producer => done.others.push(consumer),
            }
        }
        // Messages that may expire are sent under this name as well, and their presence is not checked.
        if role == Role::Producer && queue != "brief" {
            let (code, confirmed) = (self.past.last().and_then(|life| life.output.code), Some(last_number));
            let said = self.past.last().map(|life| life.output.stderr.clone()).unwrap_or_default();
            let (name, queue) = (name.to_owned(), queue.to_owned());
            done.producers.push(Producer { name, queue, fed: last_number, code, killed_ms: None, confirmed, said });
        }
    }
}

/// Kills one client after the other, and starts it again.
fn reap(access: &Access, clock: RunClock, clients: &Mutex<Vec<Client>>, stop: &AtomicBool, deaths: &AtomicUsize) {
    let mut turn = 0;
    loop {
        std::thread::sleep(DEATH);
        if stop.load(Ordering::Acquire) {
            return;
        }
        let mut clients = lock(clients);
        let mut mortal: Vec<&mut Client> = clients.iter_mut().filter(|client| client.plan.dies).collect();
        let count = mortal.len().max(1);
        let Some(client) = mortal.get_mut(turn % count) else { return };
        turn += 1;
        deaths.fetch_add(1, Ordering::AcqRel);
        if client.plan.role == Role::Mover && (turn / count) % FROZEN == 1 {
            if let Some((_, _, process)) = &client.now {
                process.freeze();
                std::thread::sleep(FREEZE);
                process.thaw();
            }
            continue;
        }
        client.end(Some(clock.ms()), Background::kill);
        client.start(access, clock);
    }
}

/// A thread that panicked leaves the list in a good state.
fn lock(clients: &Mutex<Vec<Client>>) -> MutexGuard<'_, Vec<Client>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}
