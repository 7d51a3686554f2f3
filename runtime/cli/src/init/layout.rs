//! Members and addresses of a new cluster.

use std::net::IpAddr;

use baton::config::{MemberConfig, bracketed, check_address, defaults};
use baton_domain::{Role, ServerName};

/// Max members of a layout: HTTP ports start 100 higher, and more voters only make commits slower.
const MEMBERS_MAX: u16 = 25;

/// One planned member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: ServerName,
    /// Its role.
    pub(crate) role: Role,
    /// Listen address.
    pub(crate) listen: String,
    /// Address for the others to dial.
    pub(crate) address: String,
    /// HTTP listen address.
    pub(crate) http_listen: String,
    /// HTTP address for clients.
    pub(crate) http: String,
}

/// All members, servers first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In the order in which they count as joined.
    pub(crate) members: Vec<Planned>,
}

impl Layout {
    /// Assigns names, hosts and ports. Ports count up on each host.
    pub(super) fn plan(servers: u16, witnesses: u16, base_port: u16, hosts: Option<&[String]>) -> Result<Self, String> {
        if servers == 0 {
            return Err("--servers 0 leaves no host for the engine: use at least 1".to_owned());
        }
        let count = servers.saturating_add(witnesses);
        if count > MEMBERS_MAX {
            return Err(format!("{count} members are too many: use at most {MEMBERS_MAX} servers and witnesses"));
        }
        if base_port == 0 || u32::from(base_port) + u32::from(defaults::HTTP_PORT_OFFSET + count) > u32::from(u16::MAX)
        {
            let last = u16::MAX - defaults::HTTP_PORT_OFFSET - count;
            return Err(format!("--base-port {base_port} is out of range: 1 to {last} for {count} members"));
        }
        let local = vec!["127.0.0.1".to_owned(); usize::from(count)];
        let hosts = hosts.unwrap_or(&local);
        if hosts.len() != usize::from(count) {
            return Err(format!(
                "--hosts names {} hosts for {servers} servers and {witnesses} witnesses: name one host per member, servers first",
                hosts.len()
            ));
        }
        let ports: Vec<u16> = (0..hosts.len()).map(|at| port(base_port, hosts, at)).collect();
        Self::of(
            servers,
            &ports.iter().zip(hosts).map(|(port, host)| (host.as_str(), *port)).collect::<Vec<_>>(),
            |port| port + defaults::HTTP_PORT_OFFSET,
        )
    }

    /// A layout on loopback with the given ports: those of the links, then those for HTTP.
    pub(crate) fn loopback(servers: u16, ports: &[u16], http_ports: &[u16]) -> Result<Self, String> {
        let places: Vec<(&str, u16)> = ports.iter().map(|port| ("127.0.0.1", *port)).collect();
        let http = |port| {
            ports.iter().position(|other| *other == port).and_then(|at| http_ports.get(at)).copied().unwrap_or(port)
        };
        Self::of(servers, &places, http)
    }

    fn of(servers: u16, places: &[(&str, u16)], http_port: impl Fn(u16) -> u16) -> Result<Self, String> {
        let mut members = Vec::with_capacity(places.len());
        for (at, (host, port)) in (0..).zip(places) {
            let (role, name) = if at < servers {
                (Role::Server, format!("server{}", at + 1))
            } else {
                (Role::Witness, format!("witness{}", at - servers + 1))
            };
            let (host, all) = (bracketed(host), interface(host));
            let address = format!("{host}:{port}");
            check_address(&address).map_err(|why| format!("--hosts: {why}"))?;
            members.push(Planned {
                name: ServerName::new(name).map_err(|error| error.to_string())?,
                role,
                listen: format!("{all}:{port}"),
                http_listen: format!("{all}:{}", http_port(*port)),
                http: format!("{host}:{}", http_port(*port)),
                address,
            });
        }
        Ok(Self { members })
    }

    /// Number of servers and of witnesses.
    pub(super) fn counts(&self) -> (u32, u32) {
        let servers = self.members.iter().map(|planned| u32::from(planned.role == Role::Server)).sum();
        (servers, u32::try_from(self.members.len()).unwrap_or(u32::MAX) - servers)
    }

    /// The members as files list them.
    pub(super) fn config(&self) -> Vec<MemberConfig> {
        let listed = |planned: &Planned| MemberConfig {
            name: planned.name.clone(),
            role: planned.role,
            address: planned.address.clone(),
            http: Some(planned.http.clone()),
        };
        self.members.iter().map(listed).collect()
    }
}

/// The base port plus the number of earlier members on the same host.
fn port(base: u16, hosts: &[String], at: usize) -> u16 {
    let before = hosts[..at].iter().filter(|host| **host == hosts[at]).count();
    base + u16::try_from(before).unwrap_or(u16::MAX)
}

/// The interface to listen on: an IP address as it is; for a name all, because a host's own name is often a loopback
/// address.
pub(crate) fn interface(host: &str) -> String {
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() { bracketed(host) } else { "0.0.0.0".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(layout: &Layout) -> Vec<(&str, &str, &str)> {
        layout.members.iter().map(|m| (m.name.as_str(), m.listen.as_str(), m.http.as_str())).collect()
    }

    #[test]
    fn without_hosts_ports_count_up_on_loopback() {
        let layout = Layout::plan(2, 1, 7100, None).unwrap();
        assert_eq!(
            addresses(&layout),
            [
                ("server1", "127.0.0.1:7100", "127.0.0.1:7200"),
                ("server2", "127.0.0.1:7101", "127.0.0.1:7201"),
                ("witness1", "127.0.0.1:7102", "127.0.0.1:7202"),
            ]
        );
        assert_eq!(layout.counts(), (2, 1));
    }

    #[test]
    fn ports_count_up_on_each_host() {
        let hosts = ["a.example", "10.0.0.2", "a.example", "::1"].map(str::to_owned);
        let layout = Layout::plan(3, 1, 7100, Some(&hosts)).unwrap();
        assert_eq!(
            addresses(&layout),
            [
                ("server1", "0.0.0.0:7100", "a.example:7200"),
                ("server2", "10.0.0.2:7100", "10.0.0.2:7200"),
                ("server3", "0.0.0.0:7101", "a.example:7201"),
                ("witness1", "[::1]:7100", "[::1]:7200"),
            ]
        );
        assert_eq!(layout.members[0].address, "a.example:7100");
    }

    #[test]
    fn what_cannot_be_laid_out_is_said() {
        let hosts = ["a".to_owned()];
        for (plan, expected) in [
            (Layout::plan(0, 2, 7100, None), "at least 1"),
            (Layout::plan(20, 6, 7100, None), "at most 25"),
            (Layout::plan(65_535, 65_535, 7100, None), "at most 25"),
            (Layout::plan(3, 2, 0, None), "1 to 65430"),
            (Layout::plan(3, 2, 65_431, None), "1 to 65430"),
            (Layout::plan(3, 2, 7100, Some(&hosts)), "names 1 hosts for 3 servers and 2 witnesses"),
            (Layout::plan(1, 0, 7100, Some(&["a b".to_owned()])), "--hosts: \"a b:7100\" is not an address"),
        ] {
            let why = plan.unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(Layout::plan(3, 2, 65_430, None).is_ok());
    }
}
