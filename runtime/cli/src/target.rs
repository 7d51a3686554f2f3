//! The cluster that a client command talks to, and its secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton::client::ClientConfig;
use baton::config::{ClusterConfig, Cookie, MemberConfig, check_address};
use baton_links::TlsConfig;
use clap::{Args, Subcommand};

use super::Failure;

/// Source of the cookie with `--servers`, unless a file is named.
const COOKIE_VARIABLE: &str = "BATON_COOKIE";

/// Heading of these options in the help of each command.
const CONNECTION: &str = "Connection";

/// The options of every client command.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Target {
    /// Cluster file, as written by `baton init`
    #[arg(long, value_name = "FILE", global = true, help_heading = CONNECTION)]
    cluster: Option<PathBuf>,
    /// Some or all servers, without --cluster; the cookie comes from BATON_COOKIE or --cookie-file
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', global = true, help_heading = CONNECTION)]
    servers: Vec<String>,
    /// With --servers: file that holds the cookie
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "cluster", help_heading = CONNECTION)]
    cookie_file: Option<PathBuf>,
    /// With --servers and TLS: certificate of the cluster's authority
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "cluster", help_heading = CONNECTION)]
    tls_ca: Option<PathBuf>,
    /// With --servers and TLS: certificate of this client
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "cluster", help_heading = CONNECTION)]
    tls_cert: Option<PathBuf>,
    /// With --servers and TLS: private key of this client
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "cluster", help_heading = CONNECTION)]
    tls_key: Option<PathBuf>,
}

/// The options of a command with several actions.
#[derive(Debug, Clone, Args)]
pub(super) struct Targeted<A: Subcommand> {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(subcommand)]
    pub(super) action: A,
}

impl Target {
    /// The configuration of the client; `deadline` bounds connecting and each request.
    pub(super) fn client_config(&self, deadline: Duration) -> Result<ClientConfig, Failure> {
        let mut config = self.any_client_config()?;
        config.deadline = deadline;
        Ok(config)
    }

    fn any_client_config(&self) -> Result<ClientConfig, Failure> {
        for address in &self.servers {
            check_address(address).map_err(|why| Failure::new(format!("--servers: {why}")))?;
        }
        if let Some(file) = &self.cluster {
            let mut config = from_cluster(ClusterConfig::load(file)?);
            if !self.servers.is_empty() {
                config.servers.clone_from(&self.servers);
            }
            return Ok(config);
        }
        if self.servers.is_empty() {
            return Err(Failure::new(
                "no cluster is named: use --cluster FILE (written by `baton init`) or --servers host:port,...",
            ));
        }
        let Cookie { cluster, secret } = self.cookie(std::env::var(COOKIE_VARIABLE).ok().as_deref())?;
        let cluster = cluster.ok_or_else(|| {
            Failure::new("the cookie has no cluster id: --servers needs the cookie as `baton init` wrote it to the file `cookie`")
        })?;
        let mut config = ClientConfig::new(self.servers.clone(), cluster, *secret.bytes());
        config.tls = self.tls()?;
        Ok(config)
    }

    /// The cluster file, if one is named.
    pub(super) fn cluster_file(&self) -> Option<&Path> {
        self.cluster.as_deref()
    }

    /// The members that the cluster file lists; none with `--servers`.
    pub(super) fn members(&self) -> Result<Vec<MemberConfig>, Failure> {
        match &self.cluster {
            Some(file) => Ok(ClusterConfig::load(file)?.members),
            None => Ok(Vec::new()),
        }
    }

    /// The source of the cookie, for error messages.
    pub(super) fn cookie_source(&self) -> String {
        match (&self.cluster, &self.cookie_file) {
            (Some(file), _) => format!("the cookie file named in {}", file.display()),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => COOKIE_VARIABLE.to_owned(),
        }
    }

    fn cookie(&self, variable: Option<&str>) -> Result<Cookie, Failure> {
        match (&self.cookie_file, variable) {
            (Some(file), _) => Ok(Cookie::load(file)?),
            (None, Some(text)) => Cookie::parse(text).map_err(|why| Failure::new(format!("{COOKIE_VARIABLE}: {why}"))),
            (None, None) => {
                Err(Failure::new(format!("--servers needs a cookie: use --cookie-file FILE, or set {COOKIE_VARIABLE}")))
            }
        }
    }

    fn tls(&self) -> Result<Option<TlsConfig>, Failure> {
        match (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => {
                Ok(Some(TlsConfig { ca: ca.clone(), certificate: cert.clone(), key: key.clone() }))
            }
            _ => Err(Failure::new("TLS needs all three of --tls-ca, --tls-cert and --tls-key")),
        }
    }
}

/// The client configuration for that cluster.
pub(super) fn from_cluster(file: ClusterConfig) -> ClientConfig {
    let mut config = ClientConfig::new(file.addresses(), file.cluster, *file.cookie.bytes());
    config.tls = file.tls;
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton::config::Secret;

    #[test]
    fn without_a_cluster_file_servers_and_cookie_are_needed() {
        let said = |target: &Target| format!("{:?}", target.any_client_config().unwrap_err());
        let mut target = Target::default();
        assert!(said(&target).contains("no cluster is named"));
        target.servers = vec!["127.0.0.1".to_owned()];
        assert!(said(&target).contains("is not an address"));
        assert!(format!("{:?}", target.cookie(None).unwrap_err()).contains("--cookie-file"));
        assert!(format!("{:?}", target.cookie(Some("zz")).unwrap_err()).contains("BATON_COOKIE: this is not a cookie"));
        assert_eq!(target.cookie(Some(&"ab".repeat(32))).unwrap().secret, Secret::new([0xab; 32]));
        target.tls_ca = Some("ca.pem".into());
        assert!(format!("{:?}", target.tls().unwrap_err()).contains("all three"));
    }
}
