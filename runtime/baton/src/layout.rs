//! The files of a new cluster: configuration, secrets and formatted stores. `baton init` is this for the command line.

mod certificates;
mod error;
mod files;
mod plan;

use std::path::Path;

use baton_domain::{ClusterId, Member, Policy, ReplicaId};
use baton_replica::{Genesis, StoreError, StoreHeader};

use crate::config::{Cookie, Secret, Secrets, cluster_file_text, secrets_file_text, server_file_text};
use files::io;

#[doc(hidden)]
pub use certificates::{DIRECTORY as CERTIFICATES, issue};
pub use error::LayoutError;
#[doc(hidden)]
pub use files::file;
#[doc(hidden)]
pub use plan::interface;
pub use plan::{Layout, Plan, PlannedMember};

/// Formats one store: `baton_replica::format`, or a stand-in in tests.
type Format = fn(&Path, &StoreHeader) -> Result<(), StoreError>;

impl Layout {
    /// Writes configuration, secrets and formatted stores to a directory, which must be absent or empty: `cluster.toml` and
    /// `cookie` for clients, `server.secrets`, and for each member `NAME.toml` and its store. With TLS also certificates.
    /// After an error the directory is empty.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn write(&self, dir: &Path) -> Result<(), LayoutError> {
        write_with(dir, self, baton_replica::format)
    }
}

fn write_with(dir: &Path, layout: &Layout, format: Format) -> Result<(), LayoutError> {
    take_empty(dir)?;
    let outcome = fill(dir, layout, format);
    if outcome.is_err() {
        // The directory was empty, so all its content is from this run, and half a cluster is useless.
        clear(dir);
    }
    outcome
}

/// Creates the directory, or checks that it is empty.
fn take_empty(dir: &Path) -> Result<(), LayoutError> {
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    if std::fs::read_dir(dir).map_err(io(dir))?.next().is_some() {
        return Err(LayoutError::NotEmpty { dir: dir.to_owned() });
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

fn fill(dir: &Path, layout: &Layout, format: Format) -> Result<(), LayoutError> {
    let secrets = Secrets { cookie: Secret::new(draw()?), server_key: Secret::new(draw()?) };
    let cluster = ClusterId(draw()?);
    let members = layout.config();
    let certificates = layout.tls.then_some(certificates::DIRECTORY);
    files::file(&dir.join("cluster.toml"), 0o644, &cluster_file_text(cluster, &members, certificates))?;
    files::file(&dir.join("cookie"), 0o600, &Cookie { cluster: Some(cluster), secret: secrets.cookie }.to_text())?;
    files::file(&dir.join("server.secrets"), 0o600, &secrets_file_text(&secrets))?;
    if layout.tls {
        certificates::write(dir, &members)?;
    }
    let genesis = Genesis { members: stored(layout), policy: Policy::default() };
    for (planned, (config, member)) in layout.members.iter().zip(members.iter().zip(&genesis.members)) {
        let text = server_file_text(config, &planned.listen, &planned.http_listen, certificates);
        files::file(&dir.join(format!("{}.toml", config.name)), 0o644, &text)?;
        let header = StoreHeader {
            cluster,
            generation: 0,
            replica: member.replica,
            server: member.name.clone(),
            genesis: Some(genesis.clone()),
        };
        format(&dir.join(member.name.as_str()), &header)?;
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
fn draw<const N: usize>() -> Result<[u8; N], LayoutError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(LayoutError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
