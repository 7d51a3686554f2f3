//! Admission of a process, given the existing links.

use baton_client::peers::PeerKind;

use super::{ConnectionId, Direction, Identity, Slot, Stage, Table, Target};
use crate::refusal::{RefusalNotice, RefusalReason};

/// After this many failed dials a server is accepted although this process is the one of the pair that dials.
const UNREACHED: u32 = 3;

/// Verdict on a process that wants to link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admit,
    /// Only if the process behind that connection does not answer: two processes of one name.
    UnlessAlive(ConnectionId),
    Refuse(RefusalNotice),
}

impl Table {
    /// Judges a process whose hello (outbound) or whose proof (inbound) has arrived.
    pub(crate) fn admit(&self, who: &Identity, direction: Direction) -> Admission {
        let me = &self.rules.me;
        let refuse = |reason, text: String| Admission::Refuse(RefusalNotice::new(reason, text));
        if self.stopped {
            return refuse(RefusalReason::Busy, format!("{} is stopping", me.name));
        }
        if let Direction::Outbound(target) = direction
            && let Some(target @ Target { name: Some(name), named: true, .. }) = self.targets.get(&target)
            && *name != who.name
        {
            let address = target.address();
            let text = format!(
                "unexpected name: {address} answers as {} and not as {name}; check the addresses of the servers",
                who.name
            );
            return refuse(RefusalReason::UnexpectedName, text);
        }
        if who.incarnation == me.incarnation && who.name == me.name {
            return refuse(RefusalReason::Yourself, format!("{} dialed itself", me.name));
        }
        if who.name == me.name {
            return refuse(RefusalReason::NameInUse, in_use(&me.name));
        }
        let slot = self.slots.get(&who.name).filter(|slot| slot.stage != Stage::Closing);
        match direction {
            Direction::Outbound(_) => {
                if slot.is_some_and(|slot| slot.incarnation == who.incarnation) {
                    return refuse(RefusalReason::AlreadyLinked, "this link already exists".to_owned());
                }
            }
            Direction::Inbound => {
                if let Some(refused) = self.refuse_inbound(who) {
                    return Admission::Refuse(refused);
                }
            }
        }
        match slot {
            None => Admission::Admit,
            Some(slot) if slot.incarnation == who.incarnation => Admission::Admit,
            // A server's name is reserved, whichever process had it first.
            Some(slot) if slot.kind == PeerKind::Client && who.kind == PeerKind::Server => Admission::Admit,
            Some(Slot { stage: Stage::Up { .. }, connection, .. }) => Admission::UnlessAlive(*connection),
            Some(_) => refuse(RefusalReason::Busy, format!("a link to {} is already being opened", who.name)),
        }
    }

    fn refuse_inbound(&self, who: &Identity) -> Option<RefusalNotice> {
        let me = &self.rules.me;
        let target = self.targets.values().find(|target| target.name.as_ref() == Some(&who.name));
        match who.kind {
            PeerKind::Client => {
                if target.is_some_and(|target| target.named) {
                    let text = format!("{} is the name of a server: give this client another one", who.name);
                    return Some(RefusalNotice::new(RefusalReason::NameOfServer, text));
                }
                let clients = self.slots.values().filter(|slot| slot.kind == PeerKind::Client).count();
                (clients >= self.rules.max_clients && !self.slots.contains_key(&who.name)).then(|| {
                    let text = format!(
                        "{} has {clients} clients and accepts no more: raise max_connections under [limits] in its file, and \
                         its limit of open files",
                        me.name
                    );
                    RefusalNotice::new(RefusalReason::TooManyConnections, text)
                })
            }
            PeerKind::Server => {
                // Unless it cannot be reached where it was: it may have moved.
                let reached = target.is_some_and(|target| target.attempts < UNREACHED);
                let i_dial = me.kind == PeerKind::Server && me.name < who.name && reached;
                i_dial.then(|| {
                    RefusalNotice::new(RefusalReason::WrongDirection, format!("{} dials {}", me.name, who.name))
                })
            }
        }
    }
}

fn in_use(name: &str) -> String {
    format!("name in use: another live process of this cluster is called {name}; give each process a unique name")
}

/// The refusal of a process whose name another live one has.
pub(crate) fn name_in_use(name: &str) -> RefusalNotice {
    RefusalNotice::new(RefusalReason::NameInUse, in_use(name))
}
