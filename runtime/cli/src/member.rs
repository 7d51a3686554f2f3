//! `baton member add|remove|set-address`: who belongs to the cluster, and where.

mod files;

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use baton::config::{MemberConfig, check_address};
use baton_client::protocol::{DirectoryRequest, ServerStatus, Status};
use baton_domain::{Role, ServerName};
use clap::{Subcommand, ValueEnum};

use super::survival::{Survival, survival};
use super::target::{Target, Targeted};
use super::{Failure, output, session};

/// A change of the voters may have to wait for a server to catch up.
const CHANGE: Duration = Duration::from_secs(30);
/// Nothing was done: the cluster would survive no failure any more, and nobody said `--yes`.
const EXIT_UNSURE: u8 = 2;

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
        /// Write its files beside the cluster file, as `baton init` does: NAME.toml, its certificate, and its entry in the
        /// cluster file
        #[arg(long)]
        write: bool,
    },
    /// Remove a server for good
    Remove {
        /// Its name
        name: ServerName,
        /// Do not ask, even if the cluster survives no failure then
        #[arg(long)]
        yes: bool,
    },
    /// Say where a server is dialed that does not run; one that runs says so itself, by `advertise` in its file
    SetAddress {
        /// Its name
        name: ServerName,
        /// Where the others dial it
        #[arg(value_name = "HOST:PORT")]
        address: String,
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
    match args.action {
        Action::Add { name, address, role, write } => {
            let (address, role) = placed(&name, address, role, &args.target.members()?).map_err(Failure::new)?;
            add(&args.target, MemberConfig { name, role, address, http: None }, write).await
        }
        Action::Remove { name, yes } => remove(&args.target, name, yes).await,
        Action::SetAddress { name, address } => {
            check_address(&address).map_err(Failure::new)?;
            let told = format!("{name} is dialed at {address}\n");
            let client = session::connect(&args.target, CHANGE).await?;
            session::admin(&client, DirectoryRequest::SetAddress { name, address }).await?;
            output::print(&told)?;
            client.close().await;
            Ok(())
        }
    }
}

async fn add(target: &Target, member: MemberConfig, write: bool) -> Result<(), Failure> {
    // What is missing for the files is said before anything is changed.
    let files = if write { Some(files::Files::beside(target.cluster_file(), &member)?) } else { None };
    let client = session::connect(target, CHANGE).await?;
    let MemberConfig { name, role, address, .. } = member.clone();
    session::admin(&client, DirectoryRequest::AddMember { name: name.clone(), role, address }).await?;
    let status = session::status(&client).await?;
    client.close().await;
    // The server that was asked for the status may not have heard of the new member yet.
    let (servers, witnesses) = counts(status.servers.iter().filter(|server| server.name != name));
    let layout = match role {
        Role::Server => layout(servers + 1, witnesses),
        Role::Witness => layout(servers, witnesses + 1),
    };
    output::print(&format!("{name} is a member\n{layout}, once it has joined\n"))?;
    output::print(&match files {
        Some(files) => files.write()?,
        None => format!(
            "next: write {name}.toml like the file of another server (`baton member add --write` does it), take it, \
             cluster.toml and server.secrets to its host, and start it there: baton server {name}.toml\n"
        ),
    })
}

async fn remove(target: &Target, name: ServerName, yes: bool) -> Result<(), Failure> {
    let client = session::connect(target, CHANGE).await?;
    let status = session::status(&client).await?;
    let left: Vec<ServerStatus> = status.servers.iter().filter(|server| server.name != name).cloned().collect();
    // A name that is no member is refused by the cluster, in its own words.
    if !yes && left.len() < status.servers.len() && survives(&status, &name).at_once == 0 {
        confirm(&format!("without {name} the cluster survives no failure"))?;
    }
    session::admin(&client, DirectoryRequest::RemoveMember { name: name.clone() }).await?;
    client.close().await;
    let (servers, witnesses) = counts(left.iter());
    output::print(&format!(
        "{name} is no member any more\n{}\nnext: it ends by itself if it runs (exit code 4). To bring it back, run `baton \
         member add {name}`, then `baton rebuild {name}.toml`, and start it\n",
        layout(servers, witnesses)
    ))
}

/// What is survived without that member, by those that are up: others may be gone for good.
fn survives(status: &Status, without: &ServerName) -> Survival {
    let left = || status.servers.iter().filter(|server| server.name != *without && server.up);
    counted(left())
}

fn counted<'a>(servers: impl Iterator<Item = &'a ServerStatus>) -> Survival {
    let (servers, witnesses) = counts(servers);
    survival(servers, witnesses)
}

fn counts<'a>(servers: impl Iterator<Item = &'a ServerStatus>) -> (u32, u32) {
    servers.fold((0, 0), |(servers, witnesses), server| match server.role {
        Role::Server => (servers + 1, witnesses),
        Role::Witness => (servers, witnesses + 1),
    })
}

/// A layout, and what it survives, as `baton init` says it.
fn layout(servers: u32, witnesses: u32) -> String {
    format!("{servers} + {witnesses}: {}", survival(servers, witnesses).words())
}

/// Asks the person at the terminal; a script has to say `--yes`.
fn confirm(what: &str) -> Result<(), Failure> {
    let stays =
        || Failure::with_code(format!("nothing was done: {what}; say --yes to do it all the same"), EXIT_UNSURE);
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(stays());
    }
    let mut stderr = std::io::stderr();
    // Nobody reads it: then nobody answers either.
    let _ = write!(stderr, "{what}: go on? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(stays()) }
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

    /// Who is down may be gone for good, and who never came has no vote: neither helps when another one fails.
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
