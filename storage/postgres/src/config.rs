//! The place of the database, and the secrets to reach it. No text of this module contains a password.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::Host as PostgresHost;

use crate::url::{SslMode, UrlParts};

/// A setting of the database that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The URL.
    #[error("the database's URL: {0}")]
    Url(String),
    /// The schema's name.
    #[error("{0:?} is no name for a schema: use a letter from a to z, then up to 39 letters from a to z, digits and _")]
    Schema(String),
    /// The password's file.
    #[error("the password file {file}: {why}", file = .file.display())]
    PasswordFile {
        /// The file.
        file: PathBuf,
        /// The cause.
        why: String,
    },
    /// The CA file.
    #[error("the CA file {file}: {why}", file = .file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// The cause.
        why: String,
    },
}

/// A password, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// Reads a file that holds only the password. Only its owner and its owner's group may read it.
    ///
    /// # Errors
    /// [`DatabaseError::PasswordFile`].
    pub fn read(file: &Path) -> Result<Self, DatabaseError> {
        let refused = |why: String| DatabaseError::PasswordFile { file: file.to_owned(), why };
        let metadata = std::fs::metadata(file).map_err(|error| refused(error.to_string()))?;
        let mode = metadata.permissions().mode() & 0o7777;
        let group = metadata.gid();
        let own_group = rustix::process::getegid().as_raw() == group
            || rustix::process::getgroups().unwrap_or_default().iter().any(|mine| mine.as_raw() == group);
        let group_reads = mode & 0o040 != 0;
        if mode & 0o037 != 0 || (group_reads && !own_group && metadata.uid() != 0) {
            return Err(refused(format!("others may read it (mode {mode:o}): chmod 600")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
        match text.trim_end_matches(['\n', '\r']) {
            "" => Err(refused("it is empty".to_owned())),
            password => Ok(Self::new(password)),
        }
    }

    /// The text, as it is written to a password file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The name of a schema, safe to write into a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(String);

impl Schema {
    /// Checks a name.
    ///
    /// # Errors
    /// [`DatabaseError::Schema`].
    pub fn parse(name: &str) -> Result<Self, DatabaseError> {
        let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
        let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if starts && rest && name.len() <= 40 && !name.starts_with("pg_") {
            Ok(Self(name.to_owned()))
        } else {
            Err(DatabaseError::Schema(name.to_owned()))
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self("baton".to_owned())
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the addresses at which the database may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name or an IP address.
    Tcp(String, u16),
    /// The directory of a unix socket.
    Socket(PathBuf, u16),
}

impl Host {
    fn is_here(&self) -> bool {
        match self {
            Self::Tcp(name, _) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            Self::Socket(..) => true,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name, port) => write!(f, "{name}:{port}"),
            Self::Socket(directory, port) => write!(f, "{}, port {port}", directory.display()),
        }
    }
}

/// The database that holds the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: String,
    pub(crate) name: String,
    pub(crate) schema: Schema,
    pub(crate) patience: Duration,
    url: String,
    ssl_mode: SslMode,
    ca_file: Option<PathBuf>,
    password: Option<Password>,
    password_file: Option<PathBuf>,
}

impl Database {
    /// Parses a URL: `postgresql://USER[:PASSWORD]@HOST[:PORT][,HOST[:PORT]..]/DATABASE[?PARAMETER=VALUE&..]`.
    ///
    /// # Errors
    /// [`DatabaseError::Url`], which repeats no part of the URL that may be a password.
    pub fn parse(url: &str) -> Result<Self, DatabaseError> {
        let refused = |why: &str| DatabaseError::Url(why.to_owned());
        let parts = UrlParts::split(url).map_err(DatabaseError::Url)?;
        let parsed: tokio_postgres::Config = parts.for_postgres().parse().map_err(|_| {
            refused(
                "it cannot be read: it is postgresql://USER@HOST:PORT/DATABASE, with % codes for special characters",
            )
        })?;
        let ports = parsed.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = parsed.get_hosts().iter().enumerate().map(|(at, host)| match host {
            PostgresHost::Tcp(name) => Host::Tcp(name.clone(), port(at)),
            PostgresHost::Unix(directory) => Host::Socket(directory.clone(), port(at)),
        });
        let hosts: Vec<Host> = hosts.collect();
        let user = parsed.get_user().ok_or_else(|| refused("it names no user"))?.to_owned();
        let name = parsed.get_dbname().unwrap_or(&user).to_owned();
        if hosts.is_empty() {
            return Err(refused("it names no host"));
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(refused("it has another number of ports than of hosts"));
        }
        let password = parsed.get_password().map(|password| String::from_utf8(password.to_vec())).transpose();
        let password = password.map_err(|_| refused("its password is not UTF-8"))?.map(Password);
        let (ssl_mode, ca_file) = (parts.ssl_mode, parts.ca_file.map(PathBuf::from));
        let far = hosts.iter().find(|host| !host.is_here());
        match (ssl_mode, far) {
            (SslMode::Default, Some(far)) if ca_file.is_none() => {
                return Err(DatabaseError::Url(format!(
                    "{far} is not on this machine: add sslrootcert=FILE with the CA of its certificate, or \
                     sslmode=disable on a network that nobody else can reach"
                )));
            }
            (SslMode::VerifyFull, _) if ca_file.is_none() => {
                return Err(refused(
                    "sslmode=verify-full needs sslrootcert=FILE, the CA of the database's certificate",
                ));
            }
            (SslMode::Default | SslMode::VerifyFull | SslMode::Disable, _) => {}
        }
        Ok(Self {
            hosts,
            user,
            name,
            schema: Schema::default(),
            patience: Duration::from_secs(10),
            url: parts.without_password(),
            ssl_mode,
            ca_file,
            password,
            password_file: None,
        })
    }

    /// Uses another schema than `baton`.
    #[must_use]
    pub fn with_schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// Reads the password from a file, each time that it connects.
    #[must_use]
    pub fn with_password_file(mut self, file: &Path) -> Self {
        self.password_file = Some(file.to_owned());
        self
    }

    /// Tries to connect for another time than 10 s.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Takes the password of the URL out.
    pub fn take_password(&mut self) -> Option<Password> {
        self.password.take()
    }

    /// The URL without a password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The schema of the cluster.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The role that connects.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, if there is one.
    pub(crate) fn password(&self) -> Result<Option<Password>, DatabaseError> {
        match &self.password_file {
            Some(file) => Password::read(file).map(Some),
            None => Ok(self.password.clone()),
        }
    }

    /// The CA that the certificate of this host must be from; `None`: no TLS.
    pub(crate) fn ca_file(&self, host: &Host) -> Option<&Path> {
        let needed = match (self.ssl_mode, host) {
            (SslMode::Disable, _) | (_, Host::Socket(..)) => false,
            (SslMode::VerifyFull, Host::Tcp(..)) => true,
            (SslMode::Default, Host::Tcp(..)) => !host.is_here(),
        };
        self.ca_file.as_deref().filter(|_| needed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn several_hosts_sockets_and_defaults() {
        let hosts = |url: &str| {
            let database = Database::parse(url).unwrap();
            (database.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), database.user, database.name)
        };
        let far = "postgresql://baton@db1:6000,db2/orders?sslrootcert=/ca.pem";
        assert_eq!(hosts(far), (vec!["db1:6000".into(), "db2:5432".into()], "baton".into(), "orders".into()));
        let socket = "postgres://baton@%2Frun%2Fpostgresql/x";
        assert_eq!(hosts(socket), (vec!["/run/postgresql, port 5432".into()], "baton".into(), "x".into()));
        let query = "postgresql:///x?host=/run/pg&user=baton&port=6000";
        assert_eq!(hosts(query), (vec!["/run/pg, port 6000".into()], "baton".into(), "x".into()));
        assert_eq!(
            hosts("postgresql://baton@localhost"),
            (vec!["localhost:5432".into()], "baton".into(), "baton".into())
        );
    }

    #[test]
    fn a_password_is_taken_out_and_never_printed() {
        let url = "postgresql://baton:s%40fe%3Fty@localhost/x?target_session_attrs=read-write";
        let mut database = Database::parse(url).unwrap();
        assert!(!format!("{database:?}").contains("fe"));
        assert_eq!(database.url(), "postgresql://baton@localhost/x?target_session_attrs=read-write");
        assert_eq!(Database::parse(database.url()).unwrap().password, None);
        assert_eq!(database.take_password(), Some(Password::new("s@fe?ty")));
        assert_eq!(database.password(), Ok(None));
    }

    #[test]
    fn no_refusal_repeats_what_may_be_a_password() {
        for url in [
            "postgresql://baton:sec?ret@localhost:sec/ret",
            "postgresql://baton:sec@ret@localhost/x",
            "postgresql://baton:x@localhost/x?secret",
            "postgresql://baton:x@localhost/x?secret=secret",
            "postgresql://baton@localhost/x?password=secret",
            "postgresql://baton:secret@/x",
            "postgresql://:secret@localhost:port/x",
            "baton:secret@localhost",
        ] {
            let said = Database::parse(url).unwrap_err().to_string();
            assert!(!said.contains("sec") && !said.contains("ret@"), "{url}: {said}");
        }
    }

    #[test]
    fn a_host_elsewhere_proves_itself() {
        let url = |rest: &str| Database::parse(&format!("postgresql://baton@{rest}"));
        assert!(url("10.0.0.1/x").unwrap_err().to_string().contains("10.0.0.1:5432 is not on this machine"));
        assert!(url("localhost,db2/x").is_err());
        assert!(url("localhost/x?sslmode=verify-full").is_err());
        for other in ["prefer", "require", "verify-ca", ""] {
            assert!(url(&format!("localhost/x?sslmode={other}")).is_err());
        }
        let database = url("127.0.0.1,db2,%2Frun/x?sslrootcert=/ca.pem").unwrap();
        let proofs: Vec<bool> = database.hosts.iter().map(|host| database.ca_file(host).is_some()).collect();
        assert_eq!(proofs, [false, true, false]);
        let database = url("127.0.0.1,db2/x?sslrootcert=/ca.pem&sslmode=verify-full").unwrap();
        assert!(database.hosts.iter().all(|host| database.ca_file(host).is_some()));
        let database = url("db2/x?sslmode=disable").unwrap();
        assert!(database.hosts.iter().all(|host| database.ca_file(host).is_none()));
    }

    #[test]
    fn a_schema_needs_no_quotes() {
        for (name, good) in [
            ("baton", true),
            ("b_2", true),
            ("", false),
            ("2b", false),
            ("Baton", false),
            ("a\"b", false),
            ("pg_x", false),
            (&"b".repeat(41), false),
        ] {
            assert_eq!(Schema::parse(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_password_file_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        fs::write(&file, "pass word\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Password::read(&file), Ok(Password::new("pass word")));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(Password::read(&file).unwrap_err().to_string().contains("chmod 600"));
        fs::write(&file, "\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Password::read(&file).unwrap_err().to_string().contains("it is empty"));
    }
}
