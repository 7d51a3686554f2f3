//! `baton member add|remove`: who belongs to the cluster.

use std::time::Duration;

use baton_actors::protocol::DirectoryRequest;
use baton_storage::{Role, ServerName};
use clap::{Subcommand, ValueEnum};

use crate::config::{MemberConfig, check_address};

use super::target::Targeted;
use super::{Failure, output, session};

/// A change of the voters may have to wait for a server to catch up.
const CHANGE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Add a server; started with an empty store, it joins
    Add {
        /// Its name
        name: ServerName,
        /// Where the others dial it; taken from the cluster file if that lists the name
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// What it does; taken from the cluster file if that lists the name, else server
        #[arg(long)]
        role: Option<RoleWord>,
    },
    /// Remove a server for good
    Remove {
        /// Its name
        name: ServerName,
    },
}

/// The roles, as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleWord {
    /// Stores, votes and can host the engine
    Server,
    /// Stores and votes, never hosts the engine
    Witness,
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    let (request, told) = match args.action {
        Action::Add { name, address, role } => {
            let (address, role) = placed(&name, address, role, &args.target.members()?).map_err(Failure::new)?;
            let told = format!("{name} is a member; start it with `baton server` and it joins\n");
            (DirectoryRequest::AddMember { name, role, address }, told)
        }
        Action::Remove { name } => {
            let told = format!("{name} is no member any more; stop it, and wipe its store before it joins again\n");
            (DirectoryRequest::RemoveMember { name }, told)
        }
    };
    let client = session::connect(&args.target, CHANGE).await?;
    session::admin(&client, request).await?;
    output::print(&told)?;
    client.close().await;
    Ok(())
}

/// Address and role of a new member: as given, or as the cluster file lists it.
fn placed(
    name: &ServerName,
    address: Option<String>,
    role: Option<RoleWord>,
    listed: &[MemberConfig],
) -> Result<(String, Role), String> {
    let listed = listed.iter().find(|member| member.name == *name);
    let address = address.or_else(|| listed.map(|member| member.address.clone())).ok_or_else(|| {
        format!("where is {name} dialed? Say --address host:port, or list it as a [[member]] of the cluster file")
    })?;
    check_address(&address).map_err(|why| format!("--address: {why}"))?;
    let role = match role {
        Some(RoleWord::Server) => Role::Server,
        Some(RoleWord::Witness) => Role::Witness,
        None => listed.map_or(Role::Server, |member| member.role),
    };
    Ok((address, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_role_come_from_the_options_or_the_file() {
        let name = |name: &str| ServerName::new(name).unwrap();
        let listed = [MemberConfig { name: name("w9"), role: Role::Witness, address: "h:9".to_owned(), http: None }];
        let given = Some("h:1".to_owned());
        assert_eq!(placed(&name("w9"), None, None, &listed), Ok(("h:9".to_owned(), Role::Witness)));
        assert_eq!(
            placed(&name("w9"), given.clone(), Some(RoleWord::Server), &listed),
            Ok(("h:1".to_owned(), Role::Server))
        );
        assert_eq!(placed(&name("s4"), given, None, &listed), Ok(("h:1".to_owned(), Role::Server)));
        assert!(placed(&name("s4"), None, None, &listed).unwrap_err().contains("--address host:port"));
        assert!(placed(&name("s4"), Some("h".to_owned()), None, &listed).unwrap_err().contains("is not an address"));
    }
}
