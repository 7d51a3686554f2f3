//! The steps of a history.

use super::*;

/// How an activation ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::tests) enum End {
    Drain,
    AtOnce,
    Crash,
    Unknown,
    NotLeader,
    Fenced,
}

#[derive(Debug, Clone)]
pub(in crate::engine::tests) enum Action {
    Send { producer: usize, count: u8 },
    Acknowledge { consumer: usize, most: u8 },
    Refuse { consumer: usize },
    Detach { consumer: usize, untouched: bool },
    Die { consumer: usize },
    DropLink { consumer: usize, late: bool },
    Attach { consumer: usize },
    Credit { consumer: usize, credit: u32 },
    Flush,
    Apply,
    Report,
    Read,
    Page,
    Frame { consumer: usize },
    News,
    Lease { holds: bool },
    Space { full: bool },
    Advance { ms: u64 },
    End { how: End, applied: usize, late: bool },
}

impl World {
    pub(in crate::engine::tests) fn act(&mut self, action: &Action) {
        match *action {
            Action::Send { producer, count } => self.send(producer, u64::from(count)),
            Action::Acknowledge { consumer, most } => self.settle(consumer, usize::from(most), false),
            Action::Refuse { consumer } => self.settle(consumer, 1, true),
            Action::Detach { consumer, untouched } => {
                let old = self.replace(consumer);
                let untouched: Vec<_> = old.holding.iter().filter(|_| untouched).copied().collect();
                for id in &untouched {
                    self.accounts.get_mut(id).unwrap().must_flag = false;
                }
                let ask = Ask::Detach { client: old.client, connection: old.connection };
                self.ask(EngineRequest::Detach { consumer: old.id, untouched }, ask);
                self.stray_frames();
            }
            Action::Die { consumer } => {
                let old = self.replace(consumer);
                self.step(Input::PeerDown { name: old.client, connection: old.connection });
                self.stray_frames();
            }
            Action::DropLink { consumer, late } => {
                let connection = self.count();
                let state = &mut self.consumers[consumer];
                let old = std::mem::replace(&mut state.connection, connection);
                state.attached = false;
                let down = Input::PeerDown { name: state.client.clone(), connection: old };
                let up = Input::PeerUp { name: state.client.clone(), connection };
                self.news.extend([down, up]);
                if !late {
                    while self.tell_news() {}
                }
            }
            Action::Attach { consumer } => self.attach(consumer),
            Action::Credit { consumer, credit } => {
                let state = &mut self.consumers[consumer];
                state.credit = credit;
                let id = state.id;
                self.ask(EngineRequest::Credit { consumer: id, credit, received: None }, Ask::Other);
            }
            Action::Flush => self.step(Input::Flush),
            Action::Apply => drop(self.apply()),
            Action::Report => drop(self.report()),
            Action::Read => drop(self.read()),
            Action::Page => drop(self.page()),
            Action::Frame { consumer } => self.frame(consumer),
            Action::News => drop(self.tell_news()),
            Action::Lease { holds } => self.lease = holds,
            Action::Space { full } => {
                self.full = full;
                self.step(Input::Space { free_bytes: if full { 0 } else { u64::MAX } });
            }
            Action::Advance { ms } => self.advance(ms),
            Action::End { how, applied, late } => self.end(how, applied, late),
        }
        if self.state.view().state == EngineState::Standby {
            self.after_end(0, false, false);
        }
    }

    /// Time passes. A living consumer attaches again before its grace is over.
    pub(super) fn advance(&mut self, ms: u64) {
        while self.tell_news() {}
        for at in 0..self.consumers.len() {
            self.attach(at);
        }
        if self.consumers.iter().all(|consumer| consumer.attached) {
            self.now = self.now + Duration::from_millis(ms);
            self.step(Input::Tick);
        }
    }
}
