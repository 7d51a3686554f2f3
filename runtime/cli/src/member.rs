//! `baton member add|remove|set-address`: members of the cluster and their addresses.

mod files;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use baton::client::{Client, ClientError};
use baton::config::{MemberConfig, check_address};
use baton_client::protocol::{DirectoryReply, DirectoryRequest, ServerStatus, Status};
use baton_domain::{Role, ServerName};
use clap::{Subcommand, ValueEnum};

use super::survival::{Survival, survival, survival_over_database};
use super::target::{Target, Targeted};
use super::{Failure, output, requests};

/// Deadline of a membership change, which may have to wait for a server to catch up.
const CHANGE: Duration = Duration::from_secs(30);
/// Exit code: nothing was done, because the cluster would survive no failure and `--yes` was not given.
const EXIT_UNSURE: u8 = 2;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Add a server or witness; it joins when it is started with an empty store
    Add {
        /// Member name
        name: ServerName,
        /// Address for the other members to dial; default: from the cluster file, if it lists the name
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Role; default: from the cluster file, if it lists the name, else server
        #[arg(long)]
        role: Option<RoleWord>,
        /// Write its files next to the cluster file, as `baton init` does: NAME.toml, its certificate, and its entry in the
        /// cluster file; also for a member that was added without them
        #[arg(long)]
        write: bool,
    },
    /// Remove a server or witness for good
    Remove {
        /// Member name
        name: ServerName,
        /// Do not ask for confirmation, even if the cluster then survives no failure
        #[arg(long)]
        yes: bool,
    },
    /// Set the address of a stopped server; a running server uses `advertise` of its file
    SetAddress {
        /// Member name
        name: ServerName,
        /// Address for the other members to dial
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
}

/// The roles on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleWord {
    /// Stores, votes and can host the engine
    Server,
    /// Stores and votes, never hosts the engine
    Witness,
}

pub(super) async fn run(args: Targeted<Action>) -> Result<(), Failure> {
    match args.action {
        Action::Add { name, address, role, write } => add(&args.target, name, address, role, write).await,
        Action::Remove { name, yes } => remove(&args.target, name, yes).await,
        Action::SetAddress { name, address } => {
            check_address(&address)?;
            let told = format!("{name} is dialed at {address}\n");
            let client = requests::connect(&args.target, CHANGE).await?;
            client.set_member_address(&name, &address).await?;
            output::print(&told)?;
            client.close().await;
            Ok(())
        }
    }
}

async fn add(
    target: &Target,
    name: ServerName,
    address: Option<String>,
    role: Option<RoleWord>,
    write: bool,
) -> Result<(), Failure> {
    let mut listed = target.members()?;
    let client = requests::connect(target, CHANGE).await?;
    if write {
        listed.extend(known(&client, &name).await?);
    }
    let member = placed(name, address, role, &listed).map_err(Failure::new)?;
    // Files that are missing are reported before anything is changed.
    let files = if write { Some(files::Files::beside(target.cluster_file(), &member)?) } else { None };
    match client.add_member(&member.name, member.role, &member.address).await {
        Ok(()) => {}
        Err(ClientError::Declined(why)) => match known(&client, &member.name).await? {
            // Added before without its files.
            Some(known) if write && known == member => {}
            Some(known) => return Err(Failure::new(format!("{why}{}", as_known(&known)))),
            None => return Err(Failure::new(why)),
        },
        Err(error) => return Err(error.into()),
    }
    let MemberConfig { name, role, .. } = member;
    let status = requests::status(&client).await?;
    client.close().await;
    // The server that gave the status may not know the new member yet.
    let (servers, witnesses) = counts(status.servers.iter().filter(|server| server.name != name));
    let layout = match role {
        Role::Server => layout(&status, servers + 1, witnesses),
        Role::Witness => layout(&status, servers, witnesses + 1),
    };
    output::print(&format!("{name} is a member\n{layout}, once it has joined\n"))?;
    output::print(&match files {
        Some(files) => files.write()?,
        None => format!(
            "next: write {name}.toml like the file of another server (`baton member add --write` does it), copy it, \
             cluster.toml and server.secrets to its host, and start it there: baton server {name}.toml\n"
        ),
    })
}

/// How the cluster knows a member that cannot be added again.
fn as_known(member: &MemberConfig) -> String {
    let MemberConfig { name, role, address, .. } = member;
    let role = match role {
        Role::Server => "server",
        Role::Witness => "witness",
    };
    format!(", as a {role} with the address {address}; `baton member add {name} --write` writes its files")
}

/// The member of that name, as far as the server that answers knows.
async fn known(client: &Client, name: &ServerName) -> Result<Option<MemberConfig>, Failure> {
    let DirectoryReply::News(news) = requests::admin(client, DirectoryRequest::Where).await? else { return Ok(None) };
    let Some((_, address)) = news.servers.into_iter().find(|(server, _)| server == name) else { return Ok(None) };
    let status = requests::status(client).await?;
    let role = status.servers.iter().find(|server| server.name == *name).map(|server| server.role);
    Ok(role.map(|role| MemberConfig::new(name.clone(), role, address)))
}

async fn remove(target: &Target, name: ServerName, yes: bool) -> Result<(), Failure> {
    let client = requests::connect(target, CHANGE).await?;
    let status = requests::status(&client).await?;
    let left: Vec<ServerStatus> = status.servers.iter().filter(|server| server.name != name).cloned().collect();
    // The cluster refuses a name that is not a member, with its own message.
    if !yes && left.len() < status.servers.len() && survives(&status, &name).at_once == 0 {
        confirm(&format!("without {name} the cluster survives no failure"))?;
    }
    client.remove_member(&name).await?;
    client.close().await;
    let (servers, witnesses) = counts(left.iter());
    output::print(&format!(
        "{name} is no longer a member\n{}\n{}next: if it runs, it ends automatically (exit code 4). To bring it back, run \
        `baton member add {name}`, then `baton rebuild {name}.toml`, and start it\n",
        layout(&status, servers, witnesses),
        leftovers(&files::naming(target.cluster_file(), &name)),
    ))
}

/// The files that still name a removed member, and the operator's part.
fn leftovers(files: &[PathBuf]) -> String {
    if files.is_empty() {
        return String::new();
    }
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    format!(
        "still named in {}. If it does not come back, delete its own file, and its [[member]] from all copies of \
        cluster.toml; until then clients dial it in vain\n",
        files.join(" and ")
    )
}

/// Failures survived without that member, counting only members that are up: the others may be lost for good.
fn survives(status: &Status, without: &ServerName) -> Survival {
    let left = || status.servers.iter().filter(|server| server.name != *without && server.up);
    let (servers, witnesses) = counts(left());
    survival_of(status, servers, witnesses)
}

/// The number of failures that a cluster of that kind and size survives.
fn survival_of(status: &Status, servers: usize, witnesses: usize) -> Survival {
    match status.database {
        Some(_) => survival_over_database(servers),
        None => survival(servers, witnesses),
    }
}

fn counts<'a>(servers: impl Iterator<Item = &'a ServerStatus>) -> (usize, usize) {
    servers.fold((0, 0), |(servers, witnesses), server| match server.role {
        Role::Server => (servers + 1, witnesses),
        Role::Witness => (servers, witnesses + 1),
    })
}

/// A layout and the failures it survives, worded as in `baton init`.
fn layout(status: &Status, servers: usize, witnesses: usize) -> String {
    let words = survival_of(status, servers, witnesses).words();
    match &status.database {
        Some(_) => format!("{servers} servers over a database: {words}"),
        None => format!("{servers} + {witnesses}: {words}"),
    }
}

/// Asks for confirmation at the terminal; a script has to use `--yes`.
fn confirm(what: &str) -> Result<(), Failure> {
    let stays = || Failure::with_code(format!("nothing was changed: {what}; use --yes to do it anyway"), EXIT_UNSURE);
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(stays());
    }
    let mut stderr = std::io::stderr();
    // If the question cannot be written, there is no answer either.
    let _ = write!(stderr, "{what}; continue? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(stays()) }
}

/// A new member: address and role as given, or as listed.
fn placed(
    name: ServerName,
    address: Option<String>,
    role: Option<RoleWord>,
    listed: &[MemberConfig],
) -> Result<MemberConfig, String> {
    let listed = listed.iter().find(|member| member.name == name);
    let address = address.or_else(|| listed.map(|member| member.address.clone())).ok_or_else(|| {
        format!("{name} has no address: use --address host:port, or list it as a [[member]] in the cluster file")
    })?;
    check_address(&address).map_err(|why| format!("--address: {why}"))?;
    let role = match role {
        Some(RoleWord::Server) => Role::Server,
        Some(RoleWord::Witness) => Role::Witness,
        None => listed.map_or(Role::Server, |member| member.role),
    };
    Ok(MemberConfig::new(name, role, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_role_come_from_the_options_or_the_file() {
        let name = |name: &str| ServerName::new(name).unwrap();
        let member = |name_of: &str, role, address: &str| MemberConfig::new(name(name_of), role, address);
        let listed = [member("w9", Role::Witness, "h:9")];
        let given = Some("h:1".to_owned());
        assert_eq!(placed(name("w9"), None, None, &listed), Ok(member("w9", Role::Witness, "h:9")));
        let server = Some(RoleWord::Server);
        assert_eq!(placed(name("w9"), given.clone(), server, &listed), Ok(member("w9", Role::Server, "h:1")));
        assert_eq!(placed(name("s4"), given, None, &listed), Ok(member("s4", Role::Server, "h:1")));
        assert!(placed(name("s4"), None, None, &listed).unwrap_err().contains("--address host:port"));
        assert!(placed(name("s4"), Some("h".to_owned()), None, &listed).unwrap_err().contains("is not an address"));
    }

    /// A member that is down may be lost for good, and one that never joined has no vote: neither helps in a failure.
    #[test]
    fn only_members_that_are_up_count_for_what_is_survived() {
        let status = |up: &[bool]| {
            let server = |(number, up): (usize, &bool)| ServerStatus {
                name: ServerName::new(format!("server{number}")).unwrap(),
                role: Role::Server,
                up: *up,
                engine: String::new(),
                leader: false,
                lag: None,
                preference: None,
                trouble: None,
                fail_back: None,
            };
            Status { servers: up.iter().enumerate().map(server).collect(), ..Status::unknown("") }
        };
        let first = ServerName::new("server0").unwrap();
        for (up, at_once) in [
            (&[true, true, true, true][..], 1),
            (&[true, true, true], 0),
            (&[false, true, true, true], 1),
            (&[true, true, true, false, false, false], 0),
        ] {
            assert_eq!(survives(&status(up), &first).at_once, at_once, "{up:?}");
        }
    }
}
