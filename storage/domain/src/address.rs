//! Addresses, `host:port`.

/// The longest address, in bytes: a host name has at most 253.
const ADDRESS_MAX: usize = 260;

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAddress {
    /// The address is too long.
    #[error("an address has at most {ADDRESS_MAX} bytes, but this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The text is not a host, a colon and a port.
    #[error("{0:?} is not an address: write host:port, for example 10.0.0.1:7100")]
    Form(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} has no valid port: write a number from 1 to 65535 after the colon")]
    Port(String),
    /// The address stands for all interfaces of a machine.
    #[error("{0:?} is not an address that others can dial: use the host's name or one of its addresses")]
    Wildcard(String),
}

/// Splits an address into host and port.
///
/// # Errors
/// [`InvalidAddress`].
pub fn split_address(address: &str) -> Result<(&str, u16), InvalidAddress> {
    let wrong = || InvalidAddress::Form(address.to_owned());
    if address.len() > ADDRESS_MAX {
        return Err(InvalidAddress::TooLong { bytes: address.len() });
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let in_host =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (bracketed && ":[]%".contains(c));
    if host.is_empty() || !host.chars().all(in_host) {
        return Err(wrong());
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, port)),
        Ok(_) | Err(_) => Err(InvalidAddress::Port(address.to_owned())),
    }
}

/// Checks an address.
///
/// # Errors
/// [`InvalidAddress`].
pub fn check_address(address: &str) -> Result<(), InvalidAddress> {
    split_address(address).map(|_| ())
}

/// Checks an address that others have to dial.
///
/// # Errors
/// [`InvalidAddress`].
pub fn check_dialed(address: &str) -> Result<(), InvalidAddress> {
    check_address(address)?;
    if is_wildcard(address) { Err(InvalidAddress::Wildcard(address.to_owned())) } else { Ok(()) }
}

/// The port of an address that was checked; 0 of one that was not.
#[must_use]
pub fn port_of(address: &str) -> u16 {
    split_address(address).map_or(0, |(_, port)| port)
}

/// A host as it stands in an address: IPv6 in brackets.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// True if the address stands for all interfaces of a machine, so that others cannot dial it.
#[must_use]
pub fn is_wildcard(address: &str) -> bool {
    split_address(address).is_ok_and(|(host, _)| matches!(host, "0.0.0.0" | "[::]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for (address, expected) in [
            ("127.0.0.1:7100", Some(("127.0.0.1", 7100))),
            ("node-1.example:1", Some(("node-1.example", 1))),
            ("[::1]:7100", Some(("[::1]", 7100))),
            ("::1:7100", None),
            ("localhost", None),
            (":7100", None),
            ("host:0", None),
            ("host:65536", None),
            ("host:x", None),
            ("a b:1", None),
            ("http://a:1", None),
        ] {
            assert_eq!(split_address(address).ok(), expected, "{address}");
        }
        // The address stays in the store, in each snapshot and in each answer to a client.
        let long = check_address(&format!("{}:1", "h".repeat(ADDRESS_MAX)));
        assert_eq!(long, Err(InvalidAddress::TooLong { bytes: ADDRESS_MAX + 2 }));
        assert_eq!(check_dialed("[::]:1"), Err(InvalidAddress::Wildcard("[::]:1".to_owned())));
        assert_eq!(check_dialed("[::1]:1"), Ok(()));
    }
}
