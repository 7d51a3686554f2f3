//! `baton policy show|set`: the servers that may host the engine, and the preferred ones.

use baton_domain::{Assistance, Policy, PolicyChange, ServerName};
use clap::{Args, Subcommand, ValueEnum};

use super::target::Targeted;
use super::{Failure, output, requests, status};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Show the policy
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the policy; options that are not named stay as they are
    Set(Changes),
}

/// The kinds of assistance on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AssistanceWord {
    /// The list is kept up to date: all servers in the order they joined; no failback
    HighAvailability,
    /// You maintain the list yourself
    None,
}

/// The options to change.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Changes {
    /// Maintenance of the list of preferred servers
    #[arg(long)]
    assistance: Option<AssistanceWord>,
    /// Preferred servers in order; "" empties the list: any available server
    #[arg(long, value_name = "SERVER,..")]
    preferred: Option<String>,
    /// Fail back automatically when a more preferred server returns
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    fail_back: Option<bool>,
    /// Run on preferred servers only; the engine stays stopped if none is available
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    preferred_only: Option<bool>,
    /// Move the engine only on request: no automatic failover or failback
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    manual: Option<bool>,
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::SOON).await?;
    match args.action {
        Action::Show { json: true } => {
            output::print_json(&status::policy_json(&requests::status(&client).await?.policy))?;
        }
        Action::Show { json: false } => output::print(&shown(&requests::status(&client).await?.policy))?,
        Action::Set(changes) => {
            let change = changes.read().map_err(Failure::new)?;
            // Merged by the leader: the policy known to another server may be outdated.
            output::print(&shown(&client.change_policy(change).await?))?;
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

impl Changes {
    fn read(self) -> Result<PolicyChange, String> {
        let list = |names: String| match names.trim() {
            "" => Ok(Vec::new()),
            names => names
                .split(',')
                .map(|name| ServerName::new(name.trim()).map_err(|error| format!("--preferred: {error}")))
                .collect(),
        };
        Ok(PolicyChange {
            assistance: self.assistance.map(|word| match word {
                AssistanceWord::HighAvailability => Assistance::HighAvailability,
                AssistanceWord::None => Assistance::None,
            }),
            preferred: self.preferred.map(list).transpose()?,
            fail_back: self.fail_back,
            preferred_only: self.preferred_only,
            manual: self.manual,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn names(names: &[&str]) -> Vec<ServerName> {
        names.iter().map(|name| ServerName::new(name).unwrap()).collect()
    }

    #[test]
    fn a_list_is_read_name_by_name_and_an_empty_one_means_any_server() {
        let read = |list: &str| Changes { preferred: Some(list.to_owned()), ..Changes::default() }.read();
        assert_eq!(read("server1, server2").unwrap().preferred, Some(names(&["server1", "server2"])));
        assert_eq!(read("").unwrap().preferred, Some(Vec::new()));
        assert_eq!(Changes::default().read(), Ok(PolicyChange::default()));
        for wrong in ["a b", "server1,,server2", "server1,"] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains("--preferred: server name"), "{why}");
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
