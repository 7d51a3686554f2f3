//! How activations end and begin, and how the world comes to rest.

use super::*;

impl World {
    /// A new activation here, of a new instance or of the one that stopped.
    pub(super) fn activate(&mut self) {
        let epoch = self.model.activate();
        self.step(Input::Start { epoch });
        let recorded = self.model.recorded();
        let lanes = recorded.queues.iter().flat_map(|queue| queue.lanes.iter().map(|lane| (queue.id, lane)));
        self.flagged = lanes.map(|(queue, (lane, record))| ((queue, *lane), record.dispatched)).collect();
        self.step(Input::Opened { epoch, recorded: Ok(recorded) });
        self.consumers.iter_mut().for_each(|consumer| consumer.attached = false);
        self.producers.iter_mut().for_each(|producer| (producer.open, producer.opening) = (false, false));
    }

    /// Ends the activation, with so many of its entries applied, and starts another.
    pub(super) fn end(&mut self, how: End, applied: usize, late: bool) {
        let mut left = self.proposed.len().saturating_sub(applied);
        match how {
            End::Drain => {
                self.step(Input::Stop { drain: true, why: "moved".to_owned() });
                while self.apply() {}
                while self.report() {}
                if !self.lease {
                    self.now = self.now + Duration::from_millis(self.config.drain_ms);
                    self.step(Input::Tick);
                }
                self.step(Input::Flush);
            }
            End::AtOnce => self.step(Input::Stop { drain: false, why: "lease".to_owned() }),
            End::Crash => {
                self.state = State::new(self.config.clone());
                self.reads.clear();
                self.pages.clear();
                self.outcomes.clear();
                self.news.clear();
                self.frames.iter_mut().for_each(|frame| frame.call = None);
                let waiting: Vec<_> = self.waiting.keys().copied().collect();
                waiting.into_iter().for_each(|request| self.replied(request, EngineReply::Error(EngineError::Unknown)));
            }
            End::Unknown | End::NotLeader => {
                let error = if matches!(how, End::Unknown) {
                    CommitError::Unknown
                } else {
                    CommitError::NotLeader { leader: None }
                };
                // Not written means that none of those after it is either.
                let (kept, failed) = match how {
                    End::NotLeader => (0, self.proposed.front().map(|(entry, _)| *entry)),
                    _ => (self.proposed.len() - left, self.proposed.front().map(|(entry, _)| *entry)),
                };
                while self.report() {}
                match failed {
                    Some(entry) => self.step(Input::Committed { entry, result: Err(error) }),
                    None => self.step(Input::Stop { drain: false, why: "lost".to_owned() }),
                }
                self.proposed.truncate(kept);
                left = 0;
            }
            End::Fenced => {
                while self.proposed.len() > left {
                    self.apply();
                }
                self.model.activate();
                self.ask(EngineRequest::ListQueues, Ask::Other);
                self.ask(EngineRequest::CreateQueue { name: queue(QUEUES[0]) }, Ask::Other);
                self.step(Input::Flush);
                while self.apply() {}
                while self.report() {}
                if self.state.view().state != EngineState::Standby {
                    // A full engine had taken no write.
                    self.step(Input::Stop { drain: false, why: "lost".to_owned() });
                }
            }
        }
        self.after_end(left, late, matches!(how, End::Crash));
    }

    /// The entries of an engine that ended: some are applied, the others fenced or lost; late news finds nobody.
    pub(super) fn after_end(&mut self, left: usize, late: bool, crashed: bool) {
        assert_eq!(self.state.view().state, EngineState::Standby);
        assert!(self.waiting.is_empty(), "a stopped engine answered everything: {:?}", self.waiting);
        while self.proposed.len() > left {
            self.apply();
        }
        self.activate();
        for (entry, command) in std::mem::take(&mut self.proposed) {
            let committed = self.model.apply(&command);
            assert!(matches!(committed.applied, Applied::Fenced { .. }));
            self.outcomes.push_back((entry, committed));
        }
        if late && !crashed {
            while self.report() || self.page() {}
        }
        self.outcomes.clear();
        self.pages.clear();
        assert_eq!(self.state.view().state, EngineState::Started, "late news of an earlier activation changes nothing");
        while self.read() {}
        while self.page() {}
        if !late {
            // What was on the network is lost.
            self.frames.clear();
        }
    }

    /// Lets the world come to rest: all is sent, confirmed, received and acknowledged.
    pub(in crate::engine::tests) fn come_to_rest(&mut self) {
        self.lease = true;
        self.act(&Action::Space { full: false });
        for round in 0.. {
            assert!(round < 2_000, "the world never comes to rest");
            self.work();
            for at in 0..self.producers.len() {
                self.send(at, 1);
            }
            self.work();
            for at in 0..self.consumers.len() {
                self.consumers[at].credit = 3;
                self.attach(at);
                self.work();
                let id = self.consumers[at].id;
                self.ask(EngineRequest::Credit { consumer: id, credit: 3, received: None }, Ask::Other);
                while self.frames.iter().any(|frame| frame.consumer == id) {
                    self.frame(at);
                }
                if !self.consumers[at].holding.is_empty() {
                    self.settle(at, usize::MAX, false);
                }
            }
            self.stray_frames();
            self.work();
            if round > 30 {
                self.producers.iter_mut().for_each(|producer| producer.open = false);
            }
            if round % 8 == 7 {
                self.advance(400);
            }
            let empty = self.model.queues.values().all(|queue| queue.messages.is_empty());
            if round > 60 && empty && self.waiting.is_empty() && self.frames.is_empty() {
                break;
            }
        }
        for (at, producer) in self.producers.iter().enumerate() {
            for number in 1..=producer.confirmed {
                assert!(self.acknowledged.contains(&format!("{at}:{number}")), "{at}:{number} is lost (invariant 3)");
            }
        }
    }
}
