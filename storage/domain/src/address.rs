//! Addresses, `host:port`.

/// The longest address, in bytes: a host name has at most 253.
const ADDRESS_MAX: usize = 260;

/// Splits an address into host and port.
///
/// # Errors
/// In words, with what is allowed.
pub fn split_address(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("{address:?} is not an address: write host:port, for example 10.0.0.1:7100");
    if address.len() > ADDRESS_MAX {
        return Err(format!("an address has at most {ADDRESS_MAX} bytes, but this one has {}", address.len()));
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
        Ok(_) | Err(_) => Err(format!("{address:?} has no valid port: write a number from 1 to 65535 after the colon")),
    }
}

/// Checks an address.
///
/// # Errors
/// In words, with what is allowed.
pub fn check_address(address: &str) -> Result<(), String> {
    split_address(address).map(|_| ())
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

/// Whether others could not dial this: it means every interface of whoever reads it.
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
        // One that an operator's script made too long would stand in every snapshot and every answer for good.
        assert!(check_address(&format!("{}:1", "h".repeat(ADDRESS_MAX))).is_err());
    }
}
