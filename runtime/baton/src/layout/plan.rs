//! Members and addresses of a new cluster.

use std::net::IpAddr;

use baton_domain::{Role, ServerName};

use super::LayoutError;
use crate::config::{MemberConfig, bracketed, check_address, defaults};

/// Max members of a layout: HTTP ports start 100 higher, and more voters only make commits slower.
const MEMBERS_MAX: u16 = 25;

/// One planned member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedMember {
    /// Its name.
    pub name: ServerName,
    /// Its role.
    pub role: Role,
    /// Listen address.
    pub listen: String,
    /// Address for the others to dial.
    pub address: String,
    /// HTTP listen address.
    pub http_listen: String,
    /// HTTP address for clients.
    pub http: String,
}

/// The members of a new cluster, servers first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) members: Vec<PlannedMember>,
    pub(super) tls: bool,
}

/// A layout that is being described: see [`Layout::plan`].
#[derive(Debug, Clone)]
pub struct Plan {
    servers: u16,
    witnesses: u16,
    base_port: u16,
    hosts: Option<Vec<String>>,
    tls: bool,
}

impl Plan {
    /// The port of the first member; the others count up on each host, and HTTP ports are 100 higher. The default is 7100.
    #[must_use]
    pub fn base_port(self, base_port: u16) -> Self {
        Self { base_port, ..self }
    }

    /// One host per member, servers first. The default is 127.0.0.1 for all.
    #[must_use]
    pub fn hosts<H: Into<String>>(self, hosts: impl IntoIterator<Item = H>) -> Self {
        Self { hosts: Some(hosts.into_iter().map(Into::into).collect()), ..self }
    }

    /// Whether links use mutual TLS, with a certificate authority that is created for this cluster.
    #[must_use]
    pub fn tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// Assigns names, hosts and ports.
    ///
    /// # Errors
    /// [`LayoutError`] if no server could host the engine, or the numbers, ports or hosts do not fit each other.
    pub fn layout(self) -> Result<Layout, LayoutError> {
        let Self { servers, witnesses, base_port, hosts, tls } = self;
        if servers == 0 {
            return Err(LayoutError::NoServer);
        }
        let count = servers.saturating_add(witnesses);
        if count > MEMBERS_MAX {
            return Err(LayoutError::TooManyMembers { count, most: MEMBERS_MAX });
        }
        if base_port == 0 || u32::from(base_port) + u32::from(defaults::HTTP_PORT_OFFSET + count) > u32::from(u16::MAX)
        {
            let last = u16::MAX - defaults::HTTP_PORT_OFFSET - count;
            return Err(LayoutError::BasePort { base_port, last, count });
        }
        let hosts = hosts.unwrap_or_else(|| vec!["127.0.0.1".to_owned(); usize::from(count)]);
        if hosts.len() != usize::from(count) {
            return Err(LayoutError::Hosts { named: hosts.len(), servers, witnesses });
        }
        let places: Vec<(&str, u16)> =
            (0..hosts.len()).map(|at| (hosts[at].as_str(), port(base_port, &hosts, at))).collect();
        Layout::of(servers, &places, |port| port + defaults::HTTP_PORT_OFFSET, tls)
    }
}

impl Layout {
    /// Begins to describe a cluster of so many servers, which store, vote and can host the engine, and witnesses, which
    /// store and vote.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), baton::layout::LayoutError> {
    /// baton::layout::Layout::plan(3, 2).hosts(["a", "b", "c", "d", "e"]).tls(true).layout()?.write("cluster".as_ref())?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn plan(servers: u16, witnesses: u16) -> Plan {
        Plan { servers, witnesses, base_port: defaults::BASE_PORT, hosts: None, tls: false }
    }

    /// The members, in the order in which they count as joined.
    #[must_use]
    pub fn members(&self) -> &[PlannedMember] {
        &self.members
    }

    /// A layout on loopback with the given ports: those of the links, then those for HTTP.
    ///
    /// # Errors
    /// As [`Plan::layout`].
    pub fn loopback(servers: u16, ports: &[u16], http_ports: &[u16]) -> Result<Self, LayoutError> {
        let places: Vec<(&str, u16)> = ports.iter().map(|port| ("127.0.0.1", *port)).collect();
        let http = |port| {
            ports.iter().position(|other| *other == port).and_then(|at| http_ports.get(at)).copied().unwrap_or(port)
        };
        Self::of(servers, &places, http, false)
    }

    /// The same layout, with or without mutual TLS.
    #[must_use]
    pub fn with_tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    fn of(
        servers: u16,
        places: &[(&str, u16)],
        http_port: impl Fn(u16) -> u16,
        tls: bool,
    ) -> Result<Self, LayoutError> {
        let mut members = Vec::with_capacity(places.len());
        for (at, (host, port)) in (0..).zip(places) {
            let (role, name) = if at < servers {
                (Role::Server, format!("server{}", at + 1))
            } else {
                (Role::Witness, format!("witness{}", at - servers + 1))
            };
            let (host, all) = (bracketed(host), interface(host));
            let address = format!("{host}:{port}");
            check_address(&address)?;
            members.push(PlannedMember {
                name: ServerName::new(name)?,
                role,
                listen: format!("{all}:{port}"),
                http_listen: format!("{all}:{}", http_port(*port)),
                http: format!("{host}:{}", http_port(*port)),
                address,
            });
        }
        Ok(Self { members, tls })
    }

    /// Number of servers and of witnesses.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let servers = self.members.iter().filter(|planned| planned.role == Role::Server).count();
        (servers, self.members.len() - servers)
    }

    /// The members as files list them.
    #[must_use]
    pub fn config(&self) -> Vec<MemberConfig> {
        let listed = |planned: &PlannedMember| MemberConfig {
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
#[must_use]
pub fn interface(host: &str) -> String {
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
        let layout = Layout::plan(2, 1).layout().unwrap();
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
        let layout = Layout::plan(3, 1).hosts(["a.example", "10.0.0.2", "a.example", "::1"]).layout().unwrap();
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
        for (plan, expected) in [
            (Layout::plan(0, 2), "at least 1"),
            (Layout::plan(20, 6), "at most 25"),
            (Layout::plan(65_535, 65_535), "at most 25"),
            (Layout::plan(3, 2).base_port(0), "1 to 65430"),
            (Layout::plan(3, 2).base_port(65_431), "1 to 65430"),
            (Layout::plan(3, 2).hosts(["a"]), "1 hosts for 3 servers and 2 witnesses"),
            (Layout::plan(1, 0).hosts(["a b"]), "\"a b:7100\" is not an address"),
        ] {
            let why = plan.layout().unwrap_err().to_string();
            assert!(why.contains(expected), "{why}");
        }
        assert!(Layout::plan(3, 2).base_port(65_430).layout().is_ok());
    }
}
