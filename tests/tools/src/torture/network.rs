//! The network of a torture run: a namespace for each member and one for the clients, joined by a bridge in a namespace
//! of its own. The machine's own namespace is not touched, the addresses cannot collide, and removing the namespaces
//! removes everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::system::{NAMESPACE, system, system_with};

/// The namespace of the clients among the places of a network.
pub(crate) const CLIENTS: &str = "clients";
/// The namespace of the bridge.
const SWITCH: &str = "switch";
/// The interface in each place.
const INTERFACE: &str = "eth0";

/// A firewall's verdict on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is lost.
    Drop,
    /// It is lost, and answered with a reset.
    Reset,
    /// So many of a hundred are lost, each by chance.
    Lossy(u64),
}

/// A rule of a firewall: its verdict at `to` on packets from `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Their source.
    pub from: String,
    /// Their destination, which has the rule.
    pub to: String,
    /// The verdict.
    pub verdict: Verdict,
}

impl Rule {
    /// Packets from `from` are lost on their way to `to`.
    #[must_use]
    pub(crate) fn lost(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), verdict: Verdict::Drop }
    }

    /// Of packets from `from`, `percent` of a hundred are lost on their way to `to`.
    #[must_use]
    pub(crate) fn lossy(from: &str, to: &str, percent: u64) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), verdict: Verdict::Lossy(percent) }
    }

    /// Packets from `from` are answered with a reset at `to`, which never sees them.
    #[must_use]
    pub(crate) fn reset(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), verdict: Verdict::Reset }
    }
}

/// The network; removed when it is dropped, also after a panic.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: String,
    /// Place to address.
    places: BTreeMap<String, String>,
    /// Namespaces that were made.
    made: Vec<String>,
    rules: Vec<Rule>,
}

impl Network {
    /// Makes the namespaces of these members and of the clients, and joins them.
    ///
    /// # Errors
    /// The part that cannot be set up, with the reason.
    pub(crate) fn new(members: &[String]) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("{NAMESPACE}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut network = Self { prefix, places: BTreeMap::new(), made: Vec::new(), rules: Vec::new() };
        network.make(SWITCH)?;
        let switch = network.namespace(SWITCH);
        system("ip", &["-n", &switch, "link", "add", "bridge", "type", "bridge"])?;
        system("ip", &["-n", &switch, "link", "set", "bridge", "up"])?;
        let clients = CLIENTS.to_owned();
        for (number, place) in (1..).zip(members.iter().chain([&clients])) {
            network.join(place, &switch, &format!("10.213.0.{number}"))?;
        }
        Ok(network)
    }

    fn make(&mut self, place: &str) -> Result<(), String> {
        let namespace = self.namespace(place);
        system("ip", &["netns", "add", &namespace])?;
        self.made.push(namespace.clone());
        system("ip", &["-n", &namespace, "link", "set", "lo", "up"])
    }

    fn join(&mut self, place: &str, switch: &str, address: &str) -> Result<(), String> {
        self.make(place)?;
        let namespace = self.namespace(place);
        let pair = [
            "-n", switch, "link", "add", "name", place, "type", "veth", "peer", "name", INTERFACE, "netns", &namespace,
        ];
        system("ip", &pair)?;
        system("ip", &["-n", switch, "link", "set", "dev", place, "master", "bridge", "up"])?;
        system("ip", &["-n", &namespace, "address", "add", &format!("{address}/24"), "dev", INTERFACE])?;
        system("ip", &["-n", &namespace, "link", "set", INTERFACE, "up"])?;
        self.places.insert(place.to_owned(), address.to_owned());
        Ok(())
    }

    /// The name of a place's namespace.
    #[must_use]
    pub(crate) fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.prefix)
    }

    /// A place's address.
    #[must_use]
    pub(crate) fn address(&self, place: &str) -> &str {
        self.places.get(place).map_or("", String::as_str)
    }

    /// A command that runs in a place; `ip netns exec` becomes that command, so the process id is its own.
    #[must_use]
    pub(crate) fn command(&self, place: &str, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(place)]).arg(program);
        command
    }

    /// Takes a place's link down or up: while it is down no packet passes, not even a refusal.
    ///
    /// # Errors
    /// The error of `ip`.
    pub(crate) fn plug(&self, place: &str, up: bool) -> Result<(), String> {
        // At the bridge: inside, taking the interface down would lose its address.
        let state = if up { "up" } else { "down" };
        system("ip", &["-n", &self.namespace(SWITCH), "link", "set", "dev", place, state])
    }

    /// Limits a member's link to this many kilobits per second, both ways; `None` lifts the limit.
    ///
    /// # Errors
    /// The error of `tc`.
    pub(crate) fn thin(&self, place: &str, kilobits: Option<u64>) -> Result<(), String> {
        for (namespace, device) in [(self.namespace(place), INTERFACE), (self.namespace(SWITCH), place)] {
            // Replaced and not deleted: two of these faults may overlap, and the second to end finds nothing to delete.
            let mut arguments = vec!["-n", &namespace, "qdisc", "replace", "dev", device, "root"];
            let rate = kilobits.map(|rate| format!("{rate}kbit"));
            match &rate {
                Some(rate) => arguments.extend(["tbf", "rate", rate, "burst", "16kb", "latency", "200ms"]),
                None => arguments.push("pfifo"),
            }
            system("tc", &arguments)?;
        }
        Ok(())
    }

    /// Adds rules to the firewalls.
    ///
    /// # Errors
    /// The error of `nft`.
    pub(crate) fn add_rules(&mut self, rules: &[Rule]) -> Result<(), String> {
        self.rules.extend_from_slice(rules);
        self.write_rules(rules)
    }

    /// Takes rules away again, once for each time that they were added.
    ///
    /// # Errors
    /// The error of `nft`.
    pub(crate) fn remove_rules(&mut self, rules: &[Rule]) -> Result<(), String> {
        for rule in rules {
            if let Some(at) = self.rules.iter().position(|other| other == rule) {
                self.rules.remove(at);
            }
        }
        self.write_rules(rules)
    }

    /// Writes the firewall of every place that `changed` names, each in one step.
    fn write_rules(&self, changed: &[Rule]) -> Result<(), String> {
        let mut places: Vec<&str> = changed.iter().map(|rule| rule.to.as_str()).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let namespace = self.namespace(place);
            system_with("ip", &["netns", "exec", &namespace, "nft", "-f", "-"], &self.firewall(place))?;
        }
        Ok(())
    }

    fn firewall(&self, place: &str) -> String {
        let mut text =
            "table inet torture\ndelete table inet torture\ntable inet torture {\nchain input {\n".to_owned();
        text.push_str("type filter hook input priority 0; policy accept;\n");
        for rule in self.rules.iter().filter(|rule| rule.to == place) {
            let verdict = match rule.verdict {
                Verdict::Drop => "drop".to_owned(),
                Verdict::Reset => "meta l4proto tcp reject with tcp reset".to_owned(),
                Verdict::Lossy(percent) => format!("numgen random mod 100 < {percent} drop"),
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "ip saddr {} {verdict}", self.address(&rule.from));
        }
        text.push_str("}\n}\n");
        text
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.made {
            if let Err(why) = system("ip", &["netns", "delete", namespace]) {
                eprintln!("a namespace is left behind: {why}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_lists_the_rules_of_its_place_only() {
        let places = [("a", "10.213.0.1"), ("b", "10.213.0.2")].map(|(name, at)| (name.to_owned(), at.to_owned()));
        let rules = vec![Rule::lost("a", "b"), Rule::reset("b", "a"), Rule::lossy("b", "a", 7)];
        let network = Network { prefix: "none".to_owned(), places: places.into(), made: Vec::new(), rules };
        assert!(network.firewall("b").contains("ip saddr 10.213.0.1 drop"), "{}", network.firewall("b"));
        assert!(!network.firewall("b").contains("reset"), "{}", network.firewall("b"));
        assert!(network.firewall("a").contains("ip saddr 10.213.0.2 numgen random mod 100 < 7 drop"));
        assert!(network.firewall("a").contains("ip saddr 10.213.0.2 meta l4proto tcp reject with tcp reset"));
    }
}
