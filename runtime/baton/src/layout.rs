//! The files of a new cluster: configuration, secrets and formatted stores. `baton init` is this for the command line.

mod certificates;
mod database;
mod error;
mod files;
mod plan;

use std::path::{Path, PathBuf};

use baton_domain::{ClusterId, Member, Policy, ReplicaId};
use baton_replica::{Genesis, StoreError, StoreHeader};

use crate::config::{Cookie, Secrets, ServerConfig, cluster_file_text, secrets_file_text, server_file_text};
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

    /// The configuration of one member, for a service that keeps no configuration files. Each server of a cluster needs the
    /// same layout, cluster id and secrets.
    ///
    /// ```
    /// use baton::ClusterId;
    /// use baton::config::Secrets;
    /// use baton::layout::Layout;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let dir = directory.path().join("store");
    /// let layout = Layout::plan(3, 0).hosts(["10.0.0.1", "10.0.0.2", "10.0.0.3"]).layout()?;
    /// let config = layout.server_config("server2", dir, ClusterId(*b"the shop cluster"), Secrets::random()?)?;
    /// assert_eq!((config.listen.as_str(), config.http.as_str()), ("10.0.0.2:7100", "10.0.0.2:7200"));
    /// layout.format(&config)?; // once, when the cluster is made
    /// assert!(layout.format(&config).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LayoutError::NoMember`].
    pub fn server_config(
        &self,
        name: &str,
        dir: impl Into<PathBuf>,
        cluster: ClusterId,
        secrets: Secrets,
    ) -> Result<ServerConfig, LayoutError> {
        let planned = self.members.iter().find(|planned| planned.name.as_str() == name);
        let planned = planned.ok_or_else(|| LayoutError::NoMember { name: name.to_owned() })?;
        let config = ServerConfig::new(planned.name.clone(), dir, cluster, secrets, self.config());
        Ok(config.listen(planned.listen.clone()).http(planned.http_listen.clone()))
    }

    /// Formats the store of one member in `config.dir`, which must be absent or empty. Only for a new cluster: a member that
    /// lost its store starts without one, and is filled from its peers.
    ///
    /// # Errors
    /// [`LayoutError::NoMember`]; [`LayoutError::Store`] if the directory is in use or cannot be written.
    pub fn format(&self, config: &ServerConfig) -> Result<(), LayoutError> {
        let genesis = genesis(self);
        let member = genesis.members.iter().find(|member| member.name == config.name);
        let member = member.ok_or_else(|| LayoutError::NoMember { name: config.name.to_string() })?;
        Ok(baton_replica::format(&config.dir, &header(config.cluster, member, &genesis))?)
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
    let cluster = write_files(dir, layout, "")?;
    let genesis = genesis(layout);
    for member in &genesis.members {
        format(&dir.join(member.name.as_str()), &header(cluster, member, &genesis))?;
    }
    Ok(())
}

/// Writes all files but the stores. `more` is added to the file of each server.
fn write_files(dir: &Path, layout: &Layout, more: &str) -> Result<ClusterId, LayoutError> {
    let secrets = Secrets::random().map_err(LayoutError::Random)?;
    let cluster = ClusterId::random();
    let members = layout.config();
    let certificates = layout.tls.then_some(certificates::DIRECTORY);
    files::file(&dir.join("cluster.toml"), 0o644, &cluster_file_text(cluster, &members, certificates))?;
    files::file(&dir.join("cookie"), 0o600, &Cookie { cluster: Some(cluster), secret: secrets.cookie }.to_text())?;
    files::file(&dir.join("server.secrets"), 0o600, &secrets_file_text(&secrets))?;
    if layout.tls {
        certificates::write(dir, &members)?;
    }
    for (planned, config) in layout.members.iter().zip(&members) {
        let text = server_file_text(config, &planned.listen, &planned.http_listen, certificates) + more;
        files::file(&dir.join(format!("{}.toml", config.name)), 0o644, &text)?;
    }
    Ok(cluster)
}

/// The header of one member's new store.
fn header(cluster: ClusterId, member: &Member, genesis: &Genesis) -> StoreHeader {
    let (replica, server) = (member.replica, member.name.clone());
    StoreHeader { cluster, generation: 0, replica, server, genesis: Some(genesis.clone()) }
}

/// The first state of the cluster: replica ids from 1, in the layout's order.
fn genesis(layout: &Layout) -> Genesis {
    let members = (1..)
        .zip(&layout.members)
        .map(|(replica, planned)| Member {
            name: planned.name.clone(),
            role: planned.role,
            address: planned.address.clone(),
            replica: ReplicaId(replica),
        })
        .collect();
    Genesis { members, policy: Policy::default() }
}

#[cfg(test)]
mod tests;
