//! `baton init`: creates the files of a new cluster.

pub(super) mod certificates;
mod layout;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use baton::config::{Cookie, Secret, Secrets, cluster_file_text, defaults, secrets_file_text, server_file_text};
use baton_domain::{ClusterId, Member, Policy, ReplicaId};
use baton_replica::{Genesis, StoreError, StoreHeader};
use clap::Args;

use super::survival::survival;
use super::{Failure, output};

pub(super) use layout::{Layout, interface};

/// Options of `baton init`.
#[derive(Debug, Clone, Args)]
pub(super) struct InitArgs {
    /// Target directory; must be absent or empty
    dir: PathBuf,
    /// Number of servers: they store, vote and can host the engine
    #[arg(long, default_value_t = 3)]
    servers: u16,
    /// Number of witnesses: they store and vote, and never host the engine
    #[arg(long, default_value_t = 2)]
    witnesses: u16,
    /// First port; HTTP ports are 100 higher
    #[arg(long, default_value_t = defaults::BASE_PORT)]
    base_port: u16,
    /// One host per member, servers first; default: all on 127.0.0.1
    #[arg(long, value_delimiter = ',', value_name = "HOST,..")]
    hosts: Option<Vec<String>>,
    /// Create a certificate authority and one certificate per member, and use mutual TLS
    #[arg(long)]
    tls: bool,
}

/// Formats one store: `baton_replica::format`, or a stand-in in tests.
type Format = fn(&Path, &StoreHeader) -> Result<(), StoreError>;

pub(super) fn run(args: &InitArgs) -> Result<(), Failure> {
    let layout =
        Layout::plan(args.servers, args.witnesses, args.base_port, args.hosts.as_deref()).map_err(Failure::new)?;
    write(&args.dir, &layout, args.tls)?;
    output::print(&told(&args.dir, &layout, args.hosts.is_some(), args.tls))
}

/// Writes configuration, secrets and formatted stores of a layout.
pub(super) fn write(dir: &Path, layout: &Layout, tls: bool) -> Result<(), Failure> {
    write_with(dir, layout, tls, baton_replica::format)
}

fn write_with(dir: &Path, layout: &Layout, tls: bool, format: Format) -> Result<(), Failure> {
    take_empty(dir)?;
    let outcome = fill(dir, layout, tls, format);
    if outcome.is_err() {
        // The directory was empty, so all its content is from this run, and half a cluster is useless.
        clear(dir);
    }
    outcome
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::new(format!("{}: {error}", path.display()))
}

/// Creates the directory, or checks that it is empty.
fn take_empty(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    if std::fs::read_dir(dir).map_err(io(dir))?.next().is_some() {
        return Err(Failure::new(format!("{} is not empty: name a directory that is absent or empty", dir.display())));
    }
    Ok(())
}

fn clear(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // The next run reports what cannot be removed: it finds the directory not empty.
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

fn fill(dir: &Path, layout: &Layout, tls: bool, format: Format) -> Result<(), Failure> {
    let secrets = Secrets { cookie: Secret::new(draw()?), server_key: Secret::new(draw()?) };
    let cluster = ClusterId(draw()?);
    let members = layout.config();
    let certificates = tls.then_some(certificates::DIRECTORY);
    file(&dir.join("cluster.toml"), 0o644, &cluster_file_text(cluster, &members, certificates))?;
    file(&dir.join("cookie"), 0o600, &Cookie { cluster: Some(cluster), secret: secrets.cookie }.to_text())?;
    file(&dir.join("server.secrets"), 0o600, &secrets_file_text(&secrets))?;
    if tls {
        certificates::write(dir, &members)?;
    }
    let genesis = Genesis { members: stored(layout), policy: Policy::default() };
    for (planned, (config, member)) in layout.members.iter().zip(members.iter().zip(&genesis.members)) {
        let text = server_file_text(config, &planned.listen, &planned.http_listen, certificates);
        file(&dir.join(format!("{}.toml", config.name)), 0o644, &text)?;
        let header = StoreHeader {
            cluster,
            generation: 0,
            replica: member.replica,
            server: member.name.clone(),
            genesis: Some(genesis.clone()),
        };
        format(&dir.join(member.name.as_str()), &header).map_err(|error| Failure::new(error.to_string()))?;
    }
    Ok(())
}

/// The members as the store knows them: replica ids from 1, in the layout's order.
fn stored(layout: &Layout) -> Vec<Member> {
    (1..)
        .zip(&layout.members)
        .map(|(replica, planned)| Member {
            name: planned.name.clone(),
            role: planned.role,
            address: planned.address.clone(),
            replica: ReplicaId(replica),
        })
        .collect()
}

/// Random bytes from the system.
fn draw<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(format!("cannot read random bytes for the secrets: {error}")))?;
    Ok(bytes)
}

/// Writes a new file; a secret file is never readable by others, not even for a moment.
pub(super) fn file(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(io(path))
}

/// The result and the next steps.
fn told(dir: &Path, layout: &Layout, hosts: bool, tls: bool) -> String {
    let rows: Vec<Vec<String>> = layout
        .members
        .iter()
        .map(|planned| {
            vec![
                planned.name.to_string(),
                planned.address.clone(),
                planned.http.clone(),
                dir.join(format!("{}.toml", planned.name)).display().to_string(),
            ]
        })
        .collect();
    let (servers, witnesses) = layout.counts();
    let first = dir.join(format!("{}.toml", layout.members[0].name));
    let cluster = dir.join("cluster.toml");
    let mut text = output::table(&["MEMBER", "ADDRESS", "HTTP", "FILE"], &rows);
    text += &format!("\n{servers} + {witnesses}: {}\n", survival(servers, witnesses).words());
    if hosts {
        text += "copy to each host: its own .toml file and directory, cluster.toml and server.secrets";
        text += if tls { ", and from tls/: ca.pem and its own .pem and .key\n" } else { "\n" };
    }
    text += &format!(
        "start each:   baton server {}\nthen:         baton status --cluster {}\nclients need: cluster.toml and cookie{}\n",
        first.display(),
        cluster.display(),
        if tls { ", tls/ca.pem, tls/client.pem and tls/client.key" } else { "" }
    );
    text
}

#[cfg(test)]
mod tests;
