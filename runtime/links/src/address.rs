//! Addresses to dial or to listen on: a host name or an IP address, and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the form `host:port`.
    #[error("{0:?} is not an address: write host:port, for example 127.0.0.1:7100, [::1]:7100 or db1.example:7100")]
    Form(String),
    /// The host name has no address.
    #[error("cannot resolve the host of {address}: {why}")]
    Unresolved {
        /// The address as it was given.
        address: String,
        /// The resolver's error.
        why: String,
    },
}

/// A host and a port, not resolved yet: names are looked up again at each dial, so that a host may move.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The host name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Looks the host up. At least one address.
    ///
    /// # Errors
    /// [`AddressError::Unresolved`].
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let unresolved = |why: String| AddressError::Unresolved { address: self.to_string(), why };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|error| unresolved(error.to_string()))?.collect();
        if found.is_empty() { Err(unresolved("it has no address".to_owned())) } else { Ok(found) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        // `u16::from_str` takes a plus sign.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        let port = port.parse().map_err(|_| form())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => {
                inner.parse::<Ipv6Addr>().map_err(|_| form())?;
                inner
            }
            None => host,
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || (host.parse::<IpAddr>().is_err() && !host.chars().all(allowed)) {
            return Err(form());
        }
        // An IPv6 address without brackets does not say where the port begins.
        if host.contains(':') && !text.starts_with('[') {
            return Err(form());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for (text, host, port) in [
            ("127.0.0.1:7100", "127.0.0.1", 7100),
            ("[::1]:7100", "::1", 7100),
            ("db-1.example:1", "db-1.example", 1),
            ("localhost:0", "localhost", 0),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for bad in [
            "",
            ":1",
            "host",
            "host:",
            "host:65536",
            "host:+1",
            "::1:7100",
            "[::1]",
            "[host]:1",
            "a b:1",
            "a/b:1",
            "[::1:1",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError::Form(bad.to_owned())), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn names_and_numbers_resolve_and_nonsense_says_why() {
        for text in ["127.0.0.1:7100", "[::1]:7100", "localhost:7100"] {
            let found = text.parse::<Address>().unwrap().resolve().await.expect(text);
            assert!(found.iter().all(|address| address.port() == 7100 && address.ip().is_loopback()), "{found:?}");
        }
        let error = "nowhere.invalid:7100".parse::<Address>().unwrap().resolve().await.expect_err("no such name");
        assert!(error.to_string().starts_with("cannot resolve the host of nowhere.invalid:7100"), "{error}");
    }
}
