//! The configuration of one server, read from a file or made in code. Both are checked by the same rules.

use std::path::PathBuf;

use baton_domain::address::{check_address, check_dialed};
use baton_domain::{ClusterId, Role, ServerName};
use baton_links::TlsConfig;

use super::error::ValueError;
use super::members::check_members;
use super::secrets::check_tls;
use super::{ConfigError, DatabaseConfig, Limits, MemberConfig, Secrets, Timing, defaults};

pub(super) const NO_DIRECTORY: &str = "dir is empty: name the directory of the store";

/// The configuration of one server, from a file ([`ServerConfig::load`]) or made in code ([`ServerConfig::new`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The file; `None` if the configuration was made in code.
    pub file: Option<PathBuf>,
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
    /// All members of the cluster. The server itself is among them unless it is to join as a new one.
    pub members: Vec<MemberConfig>,
    /// The secrets that the servers share.
    pub secrets: Secrets,
    /// The file of the secrets, if they were read from one.
    pub secrets_file: Option<PathBuf>,
    /// Mutual TLS, if the cluster uses it.
    pub tls: Option<TlsConfig>,
    /// The database that keeps the log, if replicas do not.
    pub database: Option<DatabaseConfig>,
    /// Times.
    pub timing: Timing,
    /// Sizes and counts.
    pub limits: Limits,
}

impl ServerConfig {
    /// A configuration without a file. A server of the list of members gets its role and its address from there; one that
    /// is to join needs [`ServerConfig::listen`]. All else has the defaults of a server file. The values are checked when
    /// the server starts. A server of a new cluster gets its configuration from `Layout::server_config`, which also formats
    /// its store.
    ///
    /// ```
    /// use baton::config::{MemberConfig, Secret, Secrets, ServerConfig, Timing};
    /// use baton::{ClusterId, Role, ServerName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let name = ServerName::new("server1")?;
    /// let members = vec![MemberConfig::new(name.clone(), Role::Server, "10.0.0.1:7100")];
    /// let secrets = Secrets::new(Secret::new([1; 32]), Secret::new([2; 32]));
    /// let config = ServerConfig::new(name, "/var/lib/shop", ClusterId([7; 16]), secrets, members)
    ///     .listen("0.0.0.0:7100")
    ///     .timing(Timing::default().start_grace_ms(0));
    /// config.check()?;
    /// assert!(config.timing(Timing::default().heartbeat_ms(1)).check().is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(
        name: ServerName,
        dir: impl Into<PathBuf>,
        cluster: ClusterId,
        secrets: Secrets,
        members: Vec<MemberConfig>,
    ) -> Self {
        let own = members.iter().find(|member| member.name == name);
        let role = own.map_or(Role::Server, |own| own.role);
        let address = own.map(|own| own.address.clone()).unwrap_or_default();
        Self {
            file: None,
            name,
            role,
            listen: address.clone(),
            advertise: address,
            http: defaults::HTTP_ADDRESS.to_owned(),
            dir: dir.into(),
            cluster,
            members,
            secrets,
            secrets_file: None,
            tls: None,
            database: None,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }

    /// Sets the role.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// Sets the listen address. The others dial it, too, if the server has no other address for them.
    #[must_use]
    pub fn listen(self, listen: impl Into<String>) -> Self {
        let listen = listen.into();
        let advertise = if self.advertise.is_empty() { listen.clone() } else { self.advertise };
        Self { listen, advertise, ..self }
    }

    /// Sets the address for the others to dial.
    #[must_use]
    pub fn advertise(self, advertise: impl Into<String>) -> Self {
        Self { advertise: advertise.into(), ..self }
    }

    /// Sets the HTTP address.
    #[must_use]
    pub fn http(self, http: impl Into<String>) -> Self {
        Self { http: http.into(), ..self }
    }

    /// Sets the files of mutual TLS.
    #[must_use]
    pub fn tls(self, tls: TlsConfig) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Keeps the log in a database.
    #[must_use]
    pub fn database(self, database: DatabaseConfig) -> Self {
        Self { database: Some(database), ..self }
    }

    /// Sets the times.
    #[must_use]
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Sets the sizes and counts.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Checks the configuration, by the rules for a server file.
    ///
    /// # Errors
    /// [`ConfigError`], one line with the cause and the allowed values.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rejected = |ValueError { why, .. }| ConfigError::Value { server: self.name.clone(), why };
        check_members(&self.members).and_then(|()| self.check_values()).map_err(rejected)?;
        self.tls.as_ref().map_or(Ok(()), check_tls)
    }

    /// Checks all but the members and the files of TLS, which a file names with their places.
    pub(super) fn check_values(&self) -> Result<(), ValueError> {
        check_address(&self.listen).map_err(|why| ValueError::new(&["listen"], why))?;
        check_dialed(&self.advertise).map_err(|why| ValueError::new(&["advertise", "listen"], why))?;
        check_address(&self.http).map_err(|why| ValueError::new(&["http"], why))?;
        if self.http == self.listen {
            let why = format!("http and listen are both {}: give each its own port", self.listen);
            return Err(ValueError::new(&["http", "listen"], why));
        }
        if self.dir.as_os_str().is_empty() {
            return Err(ValueError::new(&["dir"], NO_DIRECTORY));
        }
        if self.secrets.cookie == self.secrets.server_key {
            let why = "server_key equals the cookie: clients have the cookie and must not have the key";
            return Err(ValueError::new(&["secrets"], why));
        }
        self.check_member()?;
        self.check_database()?;
        self.timing.check()?;
        self.limits.check()
    }

    /// Refuses contradictions to the list of members.
    fn check_member(&self) -> Result<(), ValueError> {
        let Some(own) = self.members.iter().find(|member| member.name == self.name) else { return Ok(()) };
        let word = |role: Role| match role {
            Role::Server => "server",
            Role::Witness => "witness",
        };
        if own.role != self.role {
            let (written, listed) = (word(self.role), word(own.role));
            let why = format!("role = \"{written}\" contradicts the list of members, where {} is a {listed}", own.name);
            return Err(ValueError::new(&["role"], why));
        }
        if own.address != self.advertise {
            let why = format!(
                "{} contradicts the list of members, where {} is dialed at {}",
                self.advertise, own.name, own.address
            );
            return Err(ValueError::new(&["advertise", "listen"], why));
        }
        Ok(())
    }

    /// Checks the database, and refuses witnesses beside it.
    fn check_database(&self) -> Result<(), ValueError> {
        let Some(database) = &self.database else { return Ok(()) };
        database.check()?;
        if self.role == Role::Witness || self.members.iter().any(|member| member.role == Role::Witness) {
            let why = "a cluster whose log is in a database has no witnesses: nothing is voted on. Remove them, or remove \
                       [database]";
            return Err(ValueError::new(&["role"], why));
        }
        Ok(())
    }

    /// The file, as a text for messages.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => format!("the configuration of {}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn member(name: &str, role: Role, address: &str) -> MemberConfig {
        MemberConfig::new(ServerName::new(name).unwrap(), role, address)
    }

    fn config(name: &str, members: Vec<MemberConfig>) -> ServerConfig {
        let secrets = Secrets::new(Secret::new([1; 32]), Secret::new([2; 32]));
        ServerConfig::new(ServerName::new(name).unwrap(), "store", ClusterId([7; 16]), secrets, members)
    }

    fn pair() -> Vec<MemberConfig> {
        vec![member("server1", Role::Server, "h1:7100"), member("witness1", Role::Witness, "h2:7100")]
    }

    #[test]
    fn a_member_has_its_role_and_its_address_from_the_list_and_another_one_may_join() {
        let witness = config("witness1", pair());
        assert_eq!((witness.role, &witness.listen[..], &witness.advertise[..]), (Role::Witness, "h2:7100", "h2:7100"));
        assert_eq!(witness.check(), Ok(()));
        let behind = config("server1", pair()).listen("0.0.0.0:7100");
        assert_eq!((behind.check(), &behind.advertise[..]), (Ok(()), "h1:7100"));
        let joins = config("server2", pair()).listen("h3:7100");
        assert_eq!((joins.check(), &joins.advertise[..]), (Ok(()), "h3:7100"));
    }

    #[test]
    fn code_is_checked_as_a_file_is() {
        let server1 = || config("server1", pair());
        let equal = Secrets::new(Secret::new([1; 32]), Secret::new([1; 32]));
        let tls = TlsConfig { ca: "none.pem".into(), certificate: "none.pem".into(), key: "none.key".into() };
        let twice = vec![member("server1", Role::Server, "h1:7100"), member("server1", Role::Server, "h2:7100")];
        for (config, expected) in [
            (config("server2", pair()), "\"\" is not an address"),
            (config("server2", pair()).listen("0.0.0.0:7100"), "is not an address that others can dial"),
            (config("server1", twice), "two members are named server1"),
            (config("witness1", pair()[1..].to_vec()), "no member has role = \"server\""),
            (server1().role(Role::Witness), "role = \"witness\" contradicts the list of members"),
            (server1().advertise("h9:7100"), "h9:7100 contradicts the list of members"),
            (server1().http("h1:7100"), "http and listen are both h1:7100"),
            (ServerConfig { dir: PathBuf::new(), ..server1() }, "dir is empty"),
            (ServerConfig { secrets: equal, ..server1() }, "server_key equals the cookie"),
            (server1().timing(Timing::default().heartbeat_ms(5)), "heartbeat_ms = 5 is out of range: use 10 to 10000"),
            (server1().timing(Timing::default().heartbeat_ms(200)), "is too short for heartbeat_ms = 200"),
            (server1().limits(Limits::default().frame_max_bytes(4_096)), "frame_max_bytes = 4096 must not be less"),
            (server1().tls(tls), "none.pem cannot be read"),
            (server1().database(DatabaseConfig::new("postgresql://baton@localhost/x")), "has no witnesses"),
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\n  not {expected}");
        }
    }
}
