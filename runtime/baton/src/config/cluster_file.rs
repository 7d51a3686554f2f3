//! `cluster.toml`: the configuration of clients, and the list of members that server files refer to.

use std::path::{Path, PathBuf};

use baton_domain::ClusterId;
use baton_links::TlsConfig;
use serde::Deserialize;
use toml::Spanned;

use super::members::{self, RawMember};
use super::secrets::{RawTls, parse_id};
use super::source::Source;
use super::{ConfigError, Cookie, MemberConfig, Secret};

/// A cluster file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// The file.
    pub file: PathBuf,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Servers and witnesses, in the order of `init`.
    pub members: Vec<MemberConfig>,
    /// The cookie, which authenticates links.
    pub cookie: Secret,
    /// Mutual TLS, if the cluster uses it.
    pub tls: Option<TlsConfig>,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    cluster: Spanned<String>,
    cookie: Spanned<String>,
    #[serde(default)]
    member: Vec<RawMember>,
    tls: Option<RawTls>,
}

impl RawCluster {
    fn id(&self, source: &Source) -> Result<ClusterId, ConfigError> {
        parse_id(self.cluster.get_ref()).map_err(|why| source.error(&self.cluster.span(), why))
    }
}

impl ClusterConfig {
    /// Reads a cluster file and its cookie.
    ///
    /// # Errors
    /// [`ConfigError`], one line with the place and the cause.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let source = Source::read(file)?;
        let raw: RawCluster = source.parse()?;
        let cluster = raw.id(&source)?;
        let members = members::members(&source, &raw.member)?;
        let cookie = Cookie::load(&source.path(raw.cookie.get_ref()))?;
        if cookie.cluster.is_some_and(|of| of != cluster) {
            return Err(source.error(
                &raw.cookie.span(),
                "the cookie belongs to another cluster: use the `cookie` file of this one",
            ));
        }
        Ok(Self {
            file: file.to_owned(),
            cluster,
            members,
            cookie: cookie.secret,
            tls: raw.tls.as_ref().map(|tls| tls.check(&source)).transpose()?,
        })
    }

    /// Reads the id and the members only: a server has its own secrets.
    pub(super) fn load_members(file: &Path) -> Result<(ClusterId, Vec<MemberConfig>), ConfigError> {
        let source = Source::read(file)?;
        let raw: RawCluster = source.parse()?;
        Ok((raw.id(&source)?, members::members(&source, &raw.member)?))
    }

    /// The addresses of all members.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.address.clone()).collect()
    }
}
