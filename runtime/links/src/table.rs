//! The links that exist, the links that should exist, and the effects that close the difference. Pure: no socket, clock
//! or randomness.
//!
//! A process has at most one link per name. Of a pair of servers the one with the lesser name dials; a client always
//! dials. The connection that replaces another is handed over only once the old session has ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_domain::clock::BootTime;

use super::refusal::RefusalReason;

mod admission;
mod event;

pub(super) use admission::{Admission, name_in_use};
pub(super) use event::{DialFailure, Direction, Effect, Event, Identity, Rules};

/// The number of a connection within this process. 0 is this process itself.
pub(super) type ConnectionId = u64;
/// The number of a target within this process.
pub(super) type TargetId = u64;

/// Time after which a client that waits for one address dials the next one as well.
const TURN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Target {
    /// Addresses, dialed in turn.
    addresses: Vec<String>,
    name: Option<String>,
    /// The name was given and not just learned from a hello.
    named: bool,
    /// Dials since the last link that lasted.
    attempts: u32,
    /// The last dial was refused: there is no hurry.
    refused: bool,
    /// A dial is under way, or waits for its moment.
    dialing: bool,
}

impl Target {
    /// The address whose turn it is.
    fn address(&self) -> &str {
        self.addresses.get(self.attempts as usize % self.addresses.len().max(1)).map_or("", String::as_str)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Up { since: BootTime },
    Closing,
}

#[derive(Debug)]
struct Slot {
    connection: ConnectionId,
    kind: PeerKind,
    incarnation: u64,
    stage: Stage,
    /// The connection that replaces this one once its session has ended.
    next: Option<(ConnectionId, Identity)>,
}

/// Targets and links. See the module.
#[derive(Debug)]
pub(super) struct Table {
    rules: Rules,
    targets: BTreeMap<TargetId, Target>,
    next_target: TargetId,
    /// By the name of the process at the other end.
    slots: BTreeMap<String, Slot>,
    /// A client's addresses that wait for their turn.
    queue: VecDeque<TargetId>,
    turning: bool,
    stopped: bool,
}

impl Table {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            targets: BTreeMap::new(),
            next_target: 0,
            slots: BTreeMap::new(),
            queue: VecDeque::new(),
            turning: false,
            stopped: false,
        }
    }

    /// True if there is a link with a server.
    pub(super) fn has_server(&self) -> bool {
        self.slots.values().any(|slot| slot.kind == PeerKind::Server && matches!(slot.stage, Stage::Up { .. }))
    }

    /// True if no session is left.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Name, if it is known, and address of a target.
    pub(super) fn target(&self, target: TargetId) -> Option<(Option<&str>, &str)> {
        self.targets.get(&target).map(|target| (target.name.as_deref(), target.address()))
    }

    /// The addresses at which the process of that name is dialed.
    pub(super) fn addresses<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.targets
            .values()
            .filter(move |target| target.name.as_deref() == Some(name))
            .flat_map(|target| target.addresses.iter().map(String::as_str))
    }

    /// Takes in an event and returns the effects, in order.
    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Ensure(targets) => self.ensure(targets, &mut effects),
            Event::Forget(name) => self.forget(&name, &mut effects),
            Event::Turn => {
                self.turning = false;
                self.take_turn(&mut effects);
            }
            Event::DialFailed { target, found, failure } => self.dial_failed(target, found, failure, &mut effects),
            Event::Opened { connection, who, direction } => self.opened(connection, who, direction, &mut effects),
            Event::Ready { connection, now } => {
                if let Some((_, slot)) = self.slot(connection)
                    && slot.stage == Stage::Opening
                {
                    slot.stage = Stage::Up { since: now };
                    effects.push(Effect::Announce { connection });
                    self.take_turn(&mut effects);
                }
            }
            Event::Lost { connection } => self.close(connection, &mut effects),
            Event::Ended { connection, now } => self.ended(connection, now, &mut effects),
            Event::Renew => {
                let affected = self.slots.values().filter(|slot| slot.kind == PeerKind::Server);
                for connection in affected.map(|slot| slot.connection).collect::<Vec<_>>() {
                    self.close(connection, &mut effects);
                }
            }
            Event::Stop => self.stop(&mut effects),
        }
        effects
    }

    fn slot(&mut self, connection: ConnectionId) -> Option<(String, &mut Slot)> {
        let (name, slot) = self.slots.iter_mut().find(|(_, slot)| slot.connection == connection)?;
        Some((name.clone(), slot))
    }

    fn ensure(&mut self, targets: Vec<(Option<String>, String)>, effects: &mut Vec<Effect>) {
        if self.stopped {
            return;
        }
        for (name, addresses) in grouped(targets) {
            if name.as_ref() == Some(&self.rules.me.name) {
                continue;
            }
            let known = self.targets.iter().find(|(_, target)| {
                (target.named && name.is_some() && target.name == name)
                    || ((name.is_none() || !target.named)
                        && target.addresses.iter().any(|known| addresses.contains(known)))
            });
            let id = match known.map(|(id, _)| *id) {
                Some(id) => id,
                None => {
                    let id = self.next_target;
                    self.next_target += 1;
                    let fresh = Target {
                        addresses: addresses.clone(),
                        name: None,
                        named: false,
                        attempts: 0,
                        refused: false,
                        dialing: false,
                    };
                    self.targets.insert(id, fresh);
                    match self.rules.me.kind {
                        PeerKind::Server => {}
                        PeerKind::Client => self.queue.push_back(id),
                    }
                    id
                }
            };
            let Some(target) = self.targets.get_mut(&id) else { continue };
            if name.is_some() {
                target.named = true;
                target.name.clone_from(&name);
            }
            if target.addresses != addresses {
                target.addresses = addresses;
                target.attempts = 0;
                if std::mem::take(&mut target.dialing) {
                    effects.push(Effect::Cancel { target: id });
                }
            }
            // A server's name is its own: a client that took it before has to choose another one.
            let client = name.and_then(|name| self.slots.get(&name)).filter(|slot| slot.kind == PeerKind::Client);
            if let Some(connection) = client.map(|slot| slot.connection) {
                self.close(connection, effects);
            }
            if !self.queue.contains(&id) {
                self.dial(id, effects);
            }
        }
        if !self.turning {
            self.take_turn(effects);
        }
    }

    fn forget(&mut self, name: &str, effects: &mut Vec<Effect>) {
        self.targets.retain(|id, target| {
            let keep = target.name.as_deref() != Some(name);
            if !keep {
                effects.push(Effect::Cancel { target: *id });
            }
            keep
        });
        if let Some(slot) = self.slots.get(name) {
            let connection = slot.connection;
            self.close(connection, effects);
        }
        // The connection that waited to replace it is unwanted as well.
        if let Some((next, _)) = self.slots.get_mut(name).and_then(|slot| slot.next.take()) {
            effects.push(Effect::Discard { connection: next });
        }
    }

    fn take_turn(&mut self, effects: &mut Vec<Effect>) {
        while let Some(target) = self.queue.pop_front() {
            let before = effects.len();
            self.dial(target, effects);
            if effects.len() > before {
                break;
            }
        }
        if !self.queue.is_empty() && !self.turning {
            self.turning = true;
            effects.push(Effect::Turn { after: TURN });
        }
    }

    /// True if this process is the one of the pair that dials: a client, or the server with the lesser name.
    fn dials(&self, name: &str) -> bool {
        self.rules.me.kind == PeerKind::Client || self.rules.me.name.as_str() < name
    }

    /// Dials if that target is to be dialed now.
    fn dial(&mut self, id: TargetId, effects: &mut Vec<Effect>) {
        let Some(target) = self.targets.get(&id) else { return };
        // A client may have the name of a server that is not known yet.
        let is_server = |name: &String| self.slots.get(name).is_some_and(|slot| slot.kind == PeerKind::Server);
        let linked = target.name.as_ref().is_some_and(is_server);
        let mine = target.name.as_ref().is_none_or(|name| self.dials(name));
        if self.stopped || target.dialing || linked {
            return;
        }
        let wait = if target.refused || !mine {
            // The other server of the pair dials, if it knows of us, and where we are now.
            self.rules.redial_max
        } else if target.attempts == 0 {
            Duration::ZERO
        } else {
            (self.rules.redial_min * (1 << (target.attempts - 1).min(16))).min(self.rules.redial_max)
        };
        let address = target.address().to_owned();
        effects.push(Effect::Dial { target: id, address, wait });
        if let Some(target) = self.targets.get_mut(&id) {
            target.dialing = true;
        }
    }

    fn dial_failed(&mut self, id: TargetId, found: Option<String>, failure: DialFailure, effects: &mut Vec<Effect>) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.dialing = false;
            if !target.named && found.is_some() {
                target.name = found;
            }
            target.attempts = target.attempts.saturating_add(1);
            target.refused = match failure {
                DialFailure::Broken | DialFailure::Refused(RefusalReason::Busy) => false,
                // Also if the other side claims to be this very process: it has proved nothing, and one dial per second
                // is cheap.
                DialFailure::Refused(_) => true,
            };
        }
        self.dial(id, effects);
        self.take_turn(effects);
    }

    fn opened(&mut self, connection: ConnectionId, who: Identity, direction: Direction, effects: &mut Vec<Effect>) {
        let mut wanted = !self.stopped;
        if let Direction::Outbound(id) = direction {
            match self.targets.get_mut(&id) {
                Some(target) => {
                    target.dialing = false;
                    target.refused = false;
                    if !target.named {
                        target.name = Some(who.name.clone());
                    }
                }
                None => wanted = false,
            }
        }
        if !wanted {
            effects.push(Effect::Discard { connection });
            return;
        }
        if direction == Direction::Inbound {
            self.cancel_dials(&who.name, effects);
        }
        let Some(slot) = self.slots.get_mut(&who.name) else {
            let fresh =
                Slot { connection, kind: who.kind, incarnation: who.incarnation, stage: Stage::Opening, next: None };
            self.slots.insert(who.name, fresh);
            effects.push(Effect::HandOver { connection });
            return;
        };
        let old = slot.connection;
        if let Some((unused, _)) = slot.next.replace((connection, who)) {
            effects.push(Effect::Discard { connection: unused });
        }
        self.close(old, effects);
    }

    /// A peer that dialed this process need not be dialed.
    fn cancel_dials(&mut self, name: &str, effects: &mut Vec<Effect>) {
        for (id, target) in &mut self.targets {
            if target.name.as_deref() == Some(name) && std::mem::take(&mut target.dialing) {
                effects.push(Effect::Cancel { target: *id });
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let Some((_, slot)) = self.slot(connection) else { return };
        match slot.stage {
            Stage::Closing => return,
            Stage::Up { .. } => effects.push(Effect::Withdraw { connection }),
            Stage::Opening => {}
        }
        slot.stage = Stage::Closing;
        effects.push(Effect::Close { connection });
    }

    fn ended(&mut self, connection: ConnectionId, now: BootTime, effects: &mut Vec<Effect>) {
        let redial_max = self.rules.redial_max;
        let Some((name, slot)) = self.slot(connection) else { return };
        // A link that did not last is no reason to hurry.
        let lasted = match slot.stage {
            Stage::Up { since } => {
                effects.push(Effect::Withdraw { connection });
                now.since(since) >= redial_max
            }
            Stage::Opening => false,
            // We closed it: dial again at once, unless it was refused or failed before.
            Stage::Closing => true,
        };
        if let Some((next, who)) = slot.next.take() {
            *slot = Slot {
                connection: next,
                kind: who.kind,
                incarnation: who.incarnation,
                stage: Stage::Opening,
                next: None,
            };
            effects.push(Effect::HandOver { connection: next });
            return;
        }
        self.slots.remove(&name);
        let owners = self.targets.iter_mut().filter(|(_, target)| target.name.as_ref() == Some(&name));
        let owners: Vec<_> = owners
            .map(|(id, target)| {
                target.attempts = if lasted { 0 } else { target.attempts.saturating_add(1) };
                *id
            })
            .collect();
        for id in owners {
            self.dial(id, effects);
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopped = true;
        self.queue.clear();
        effects.extend(std::mem::take(&mut self.targets).into_keys().map(|target| Effect::Cancel { target }));
        for slot in self.slots.values_mut() {
            if let Some((connection, _)) = slot.next.take() {
                effects.push(Effect::Discard { connection });
            }
        }
        for connection in self.slots.values().map(|slot| slot.connection).collect::<Vec<_>>() {
            self.close(connection, effects);
        }
    }
}

/// Targets with all their addresses: a name may be given several times.
fn grouped(targets: Vec<(Option<String>, String)>) -> Vec<(Option<String>, Vec<String>)> {
    let mut grouped: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for (name, address) in targets {
        match grouped.iter_mut().find(|(known, _)| name.is_some() && *known == name) {
            Some((_, addresses)) if addresses.contains(&address) => {}
            Some((_, addresses)) => addresses.push(address),
            None => grouped.push((name, vec![address])),
        }
    }
    grouped
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
