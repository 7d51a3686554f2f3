//! Leftovers of a run that was ended by a signal and could not clean up: the next one removes them, by the process id
//! in the names. Only leftovers of a process that no longer exists are touched.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::system::{NAMESPACE, system};

/// Prefix of the names of mounts, before the process id and a dash.
pub(super) const MOUNT: &str = "baton-torture-";

/// Ends the processes, and removes the namespaces and mounts, of runs that are no more.
pub(super) fn sweep() {
    for line in output("ip", &["netns", "list"]).lines() {
        let Some(namespace) = line.split_whitespace().next().filter(|name| is_orphan(name, NAMESPACE)) else {
            continue;
        };
        for pid in output("ip", &["netns", "pids", namespace]).lines() {
            if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
                // One that is removed at the same time by its own run is no error.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        removed(system("ip", &["netns", "delete", namespace]));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines() {
        let mut fields = mount.split(' ');
        if let (Some(source), Some(at)) = (fields.next(), fields.next())
            && is_orphan(source, MOUNT)
        {
            removed(system("umount", &["-l", at]));
        }
    }
}

fn removed(outcome: Result<(), String>) {
    if let Err(why) = outcome {
        eprintln!("something of an earlier run is left behind: {why}");
    }
}

/// True if a name is ours and its process is gone.
fn is_orphan(name: &str, prefix: &str) -> bool {
    let pid = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_whose_process_is_gone_are_orphans() {
        let own = std::process::id();
        // Above the largest process id that Linux gives.
        assert!(is_orphan("baton-torture-99999999-0-server1", NAMESPACE));
        assert!(is_orphan("baton-torture-99999999", MOUNT));
        assert!(!is_orphan(&format!("baton-torture-{own}-0-server1"), NAMESPACE));
        for foreign in ["server1", "baton-torture-x", "other-99999999-0"] {
            assert!(!is_orphan(foreign, NAMESPACE), "{foreign}");
        }
    }
}
