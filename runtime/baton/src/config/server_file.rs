//! `server1.toml`, `witness1.toml`: the configuration of one server.

use std::path::{Path, PathBuf};

use baton_domain::address::is_wildcard;
use baton_domain::{ClusterId, Role, ServerName};
use baton_links::TlsConfig;
use serde::Deserialize;
use toml::Spanned;

use super::members::{self, RawMember};
use super::secrets::{RawTls, parse_id};
use super::source::Source;
use super::tuning::{RawLimits, RawTiming};
use super::{ClusterConfig, ConfigError, Limits, MemberConfig, Secrets, Timing, defaults};

/// The configuration of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The file.
    pub file: PathBuf,
    /// Its name.
    pub name: ServerName,
    /// Its role.
    pub role: Role,
    /// Listen address for servers and clients, `host:port` of this machine.
    pub listen: String,
    /// Address for the others to dial.
    pub advertise: String,
    /// HTTP address: health, metrics, status page.
    pub http: String,
    /// The directory of its store.
    pub dir: PathBuf,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// All members that the file lists. The server itself is among them unless it is to join as a new one.
    pub members: Vec<MemberConfig>,
    /// The secrets that the servers share.
    pub secrets: Secrets,
    /// The file of the secrets.
    pub secrets_file: PathBuf,
    /// Mutual TLS, if the cluster uses it.
    pub tls: Option<TlsConfig>,
    /// Times.
    pub timing: Timing,
    /// Sizes and counts.
    pub limits: Limits,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    name: Spanned<String>,
    role: Spanned<Role>,
    listen: Spanned<String>,
    advertise: Option<Spanned<String>>,
    http: Option<Spanned<String>>,
    dir: Spanned<String>,
    secrets: Spanned<String>,
    cluster: Option<Spanned<String>>,
    cluster_id: Option<Spanned<String>>,
    #[serde(default)]
    member: Vec<RawMember>,
    tls: Option<RawTls>,
    #[serde(default)]
    timing: RawTiming,
    #[serde(default)]
    limits: RawLimits,
}

impl ServerConfig {
    /// Reads a server file and all files it refers to.
    ///
    /// # Errors
    /// [`ConfigError`], one line with the place and the cause.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let source = Source::read(file)?;
        let raw: RawServer = source.parse()?;
        let name = members::server_name(&source, &raw.name)?;
        let (cluster, members) = raw.cluster(&source)?;
        let own = members.iter().find(|member| member.name == name);
        let (listen, advertise, http) = raw.addresses(&source, own)?;
        raw.agrees(&source, own, &advertise)?;
        if raw.dir.get_ref().is_empty() {
            return Err(source.error(&raw.dir.span(), "dir is empty: name the directory of the store"));
        }
        Ok(Self {
            file: source.file().to_owned(),
            role: *raw.role.get_ref(),
            dir: source.path(raw.dir.get_ref()),
            secrets: Secrets::load(&source.path(raw.secrets.get_ref()))?,
            secrets_file: source.path(raw.secrets.get_ref()),
            tls: raw.tls.as_ref().map(|tls| tls.check(&source)).transpose()?,
            timing: raw.timing.check(&source)?,
            limits: raw.limits.check(&source)?,
            name,
            listen,
            advertise,
            http,
            cluster,
            members,
        })
    }
}

impl RawServer {
    /// The cluster's id and members: from the file that `cluster` names, or from this one.
    fn cluster(&self, source: &Source) -> Result<(ClusterId, Vec<MemberConfig>), ConfigError> {
        match (&self.cluster, &self.cluster_id) {
            (Some(file), None) if self.member.is_empty() => {
                let path = source.path(file.get_ref());
                ClusterConfig::load_members(&path).map_err(|error| match error {
                    // The reader of the error knows this file, not the one it names.
                    ConfigError::Unreadable { file: missing, why } => {
                        source.error(&file.span(), format!("cannot read {}: {why}", missing.display()))
                    }
                    ConfigError::Invalid { .. } | ConfigError::Exposed { .. } | ConfigError::Secret { .. } => error,
                })
            }
            (None, Some(id)) => {
                let cluster = parse_id(id.get_ref()).map_err(|why| source.error(&id.span(), why))?;
                Ok((cluster, members::members(source, &self.member)?))
            }
            (Some(at), _) => Err(source.error(
                &at.span(),
                "cluster names a file with the members: remove cluster_id and [[member]], or remove cluster",
            )),
            (None, None) => Err(source.error(
                &(0..0),
                "the members are missing: write cluster = \"cluster.toml\", or cluster_id and a list of [[member]]",
            )),
        }
    }

    /// Listen address, address for the others, HTTP address.
    fn addresses(&self, source: &Source, own: Option<&MemberConfig>) -> Result<(String, String, String), ConfigError> {
        let listen = members::address(source, &self.listen)?;
        let advertise = match (&self.advertise, own) {
            (Some(advertise), _) => members::dialed(source, advertise)?,
            (None, Some(own)) => own.address.clone(),
            (None, None) if is_wildcard(&listen) => {
                let why = format!(
                    "listen = \"{listen}\" means every interface: add advertise = \"host:port\" for the other servers to dial"
                );
                return Err(source.error(&self.listen.span(), why));
            }
            (None, None) => listen.clone(),
        };
        let http = match &self.http {
            Some(http) => members::address(source, http)?,
            None => defaults::HTTP_ADDRESS.to_owned(),
        };
        if http == listen {
            let at = self.http.as_ref().unwrap_or(&self.listen).span();
            return Err(source.error(&at, format!("http and listen are both {listen}: give each its own port")));
        }
        Ok((listen, advertise, http))
    }

    /// Refuses contradictions to the list of members.
    fn agrees(&self, source: &Source, own: Option<&MemberConfig>, advertise: &str) -> Result<(), ConfigError> {
        let Some(own) = own else { return Ok(()) };
        let words = |role: Role| match role {
            Role::Server => "server",
            Role::Witness => "witness",
        };
        if own.role != *self.role.get_ref() {
            let why = format!(
                "role = \"{}\" contradicts the list of members, where {} is a {}",
                words(*self.role.get_ref()),
                own.name,
                words(own.role)
            );
            return Err(source.error(&self.role.span(), why));
        }
        if own.address != advertise {
            let why =
                format!("{advertise} contradicts the list of members, where {} is dialed at {}", own.name, own.address);
            return Err(source.error(&self.advertise.as_ref().unwrap_or(&self.listen).span(), why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
