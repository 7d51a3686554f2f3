//! Secrets and certificates: their files and permissions.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use baton_domain::ClusterId;
use baton_links::TlsConfig;
use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, InvalidClusterId, InvalidCookie};
use super::source::Source;

/// 32 random bytes that are never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A secret that the system draws.
    ///
    /// # Errors
    /// The system's error if it gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes as hexadecimal digits, as in files.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secrets shared by the servers of a cluster. They must differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secrets {
    /// Shared with clients: authenticates links.
    pub cookie: Secret,
    /// Servers only: the key of the token in frames between servers.
    pub server_key: Secret,
}

/// `[tls]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    ca: Spanned<String>,
    cert: Spanned<String>,
    key: Spanned<String>,
}

impl RawTls {
    /// The TLS files; all must exist, and only the owner and the server's own group may read the key.
    pub(super) fn check(&self, source: &Source) -> Result<TlsConfig, ConfigError> {
        let there = |written: &Spanned<String>| {
            let path = source.path(written.get_ref());
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => Ok(path),
                Ok(_) => Err(source.error(&written.span(), format!("{} is not a file", path.display()))),
                Err(error) => Err(source.error(&written.span(), format!("{}: {error}", path.display()))),
            }
        };
        let files = TlsConfig { ca: there(&self.ca)?, certificate: there(&self.cert)?, key: there(&self.key)? };
        refuse_exposed(&files.key)?;
        Ok(files)
    }
}

/// Checks TLS files that no configuration file names.
pub(super) fn check_tls(files: &TlsConfig) -> Result<(), ConfigError> {
    for file in [&files.ca, &files.certificate, &files.key] {
        is_file(file)?;
    }
    refuse_exposed(&files.key)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecrets {
    cookie: Spanned<String>,
    server_key: Spanned<String>,
}

impl Secrets {
    /// The secrets of a cluster, 32 random bytes each.
    #[must_use]
    pub fn new(cookie: Secret, server_key: Secret) -> Self {
        Self { cookie, server_key }
    }

    /// The secrets of a new cluster.
    ///
    /// # Errors
    /// As [`Secret::random`].
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self { cookie: Secret::random()?, server_key: Secret::random()? })
    }

    /// Reads a secrets file, which only its owner and the server's own group may read.
    ///
    /// # Errors
    /// [`ConfigError`] with the cause.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        refuse_exposed(file)?;
        let source = Source::read(file)?;
        let raw: RawSecrets = source.parse()?;
        let secret = |written: &Spanned<String>| {
            let why = "a secret is 64 hexadecimal digits, as written by `baton init`";
            parse_secret(written.get_ref()).ok_or_else(|| source.error(&written.span(), why))
        };
        let secrets = Self { cookie: secret(&raw.cookie)?, server_key: secret(&raw.server_key)? };
        if secrets.cookie == secrets.server_key {
            let why = "server_key equals the cookie: clients have the cookie and must not have the key";
            return Err(source.error(&raw.server_key.span(), why));
        }
        Ok(secrets)
    }
}

/// The cookie that authenticates clients: `CLUSTER.SECRET` in hexadecimal, or the secret only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// The cluster id, if the cookie contains it. A client that knows only addresses takes the id from here.
    pub cluster: Option<ClusterId>,
    /// The secret.
    pub secret: Secret,
}

impl Cookie {
    /// Reads a file that holds only the cookie, which only its owner and the process's own group may read.
    ///
    /// # Errors
    /// [`ConfigError`] with the cause.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        refuse_exposed(file)?;
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), why: error.to_string() })?;
        Self::parse(&text).map_err(|why| ConfigError::Secret { file: file.to_owned(), why })
    }

    /// Parses a cookie.
    ///
    /// # Errors
    /// [`InvalidCookie`].
    pub fn parse(text: &str) -> Result<Self, InvalidCookie> {
        let text = text.trim();
        let (cluster, secret) = match text.split_once('.') {
            Some((cluster, secret)) => (Some(parse_id(cluster).map_err(|_| InvalidCookie)?), secret),
            None => (None, text),
        };
        Ok(Self { cluster, secret: parse_secret(secret).ok_or(InvalidCookie)? })
    }

    /// The text of a cookie file.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self.cluster {
            Some(cluster) => format!("{cluster}.{}\n", self.secret.to_hex()),
            None => format!("{}\n", self.secret.to_hex()),
        }
    }
}

/// Parses a secret in hexadecimal.
fn parse_secret(text: &str) -> Option<Secret> {
    unhex(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Secret)
}

/// Parses a cluster id.
///
/// # Errors
/// [`InvalidClusterId`].
pub fn parse_id(text: &str) -> Result<ClusterId, InvalidClusterId> {
    let id = unhex(text).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    id.map(ClusterId).ok_or_else(|| InvalidClusterId(text.to_owned()))
}

/// Refuses a secret that others can read. Its group may read it if it is a group of this process, or if root owns the
/// file and so chose the group: Kubernetes mounts secrets like that.
fn refuse_exposed(file: &Path) -> Result<(), ConfigError> {
    let metadata = is_file(file)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let is_mine = |group: u32| {
        let supplementary = || rustix::process::getgroups().unwrap_or_default();
        rustix::process::getegid().as_raw() == group || supplementary().iter().any(|mine| mine.as_raw() == group)
    };
    if is_guarded(mode, metadata.uid(), is_mine(metadata.gid())) {
        Ok(())
    } else {
        Err(ConfigError::Exposed { file: file.to_owned(), mode })
    }
}

fn is_file(file: &Path) -> Result<std::fs::Metadata, ConfigError> {
    let unreadable = |why| ConfigError::Unreadable { file: file.to_owned(), why };
    let metadata = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?;
    if metadata.is_file() { Ok(metadata) } else { Err(unreadable("it is not a file".to_owned())) }
}

/// True if a file of that mode and owner keeps a secret; `own_group`: its group is one of this process's groups.
fn is_guarded(mode: u32, owner: u32, own_group: bool) -> bool {
    const ROOT: u32 = 0;
    let others = mode & 0o037;
    let group_reads = mode & 0o040 != 0;
    others == 0 && (!group_reads || own_group || owner == ROOT)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::is_guarded;

    #[test]
    fn a_secret_is_its_owners_and_its_own_groups() {
        let (root, user) = (0, 1_000);
        for (mode, owner, own_group, guarded) in [
            (0o600, user, false, true),
            (0o400, user, false, true),
            (0o640, user, true, true),
            (0o440, root, false, true),
            (0o640, user, false, false),
            (0o660, user, true, false),
            (0o604, root, true, false),
            (0o644, root, true, false),
            (0o650, root, true, false),
        ] {
            assert_eq!(is_guarded(mode, owner, own_group), guarded, "{mode:o} of {owner}, own group {own_group}");
        }
    }
}
