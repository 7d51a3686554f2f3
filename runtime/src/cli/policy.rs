//! `baton policy show|set`: where the engine may run, and where it would rather.

use baton_actors::protocol::{DirectoryRequest, Status};
use baton_storage::{Assistance, Policy, Role, ServerName};
use clap::{Args, Subcommand, ValueEnum};

use super::target::Target;
use super::{Failure, output, session, status};

/// Options of `baton policy`.
#[derive(Debug, Clone, Args)]
pub(super) struct PolicyArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Show the policy
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the policy; what is not named stays as it is
    Set(Changes),
}

/// The two kinds of assistance, as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AssistanceWord {
    /// The list is all servers in the order they joined, kept up to date; no fail back
    HighAvailability,
    /// The list is yours
    None,
}

/// What is to be changed.
#[derive(Debug, Clone, Default, Args)]
struct Changes {
    /// Who keeps the list of preferred servers
    #[arg(long)]
    assistance: Option<AssistanceWord>,
    /// The ordered list; "" empties it: any available server
    #[arg(long, value_name = "SERVER,..")]
    preferred: Option<String>,
    /// Whether the engine moves back when a more preferred server returns
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    fail_back: Option<bool>,
    /// Whether the engine stays stopped when no preferred server is there
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    preferred_only: Option<bool>,
    /// Whether the engine moves only when told
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    manual: Option<bool>,
}

pub(super) async fn run(args: PolicyArgs) -> Result<(), Failure> {
    let client = session::connect(&args.target, session::SOON).await?;
    match args.action {
        Action::Show { json: true } => {
            output::print_json(&status::policy_json(&session::status(&client).await?.policy))?;
        }
        Action::Show { json: false } => output::print(&shown(&session::status(&client).await?.policy))?,
        Action::Set(changes) => {
            let policy = changed(&session::status(&client).await?, &changes).map_err(Failure::new)?;
            session::admin(&client, DirectoryRequest::SetPolicy(policy.clone())).await?;
            output::print(&shown(&policy))?;
        }
    }
    client.close().await;
    Ok(())
}

fn shown(policy: &Policy) -> String {
    let assistance = match policy.assistance {
        Assistance::HighAvailability => "high-availability",
        Assistance::None => "none",
    };
    let names = policy.preferred.iter().map(ServerName::as_str).collect::<Vec<_>>().join(",");
    format!(
        "assistance      {assistance}\npreferred       {names}\nfail-back       {}\npreferred-only  {}\nmanual          {}\n",
        policy.fail_back, policy.preferred_only, policy.manual
    )
}

/// The policy after the changes, checked against the servers that the status names.
fn changed(status: &Status, changes: &Changes) -> Result<Policy, String> {
    let mut policy = status.policy.clone();
    match changes.assistance {
        None => {}
        Some(AssistanceWord::None) => policy.assistance = Assistance::None,
        // Assistance keeps the list itself: what was set by hand before goes, what is set by hand now is refused below.
        Some(AssistanceWord::HighAvailability) => policy = Policy { manual: policy.manual, ..Policy::default() },
    }
    if let Some(names) = &changes.preferred {
        policy.preferred = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| ServerName::new(name).map_err(|error| format!("--preferred: {error}")))
            .collect::<Result<_, _>>()?;
    }
    policy.fail_back = changes.fail_back.unwrap_or(policy.fail_back);
    policy.preferred_only = changes.preferred_only.unwrap_or(policy.preferred_only);
    policy.manual = changes.manual.unwrap_or(policy.manual);
    let hosts: Vec<ServerName> =
        status.servers.iter().filter(|server| server.role == Role::Server).map(|server| server.name.clone()).collect();
    policy.check(&hosts).map_err(|error| error.to_string())?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_actors::protocol::{EngineStatus, QuorumStatus, ServerStatus};

    fn status(policy: Policy) -> Status {
        let server = |name: &str, role| ServerStatus {
            name: ServerName::new(name).unwrap(),
            role,
            up: true,
            engine: "standby".to_owned(),
            leader: false,
            lag: Some(0),
            preference: None,
            trouble: None,
        };
        Status {
            engine: EngineStatus {
                state: "stopped".to_owned(),
                server: None,
                epoch: None,
                since: None,
                reason: String::new(),
            },
            policy,
            servers: vec![
                server("server1", Role::Server),
                server("server2", Role::Server),
                server("witness1", Role::Witness),
            ],
            quorum: QuorumStatus { needed: 2, up: 3 },
        }
    }

    fn names(names: &[&str]) -> Vec<ServerName> {
        names.iter().map(|name| ServerName::new(name).unwrap()).collect()
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let before = Policy {
            assistance: Assistance::None,
            preferred: names(&["server2"]),
            fail_back: true,
            ..Policy::default()
        };
        let changes = Changes { preferred_only: Some(true), ..Changes::default() };
        assert_eq!(changed(&status(before.clone()), &changes), Ok(Policy { preferred_only: true, ..before.clone() }));
        let changes = Changes { preferred: Some("server1, server2".to_owned()), ..Changes::default() };
        assert_eq!(
            changed(&status(before.clone()), &changes),
            Ok(Policy { preferred: names(&["server1", "server2"]), ..before.clone() })
        );
        let changes = Changes { preferred: Some(String::new()), ..Changes::default() };
        assert_eq!(changed(&status(before.clone()), &changes), Ok(Policy { preferred: vec![], ..before }));
    }

    #[test]
    fn switching_assistance_on_takes_the_operators_list_away() {
        let before = Policy {
            assistance: Assistance::None,
            preferred: names(&["server2"]),
            fail_back: true,
            preferred_only: true,
            manual: true,
        };
        let changes = Changes { assistance: Some(AssistanceWord::HighAvailability), ..Changes::default() };
        assert_eq!(changed(&status(before), &changes), Ok(Policy { manual: true, ..Policy::default() }));
    }

    #[test]
    fn a_policy_that_contradicts_itself_or_the_cluster_is_refused() {
        let none = Some(AssistanceWord::None);
        let preferred = |list: &str| Some(list.to_owned());
        for (changes, expected) in [
            (Changes { fail_back: Some(true), ..Changes::default() }, "fail-back needs assistance \"none\""),
            (Changes { preferred: preferred("server1"), ..Changes::default() }, "needs assistance \"none\""),
            (
                Changes { assistance: none, preferred: preferred("server9"), ..Changes::default() },
                "server9 is not a server that can host the engine; those are: server1, server2",
            ),
            (
                Changes { assistance: none, preferred: preferred("witness1"), ..Changes::default() },
                "witness1 is not a server",
            ),
            (Changes { assistance: none, preferred: preferred("server1,server1"), ..Changes::default() }, "twice"),
            (
                Changes { assistance: none, preferred: preferred("a b"), ..Changes::default() },
                "--preferred: server name \"a b\"",
            ),
            (
                Changes { assistance: none, preferred_only: Some(true), ..Changes::default() },
                "name at least one server",
            ),
        ] {
            let why = changed(&status(Policy::default()), &changes).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn the_policy_is_shown_by_the_names_that_set_it() {
        let policy =
            Policy { assistance: Assistance::None, preferred: names(&["server2", "server1"]), ..Policy::default() };
        let text = shown(&policy);
        assert!(
            text.starts_with("assistance      none\npreferred       server2,server1\nfail-back       false\n"),
            "{text}"
        );
    }
}
