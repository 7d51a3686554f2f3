//! The place of the engine: one pure function. Source: the seed, and invariant 6 of the design.
//!
//! The engine runs on the first available server of the list, or else, unless preferred-only, on any other available
//! server. It fails back only if that is on, and only to a server that is caught up and stable. An operator's move holds
//! until that server fails or the policy changes (the store then clears the hold).

use baton_domain::clock::BootTime;
use baton_domain::seeded::{self, Bug};
use baton_domain::{ActivationReason, Role, ServerName};

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

/// The engine runs here: stay, or move it.
fn decide_running(view: &View) -> Decision {
    if view.leaving {
        return if view.policy.manual { Decision::Stay } else { view.leave().unwrap_or(Decision::Stay) };
    }
    let forbidden = !view.allows(&view.me);
    let (reason, target) = if forbidden {
        (ActivationReason::PolicyChange, view.best(|server| view.can_take(server)))
    } else if view.disk_fails && !view.policy.manual {
        (ActivationReason::FailOver, view.best(|server| view.can_take(server)))
    } else if let Some(hold) = view.allowed_hold() {
        // The hold is newer than the policy: a change of the policy clears it.
        (ActivationReason::Move, view.server(hold).filter(|to| view.can_take(to)).map(|to| &to.name))
    } else if view.policy.manual {
        return Decision::Stay;
    } else if view.place_anew {
        (
            ActivationReason::PolicyChange,
            view.best(|server| view.is_better(server) && view.is_trusted(server) && view.can_take(server)),
        )
    } else if view.policy.fail_back {
        let is_ready = |server: &ServerView| {
            view.is_trusted(server) && !view.is_paused(server) && view.can_take(server) && view.stable(server)
        };
        let fits = |server: &ServerView| {
            let at_once = seeded::is(Bug::FailbackWithoutCatchUp) && view.is_up(server);
            view.is_better(server) && (is_ready(server) || at_once)
        };
        (ActivationReason::FailBack, view.best(fits))
    } else {
        return Decision::Stay;
    };
    match target {
        Some(to) => Decision::HandOver { to: to.clone(), reason },
        None if forbidden => Decision::Stop { why: view.why_nowhere() },
        None => Decision::Stay,
    }
}

/// The engine does not run: the server to start it on.
fn decide_idle(view: &View) -> Decision {
    if view.leaving {
        // The next leader activates it; an engine that starts here would stop at once.
        let why = || format!("{} is shutting down and no other server can take over", view.me);
        return view.leave().unwrap_or_else(|| Decision::KeepStopped { why: why() });
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
    /// The server that an operator moved the engine to. A move to a server that the policy does not allow is ignored: it
    /// was committed at the same time as a change of the policy.
    fn allowed_hold(&self) -> Option<&ServerName> {
        self.hold.as_ref().filter(|hold| self.allows(hold))
    }

    fn server(&self, name: &ServerName) -> Option<&ServerView> {
        self.servers.iter().find(|server| server.name == *name)
    }

    fn hosts(&self) -> Vec<ServerName> {
        self.servers.iter().filter(|server| server.role == Role::Server).map(|server| server.name.clone()).collect()
    }

    /// True if the policy allows the engine on that server.
    fn allows(&self, name: &ServerName) -> bool {
        let hosts = self.hosts();
        hosts.contains(name) && (!self.policy.preferred_only || self.policy.preference(&hosts).contains(name))
    }

    /// Servers that the policy allows, the most preferred first.
    fn ranked(&self) -> Vec<&ServerView> {
        let hosts = self.hosts();
        let preferred = self.policy.preference(&hosts);
        let others = hosts.iter().filter(|host| !self.policy.preferred_only && !preferred.contains(host));
        preferred.iter().chain(others).filter_map(|name| self.server(name)).collect()
    }

    /// The position of a server in the list; 0 is the most preferred. All servers outside of the list share the last one.
    fn rank(&self, name: &ServerName) -> usize {
        let hosts = self.hosts();
        let preferred = self.policy.preference(&hosts);
        preferred.iter().position(|preferred| preferred == name).unwrap_or(preferred.len())
    }

    /// True if that server is more preferred than this one, and allowed.
    fn is_better(&self, server: &ServerView) -> bool {
        self.rank(&server.name) < self.rank(&self.me) && self.allows(&server.name)
    }

    /// True if the engine may move to that server only because it is more preferred.
    fn is_trusted(&self, server: &ServerView) -> bool {
        server.distrusted_until.is_none_or(|until| self.now >= until)
    }

    /// True if the engine does not fail back to that server for a while.
    fn is_paused(&self, server: &ServerView) -> bool {
        server.paused_until.is_some_and(|until| self.now < until)
    }

    /// Servers to which the engine would fail back if their losses did not pause it.
    pub(super) fn paused(&self) -> impl Iterator<Item = &ServerView> {
        let fails_back = self.policy.fail_back && !self.policy.manual && self.allowed_hold().is_none();
        self.servers.iter().filter(move |server| fails_back && self.is_better(server) && self.is_paused(server))
    }

    /// True if a more preferred server is up, ready to take the engine or not yet.
    pub(super) fn better_is_up(&self) -> bool {
        let waits = !self.policy.manual && self.allowed_hold().is_none();
        waits && self.servers.iter().any(|server| self.is_better(server) && self.is_up(server))
    }

    /// The decision of a server that shuts down; `None` if no other server can take over soon.
    fn leave(&self) -> Option<Decision> {
        if let Some(to) = self.best_host(|server| self.can_lead(server)) {
            return Some(Decision::HandOver { to: to.clone(), reason: ActivationReason::HandOver });
        }
        // One that catches up, or that failed to take over a moment ago, may take over in a moment.
        let may_soon = |server: &ServerView| server.name != self.me && self.is_up(server) && server.may_lead;
        self.best(may_soon).map(|_| Decision::AwaitSuccessor)
    }

    fn best(&self, fits: impl Fn(&ServerView) -> bool) -> Option<&ServerName> {
        self.ranked().into_iter().find(|server| fits(server)).map(|server| &server.name)
    }

    /// The most preferred fit server among those that `could`, or else one that failed and may host as a last resort.
    fn best_host(&self, could: impl Fn(&ServerView) -> bool) -> Option<&ServerName> {
        let fit = self.best(|server| server.cannot_host.is_none() && could(server));
        fit.or_else(|| self.best(|server| server.at_need && could(server)))
    }

    fn is_up(&self, server: &ServerView) -> bool {
        server.up_since.is_some() && server.cannot_host.is_none()
    }

    fn is_caught_up(&self, server: &ServerView) -> bool {
        self.timing.is_caught_up(server.may_lead, server.lag)
    }

    fn is_damped(&self, server: &ServerView) -> bool {
        server.damped_until.is_some_and(|until| self.now < until)
    }

    /// True if the engine can be handed to that server now.
    fn can_take(&self, server: &ServerView) -> bool {
        server.cannot_host.is_none() && self.can_lead(server)
    }

    /// True if leadership can be handed to that server now.
    fn can_lead(&self, server: &ServerView) -> bool {
        let reached = server.name != self.me && server.up_since.is_some();
        reached && self.is_caught_up(server) && !self.is_damped(server)
    }

    fn stable(&self, server: &ServerView) -> bool {
        let for_long = |since: BootTime| self.now.since(since) >= self.timing.fail_back_stability;
        server.up_since.is_some_and(for_long) && server.caught_up_since.is_some_and(for_long)
    }

    /// True if the engine could start on that server now, here or by a hand-over, whether the server is fit or not.
    fn could_run(&self, server: &ServerView) -> bool {
        if server.name == self.me { server.up_since.is_some() } else { self.can_lead(server) }
    }

    /// True if that server is also fit.
    fn available(&self, server: &ServerView) -> bool {
        server.cannot_host.is_none() && self.could_run(server)
    }

    fn target_when_idle(&self) -> Option<ServerName> {
        let held = self.allowed_hold().filter(|hold| self.server(hold).is_some_and(|to| self.available(to)));
        if let Some(held) = held {
            return Some(held.clone());
        }
        match &self.last_host {
            // Manual: it starts again on its last host, and never moves automatically.
            Some(last) if self.policy.manual => {
                let can = |to: &ServerView| (to.cannot_host.is_none() || to.at_need) && self.could_run(to);
                Some(last.clone()).filter(|last| self.allows(last) && self.server(last).is_some_and(can))
            }
            _ => self.best_host(|server| self.could_run(server)).cloned(),
        }
    }

    /// The reason to wait a moment before a start on `target`; `None` if there is none.
    fn worth_waiting_for(&self, target: Option<&ServerName>) -> Option<String> {
        let ranked = self.ranked();
        let target_at = ranked.iter().position(|server| Some(&server.name) == target);
        // The target included: it may not have reported yet that its engine cannot start.
        let before = ranked.into_iter().take(target_at.map_or(usize::MAX, |at| at + 1));
        let starting = self.now.since(self.started_at) < self.timing.start_grace;
        let new_leader = self.now.since(self.leads_since) < self.timing.lag_grace;
        for server in before {
            if !server.seen && starting && server.name != self.me {
                return Some(format!("{} has not been seen yet", server.name));
            }
            let unknown = !self.is_caught_up(server) || !server.reported;
            if self.is_up(server) && server.name != self.me && unknown && new_leader {
                return Some(format!("the state of {} is not known yet", server.name));
            }
        }
        None
    }

    fn reason_when_idle(&self, target: &ServerName) -> ActivationReason {
        let Some(last) = self.last_host.as_ref().filter(|_| !self.cold_start) else { return ActivationReason::Start };
        let returns = last == target;
        match self.stopped_for {
            Some(reason) if !returns || reason == ActivationReason::PolicyChange => reason,
            // No server took the hand-over: it runs on here, for the reason of its last activation.
            Some(_) if self.ran_here => self.last_reason.unwrap_or(ActivationReason::Start),
            None if self.policy_changed && !returns => ActivationReason::PolicyChange,
            _ if self.allowed_hold() == Some(target) => ActivationReason::Move,
            _ if returns && self.ran_here => ActivationReason::EngineFailed,
            _ if returns => ActivationReason::Start,
            _ => ActivationReason::FailOver,
        }
    }

    /// The reason why no server can run the engine, as text.
    fn why_nowhere(&self) -> String {
        if self.policy.manual
            && let Some(last) = &self.last_host
        {
            let is = if self.allows(last) { "is not available" } else { "may not host the engine" };
            return format!("the policy is manual and {last} {is}: move the engine with `baton move SERVER`");
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
            (Some(_), None) if !server.may_lead => format!("{name} may not lead the store yet"),
            (Some(_), None) if !self.is_caught_up(server) => format!("{name} is not caught up"),
            (Some(_), None) => format!("the last hand-over to {name} failed"),
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decide_properties.rs"]
mod properties;
