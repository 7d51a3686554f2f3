//! `server1.toml`, `witness1.toml`: the file of one server.

use std::ops::Range;
use std::path::Path;

use baton_domain::address::is_wildcard;
use baton_domain::{ClusterId, Role};
use serde::Deserialize;
use toml::Spanned;

use super::database::RawDatabase;
use super::members::{self, RawMember};
use super::secrets::{RawTls, parse_id};
use super::server_config::NO_DIRECTORY;
use super::source::Source;
use super::tuning::{RawLimits, RawTiming};
use super::{ClusterConfig, ConfigError, MemberConfig, Secrets, ServerConfig, defaults};

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
    database: Option<RawDatabase>,
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
        if raw.dir.get_ref().is_empty() {
            return Err(source.error(&raw.dir.span(), NO_DIRECTORY));
        }
        let config = Self {
            file: Some(source.file().to_owned()),
            role: *raw.role.get_ref(),
            listen: raw.listen.get_ref().clone(),
            advertise: raw.advertise(&source, members.iter().find(|member| member.name == name))?,
            http: raw.http.as_ref().map_or_else(|| defaults::HTTP_ADDRESS.to_owned(), |http| http.get_ref().clone()),
            dir: source.path(raw.dir.get_ref()),
            secrets: Secrets::load(&source.path(raw.secrets.get_ref()))?,
            secrets_file: Some(source.path(raw.secrets.get_ref())),
            tls: raw.tls.as_ref().map(|tls| tls.check(&source)).transpose()?,
            database: raw.database.as_ref().map(|database| database.check(&source)).transpose()?,
            timing: raw.timing.values(),
            limits: raw.limits.values(),
            name,
            cluster,
            members,
        };
        config.check_values().map_err(|error| source.reject(error, |key| raw.place(key)))?;
        Ok(config)
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
                    ConfigError::Invalid { .. }
                    | ConfigError::Value { .. }
                    | ConfigError::Exposed { .. }
                    | ConfigError::Secret { .. } => error,
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

    /// The address for the others to dial.
    fn advertise(&self, source: &Source, own: Option<&MemberConfig>) -> Result<String, ConfigError> {
        let listen = self.listen.get_ref();
        match (&self.advertise, own) {
            (Some(advertise), _) => Ok(advertise.get_ref().clone()),
            (None, Some(own)) => Ok(own.address.clone()),
            (None, None) if is_wildcard(listen) => {
                let why = format!(
                    "listen = \"{listen}\" means every interface: add advertise = \"host:port\" for the other servers to dial"
                );
                Err(source.error(&self.listen.span(), why))
            }
            (None, None) => Ok(listen.clone()),
        }
    }

    /// The place of a value, if it is written.
    fn place(&self, key: &str) -> Option<Range<usize>> {
        match key {
            "role" => Some(self.role.span()),
            "listen" => Some(self.listen.span()),
            "advertise" => self.advertise.as_ref().map(Spanned::span),
            "http" => self.http.as_ref().map(Spanned::span),
            "dir" => Some(self.dir.span()),
            "secrets" => Some(self.secrets.span()),
            _ => self.timing.place(key).or_else(|| self.limits.place(key)),
        }
    }
}

#[cfg(test)]
mod tests;
