//! The holder's part: what its core decides is done.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::clock::BootTime;
use futures::FutureExt;

use super::super::holder::{self, Answer, Effect, Holder, Trouble, Why};
use super::super::log::SharedLog;
use super::super::message::Message;
use super::session::Event;
use super::{Member, Work, candidate};
use crate::error::CommitError;

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 4 * 1024 * 1024;

impl Member {
    /// This server holds the lease of `term`, acquired by a statement that was sent then.
    pub(super) fn hold(&mut self, term: u64, sent: BootTime) {
        self.reading.interrupted();
        self.known.clear();
        self.tells.clear();
        let (holder, effects) = Holder::new(self.timing, self.heals, term, sent);
        self.holder = Some(holder);
        self.do_holder(term, effects);
        self.holder_input(holder::Input::Tick);
    }

    pub(super) fn holder_input(&mut self, input: holder::Input) {
        let now = self.now();
        let Some(holder) = &mut self.holder else { return };
        let effects = holder.step(&mut self.recent, input, now);
        let term = holder.term();
        self.trouble = holder.trouble().map(words);
        self.do_holder(term, effects);
    }

    fn do_holder(&mut self, term: u64, effects: Vec<Effect>) {
        let now = self.now();
        let event = move |answer| Event::Holder(term, answer);
        for effect in effects {
            match effect {
                Effect::Renew => {
                    let renew = move |log: Arc<dyn SharedLog>| async move { log.renew(term).await }.boxed();
                    self.session.send(now, renew, move |answer| event(Answer::Renewed(answer)));
                }
                Effect::Append(after, entries) => {
                    if self.holder.as_ref().is_some_and(Holder::is_healing) {
                        let (from, count) = (after.index.saturating_add(1), entries.len());
                        tracing::warn!(from, count, "the log lost entries that it had: they are put back");
                    }
                    let append =
                        move |log: Arc<dyn SharedLog>| async move { log.append(term, after, entries).await }.boxed();
                    self.session.send(now, append, move |answer| event(Answer::Appended(answer)));
                }
                Effect::Read(after) => {
                    let read = move |log: Arc<dyn SharedLog>| async move { log.read(after, READ_BYTES).await }.boxed();
                    self.session.send(now, read, move |answer| event(Answer::Read(answer)));
                }
                Effect::Give(to) => {
                    let give = move |log: Arc<dyn SharedLog>| async move { log.give(term, to).await }.boxed();
                    self.session.send(now, give, move |answer| event(Answer::Gave(answer)));
                }
                Effect::Probe => {
                    let look = |log: Arc<dyn SharedLog>| async move { log.look().await.map(|_| ()) }.boxed();
                    self.session.send(now, look, Event::Done);
                }
                Effect::Reopen => self.reopen(Duration::ZERO),
                Effect::AskStandings => self.ask_standings(now),
                Effect::Lease(until) => self.lease.renew(term, until),
                Effect::EndLease => self.lease.end(),
                Effect::Lead => self.leads_from = Some(self.recent.position().index),
                Effect::Apply(entries, answers) => {
                    let answers = answers.into_iter();
                    let answers =
                        answers.filter_map(|(index, id)| Some((index, self.proposals.remove(&id)?))).collect();
                    self.apply(Work::Apply(entries, answers));
                    self.news();
                }
                Effect::NotLeader(ids) => self.answer(ids, &CommitError::NotLeader { leader: None }),
                Effect::Unknown(ids) => self.answer(ids, &CommitError::Unknown),
                Effect::Release(to) => {
                    let all = self.linked.iter().filter(|server| to.as_ref().is_none_or(|to| to == *server));
                    for server in all.cloned().collect::<Vec<_>>() {
                        self.say(server, Message::Released { term });
                    }
                }
                Effect::StepDown(why) => self.step_down(why),
            }
        }
    }

    fn step_down(&mut self, why: Why) {
        let term = self.holder.take().map_or(0, |holder| holder.term());
        tracing::info!(term, ?why, "this server no longer holds the lease of the log");
        self.leads_from = None;
        self.known.clear();
        self.candidate_input(candidate::Input::SteppedDown);
        match why {
            Why::Deposed | Why::Gave(_) | Why::Unreached(_) => {}
            Why::Behind => self.load(),
            Why::OlderLog(tail) => self.older_log(tail),
            Why::OtherHistory(index) => self.set_aside(index),
            Why::Failed(error) => {
                self.trouble = Some(error.to_string());
                self.reopen(Duration::from_secs(1));
            }
        }
    }

    /// Gives work to the state.
    pub(super) fn apply(&mut self, work: Work) {
        // The state ends first when the store is closed.
        let _ = self.work.send(work);
    }
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Log(error) => error.to_string(),
        Trouble::Ahead(server, position) => format!(
            "{server} has applied entry {}, which the log lost, and cannot put it back now: nobody leads before it can",
            position.index
        ),
    }
}
