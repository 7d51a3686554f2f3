//! Checks of operators' requests, on the server: pure.

use std::collections::BTreeSet;

use baton_domain::address::check_dialed;
use baton_domain::{ClusterState, ReplicaId, Role, ServerName, majority};

/// Checks that a member may have an address: others can dial it, and it is no other member's. Checked here, whatever
/// program asks: the address stays in the store, in each snapshot and in each answer to a client.
pub(super) fn check_free(cluster: &ClusterState, name: &ServerName, address: &str) -> Result<(), String> {
    check_dialed(address).map_err(|why| why.to_string())?;
    match cluster.members.iter().find(|member| member.address == address && member.name != *name) {
        Some(other) => Err(format!("{address} is the address of {}: give {name} one of its own", other.name)),
        None => Ok(()),
    }
}

/// Whether a member may be removed: a majority of the voters that are left must be up. One without a vote may always
/// go, so that whatever was added by mistake can be taken back.
pub(super) fn may_leave(
    name: &ServerName,
    replica: Option<ReplicaId>,
    voters: &BTreeSet<ReplicaId>,
    up: impl Fn(ReplicaId) -> bool,
) -> Result<(), String> {
    let Some(replica) = replica.filter(|replica| voters.contains(replica)) else { return Ok(()) };
    let left: Vec<ReplicaId> = voters.iter().copied().filter(|voter| *voter != replica).collect();
    let up = left.iter().filter(|voter| up(**voter)).count();
    if up < majority(left.len()) {
        return Err(format!(
            "without {name} only {up} of {} voters are up, fewer than a majority: start the others first",
            left.len()
        ));
    }
    Ok(())
}

/// Checks that the policy lets an operator move the engine there.
pub(super) fn may_move_to(cluster: &ClusterState, server: &ServerName) -> Result<(), String> {
    let hosts = cluster.hosts();
    let names = |names: &[ServerName]| names.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ");
    match cluster.member(server) {
        None => Err(format!("there is no server {server}; the engine can move to: {}", names(&hosts))),
        Some(member) if member.role == Role::Witness => {
            Err(format!("{server} is a witness and never hosts the engine; it can move to: {}", names(&hosts)))
        }
        Some(_) if cluster.policy.preferred_only && !cluster.policy.preference(&hosts).contains(server) => {
            Err(format!(
                "{server} may not host the engine: the policy allows preferred servers only: {}",
                names(cluster.policy.preference(&hosts))
            ))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    /// Members that were added and never started have no vote: six of them must not keep each other from being removed.
    #[test]
    fn whoever_has_no_vote_may_go_and_a_voter_only_if_the_rest_goes_on() {
        let name = ServerName::new("server9").unwrap();
        for (leaving, voters, up, may) in [
            (Some(99), &[1, 2, 3][..], &[1, 2, 3][..], true),
            (Some(99), &[1, 2, 3], &[1], true),
            (None, &[1, 2, 3], &[1], true),
            (Some(3), &[1, 2, 3], &[1, 2], true),
            (Some(3), &[1, 2, 3], &[1, 3], false),
            (Some(2), &[1, 2], &[1], true),
            (Some(5), &[1, 2, 3, 4, 5], &[1, 2, 5], false),
            (Some(5), &[1, 2, 3, 4, 5], &[1, 2, 3], true),
        ] {
            let up = ids(up);
            let verdict = may_leave(&name, leaving.map(ReplicaId), &ids(voters), |replica| up.contains(&replica));
            assert_eq!(verdict.is_ok(), may, "{leaving:?} of {voters:?}, {up:?} are up: {verdict:?}");
        }
    }

    #[test]
    fn an_address_is_checked_by_the_server() {
        let member = |name: &str, address: &str| baton_domain::Member {
            name: ServerName::new(name).unwrap(),
            role: Role::Server,
            address: address.to_owned(),
            replica: ReplicaId(1),
        };
        let cluster = ClusterState { members: vec![member("server1", "h:1")], ..ClusterState::default() };
        let check = |name: &str, address: &str| check_free(&cluster, &ServerName::new(name).unwrap(), address);
        assert_eq!(check("server2", "h:2"), Ok(()));
        assert_eq!(check("server1", "h:1"), Ok(()), "its own");
        assert!(check("server2", "h:1").unwrap_err().contains("is the address of server1"));
        for nonsense in ["h", "h:0", "a b:1", "h:1\nx", "0.0.0.0:1", "[::]:1"] {
            assert!(check("server2", nonsense).is_err(), "{nonsense:?}");
        }
        assert!(check("server2", &"h".repeat(60_000_000)).unwrap_err().contains("at most"));
    }
}
