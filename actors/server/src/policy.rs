//! The policy actor: watches which servers are up and caught up, and steers the storage leadership, and with it the
//! engine, to where the policy says. It also decides which replicas vote. Runs on every server; acts on the storage leader.

mod circumstances;
mod decide;
mod effect;
mod health;
mod losses;
mod membership;
mod observation;
mod pauses;
mod shell;
#[cfg(test)]
mod simulation;
mod state;
mod view;

pub use decide::decide;
pub use effect::{Effect, Outcome};
pub use membership::{MemberView, MembershipStep, next_step};
pub use observation::{Link, Observation};
pub use shell::{PolicyActor, PolicyArguments, PolicyMessage, PolicyNews};
pub use state::PolicyState;
pub use view::{Decision, EngineHere, PolicyTiming, ServerView, View};
