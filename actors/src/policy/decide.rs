//! Where the engine belongs: one pure function. Source: the seed, and invariant 6 of the design.
//!
//! The first available server of the list; else any other available server unless preferred-only; back only if fail
//! back is on, and then only to a server that is caught up and stable. An operator's move holds until that server
//! fails or the policy changes (the store clears the hold then).

use baton_storage::{ActivationReason, Role, ServerName};

use super::view::{Decision, EngineHere, ServerView, View};

/// Decides for the storage leader.
#[must_use]
pub fn decide(view: &View) -> Decision {
    match view.engine {
        EngineHere::Stopping => Decision::Stay,
        EngineHere::RunsHere => decide_running(view),
        EngineHere::Idle => decide_idle(view),
    }
}

/// The engine runs here: is there a reason to take it elsewhere?
fn decide_running(view: &View) -> Decision {
    let here_forbidden = !view.allows(&view.me);
    let reason = if view.leaving {
        ActivationReason::HandOver
    } else if here_forbidden || view.place_anew {
        ActivationReason::PolicyChange
    } else if view.hold.as_ref().is_some_and(|hold| *hold != view.me) {
        ActivationReason::Move
    } else {
        ActivationReason::FailBack
    };
    let target = match reason {
        ActivationReason::HandOver if view.policy.manual => None,
        ActivationReason::HandOver => view.best(|server| view.can_take(server)),
        ActivationReason::Move => {
            view.hold.as_ref().filter(|hold| view.server(hold).is_some_and(|to| view.can_take(to)))
        }
        ActivationReason::PolicyChange if view.policy.manual && !here_forbidden => None,
        ActivationReason::PolicyChange => view.best(|server| server.name == view.me || view.can_take(server)),
        _ if view.policy.fail_back && !view.policy.manual && view.hold.is_none() => {
            view.best(|server| server.name == view.me || (view.can_take(server) && view.stable(server)))
        }
        _ => None,
    };
    match target {
        Some(to) if *to != view.me => Decision::HandOver { to: to.clone(), reason },
        None if here_forbidden => Decision::Stop { why: view.why_nowhere() },
        Some(_) | None => Decision::Stay,
    }
}

/// The engine does not run: where does it start?
fn decide_idle(view: &View) -> Decision {
    if view.leaving {
        // Whoever takes over the leadership activates it; an engine that starts here would stop in a moment.
        return match view.best(|server| view.can_take(server)) {
            Some(to) => Decision::HandOver { to: to.clone(), reason: ActivationReason::HandOver },
            None => {
                Decision::KeepStopped { why: format!("{} is shutting down and no other server can take over", view.me) }
            }
        };
    }
    let Some(target) = view.target_when_idle() else {
        return match view.worth_waiting_for(None) {
            Some(why) => Decision::Wait { why },
            None => Decision::KeepStopped { why: view.why_nowhere() },
        };
    };
    if let Some(why) = view.worth_waiting_for(Some(&target)) {
        return Decision::Wait { why };
    }
    let reason = view.reason_when_idle(&target);
    if target == view.me { Decision::ActivateHere { reason } } else { Decision::HandOver { to: target, reason } }
}

impl View {
    fn server(&self, name: &ServerName) -> Option<&ServerView> {
        self.servers.iter().find(|server| server.name == *name)
    }

    fn hosts(&self) -> Vec<ServerName> {
        self.servers.iter().filter(|server| server.role == Role::Server).map(|server| server.name.clone()).collect()
    }

    /// Whether the policy lets the engine run there at all.
    fn allows(&self, name: &ServerName) -> bool {
        let hosts = self.hosts();
        hosts.contains(name) && (!self.policy.preferred_only || self.policy.preference(&hosts).contains(name))
    }

    /// The servers that the policy allows, most preferred first.
    fn ranked(&self) -> Vec<&ServerView> {
        let hosts = self.hosts();
        let preferred = self.policy.preference(&hosts);
        let others = hosts.iter().filter(|host| !self.policy.preferred_only && !preferred.contains(host));
        preferred.iter().chain(others).filter_map(|name| self.server(name)).collect()
    }

    fn best(&self, fits: impl Fn(&ServerView) -> bool) -> Option<&ServerName> {
        self.ranked().into_iter().find(|server| fits(server)).map(|server| &server.name)
    }

    fn is_up(&self, server: &ServerView) -> bool {
        server.up_since.is_some() && server.cannot_host.is_none()
    }

    fn is_caught_up(&self, server: &ServerView) -> bool {
        server.votes && server.lag.is_some_and(|lag| lag <= self.timing.caught_up_entries)
    }

    fn is_damped(&self, server: &ServerView) -> bool {
        server.damped_until.is_some_and(|until| self.now < until)
    }

    /// Whether leadership can be handed to that server now.
    fn can_take(&self, server: &ServerView) -> bool {
        server.name != self.me && self.is_up(server) && self.is_caught_up(server) && !self.is_damped(server)
    }

    fn stable(&self, server: &ServerView) -> bool {
        server.up_since.is_some_and(|since| self.now.since(since) >= self.timing.fail_back_stability)
    }

    /// Whether the engine could start on that server now: here, or by a hand-over.
    fn available(&self, server: &ServerView) -> bool {
        if server.name == self.me { self.is_up(server) } else { self.can_take(server) }
    }

    fn target_when_idle(&self) -> Option<ServerName> {
        let held = self
            .hold
            .as_ref()
            .filter(|hold| self.server(hold).is_some_and(|to| self.available(to)) && self.allows(hold));
        if let Some(held) = held {
            return Some(held.clone());
        }
        match &self.last_host {
            // Manual: it comes back to where it was, and goes nowhere else by itself.
            Some(last) if self.policy.manual => {
                Some(last.clone()).filter(|last| self.server(last).is_some_and(|to| self.available(to)))
            }
            _ => self.best(|server| self.available(server)).cloned(),
        }
    }

    /// Why it is better to wait a moment than to start on `target`.
    fn worth_waiting_for(&self, target: Option<&ServerName>) -> Option<String> {
        let before = self.ranked().into_iter().take_while(|server| Some(&server.name) != target);
        let starting = self.now.since(self.started_at) < self.timing.start_grace;
        let new_leader = self.now.since(self.leads_since) < self.timing.lag_grace;
        for server in before {
            if !server.seen && starting && server.name != self.me {
                return Some(format!("{} was not seen yet", server.name));
            }
            let unknown = self.is_up(server) && server.name != self.me && !self.is_caught_up(server);
            if unknown && new_leader {
                return Some(format!("it is not known yet whether {} is caught up", server.name));
            }
        }
        None
    }

    fn reason_when_idle(&self, target: &ServerName) -> ActivationReason {
        match (&self.last_host, self.stopped_for) {
            (None, _) => ActivationReason::Start,
            (Some(last), Some(reason)) if last != target => reason,
            (Some(_), _) if self.hold.as_ref() == Some(target) => ActivationReason::Move,
            (Some(last), _) if last == target && self.ran_here => ActivationReason::EngineFailed,
            (Some(last), _) if last == target => ActivationReason::Start,
            (Some(_), _) => ActivationReason::FailOver,
        }
    }

    /// Says in words why the engine can run nowhere.
    fn why_nowhere(&self) -> String {
        if self.policy.manual
            && let Some(last) = &self.last_host
        {
            return format!(
                "the policy is manual and {last} is not available: move the engine with `baton move SERVER`"
            );
        }
        let ranked = self.ranked();
        let names = ranked.iter().map(|server| self.describe(server)).collect::<Vec<_>>().join(", ");
        let kind = if self.policy.preferred_only { "preferred server" } else { "server" };
        format!("no {kind} is available: {names}")
    }

    fn describe(&self, server: &ServerView) -> String {
        let name = &server.name;
        match (&server.up_since, &server.cannot_host) {
            (None, _) => format!("{name} is down"),
            (Some(_), Some(why)) => format!("{name} cannot host it ({why})"),
            (Some(_), None) if !server.votes => format!("{name} has no vote yet"),
            (Some(_), None) if !self.is_caught_up(server) => format!("{name} is not caught up"),
            (Some(_), None) => format!("the last hand-over to {name} failed"),
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
