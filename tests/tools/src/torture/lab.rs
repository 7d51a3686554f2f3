//! The cluster under torture: three servers and two witnesses, each in a network namespace of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use baton_tests::clock::Deadline;
use baton_tests::process::signal;
use baton_tests::program::{Background, Output, Stdout, program, run};
use rustix::process::Signal;

use super::access::Access;
use super::dice::Dice;
use super::network::{CLIENTS, Network};
use super::power::{Loss, lose_unsynced, settle};
use super::shim::{WallClock, shim};
use super::store::{SmallDisk, copy_files, wipe};

/// The servers, in the order of the list.
pub(crate) const SERVERS: [&str; 3] = ["server1", "server2", "server3"];
/// The witnesses.
pub(crate) const WITNESSES: [&str; 2] = ["witness1", "witness2"];
/// The size of the file system that can be filled: well above what a server's buffers and the reserve take, and filled
/// in a moment.
const SMALL_DISK_MIB: u64 = 1024;
/// Settings of the servers of a lab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Their log filter.
    log: &'static str,
    /// More of their configuration.
    more: &'static str,
    /// True for the whole load: with messages that stay in the store until all faults are over, and clients that die.
    pub whole: bool,
}

impl Tuning {
    /// With the traces that the checker reads, and the line by which the nemesis knows that a log is being purged.
    /// Snapshots are taken and the log is purged behind them as often as is allowed: they must be in the way of faults.
    pub(crate) const TORTURE: Self = Self {
        log: "info,ractor_cluster=error,ractor=warn,openraft=error,openraft::engine::handler::log_handler=info,\
              baton::release=trace,baton::applied=trace",
        more: "\n[limits]\nsnapshot_log_bytes = 1048576\n",
        whole: true,
    };
    /// As an operator runs them.
    pub(crate) const PLAIN: Self =
        Self { log: "info,ractor_cluster=error,ractor=warn,openraft=error", more: "", whole: false };
}

/// The message of that line.
pub(crate) const PURGES: &str = "purge log, last_purged";
/// Deadline of a server's end after SIGTERM: longer than the hand-over before it.
const END: Duration = Duration::from_secs(30);

/// A member: its files, and its process while it runs.
#[derive(Debug)]
struct Node {
    config: PathBuf,
    store: PathBuf,
    log: PathBuf,
    slow: PathBuf,
    clock: WallClock,
    child: Option<Child>,
}

/// The cluster and its network; processes, mounts and namespaces end with it.
#[derive(Debug)]
pub(crate) struct Lab {
    nodes: BTreeMap<String, Node>,
    tuning: Tuning,
    shim: Option<PathBuf>,
    /// True if files have attributes here, which record the synced bytes.
    marks_syncs: bool,
    access: Access,
    small: Option<SmallDisk>,
    /// Its faults.
    pub network: Network,
}

/// All members, servers first.
#[must_use]
pub(crate) fn members() -> Vec<String> {
    SERVERS.iter().chain(&WITNESSES).map(|&name| name.to_owned()).collect()
}

impl Lab {
    /// Makes the network, runs `baton init` in `dir`, which is absent, and starts every member. The store of the member
    /// `small_disk` is on a small file system, so that it can be filled.
    ///
    /// # Errors
    /// The step that failed.
    pub(crate) fn start(dir: &Path, small_disk: &str, tuning: Tuning) -> Result<Self, String> {
        let names = members();
        let network = Network::new(&names)?;
        let hosts: Vec<&str> = names.iter().map(|name| network.address(name)).collect();
        let path = dir.to_str().ok_or("the directory's path is not UTF-8")?;
        let servers = SERVERS.len().to_string();
        let witnesses = WITNESSES.len().to_string();
        let init = ["init", path, "--servers", &servers, "--witnesses", &witnesses, "--hosts", &hosts.join(",")];
        let output = run(&init, "", END);
        if output.code != Some(0) {
            return Err(format!("baton init: {}", output.stderr));
        }
        let node = |name: &String| -> Result<(String, Node), String> {
            let file = |ending: &str| dir.join(format!("{name}.{ending}"));
            let (config, log, slow, clock) = (file("toml"), file("log"), file("slow"), WallClock::new(file("clock"))?);
            Ok((name.clone(), Node { config, store: dir.join(name), log, slow, clock, child: None }))
        };
        let nodes = names.iter().map(node).collect::<Result<BTreeMap<_, _>, _>>()?;
        let access = Access { namespace: network.namespace(CLIENTS), file: dir.join("cluster.toml") };
        let mut lab = Self { nodes, tuning, shim: shim(dir), marks_syncs: false, access, small: None, network };
        lab.small = Some(SmallDisk::mount(lab.store(small_disk), SMALL_DISK_MIB)?);
        // `init` ran without the shim: its files count as synced.
        lab.marks_syncs = lab.shim.is_some() && names.iter().all(|name| settle(lab.store(name)).is_ok());
        for name in &names {
            lab.configure(name)?;
            lab.start_member(name)?;
        }
        Ok(lab)
    }

    /// Adds to a member's configuration.
    fn configure(&self, name: &str) -> Result<(), String> {
        let path = &self.node(name).config;
        let text = std::fs::read_to_string(path).and_then(|text| std::fs::write(path, text + self.tuning.more));
        text.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The clients' access to it.
    #[must_use]
    pub(crate) fn access(&self) -> Access {
        self.access.clone()
    }

    /// The file system that can be filled.
    #[must_use]
    pub(crate) fn small_disk(&self) -> Option<&SmallDisk> {
        self.small.as_ref()
    }

    /// Path of a member's log.
    #[must_use]
    pub(crate) fn log(&self, name: &str) -> &Path {
        &self.node(name).log
    }

    /// Path of a member's store.
    #[must_use]
    pub(crate) fn store(&self, name: &str) -> &Path {
        &self.node(name).store
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn child(&mut self, name: &str) -> &mut Option<Child> {
        &mut self.nodes.get_mut(name).unwrap_or_else(|| panic!("there is no {name}")).child
    }

    /// Starts a member, unless it runs.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn start_member(&mut self, name: &str) -> Result<(), String> {
        let node = self.node(name);
        if node.child.is_some() {
            return Ok(());
        }
        let open = || {
            let log = File::options().create(true).append(true).open(&node.log)?;
            Ok((log.try_clone()?, log))
        };
        let (output, errors) = open().map_err(|error: std::io::Error| format!("{}: {error}", node.log.display()))?;
        let mut command = self.network.command(name, &program());
        command.arg("server").arg(&node.config).env("RUST_LOG", self.tuning.log).env("NO_COLOR", "1");
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim).env("BATON_SLOW_SYNC", &node.slow);
            command.env("BATON_CLOCK", node.clock.path());
            if self.marks_syncs {
                command.env("BATON_MARK_SYNCS", "1");
            }
        }
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        *self.child(name) = Some(child);
        Ok(())
    }

    /// Ends members with SIGKILL, all at the same moment; those that do not run are let be.
    pub(crate) fn kill(&mut self, names: &[String]) {
        for name in names {
            if let Some(child) = &self.node(name).child {
                signal(child, Signal::KILL);
            }
        }
        for name in names {
            if let Some(mut child) = self.child(name).take() {
                let _ = child.wait();
            }
        }
    }

    /// Ends a member with SIGTERM.
    ///
    /// # Errors
    /// If it does not end in time or not in order; it is killed then.
    pub(crate) fn terminate(&mut self, name: &str) -> Result<(), String> {
        let Some(mut child) = self.child(name).take() else { return Ok(()) };
        signal(&child, Signal::TERM);
        let mut ended = None;
        Deadline::within(END).poll(Duration::from_millis(5), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        });
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{name} ended with {status} after SIGTERM")),
            None => Err(format!("{name} still ran {END:?} after SIGTERM")),
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn freeze(&self, name: &str, freeze: bool) {
        if let Some(child) = &self.node(name).child {
            signal(child, if freeze { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Removes the store of a member that does not run.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn wipe(&self, name: &str) -> Result<(), String> {
        wipe(self.store(name))
    }

    /// Copies the store of a member that does not run; says where to.
    ///
    /// # Errors
    /// The error of `cp`.
    pub(crate) fn copy_store(&self, name: &str) -> Result<PathBuf, String> {
        let copy = self.store(name).with_extension("copy");
        // One of an earlier fault.
        let _ = std::fs::remove_dir_all(&copy);
        copy_files(self.store(name), &copy).map(|()| copy)
    }

    /// Puts a copy in the place of the store of a member that does not run.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn restore_store(&self, name: &str, copy: &Path) -> Result<(), String> {
        wipe(self.store(name))?;
        copy_files(copy, self.store(name))
    }

    /// Runs `baton rebuild` for a member that does not run.
    #[must_use]
    pub(crate) fn rebuild(&self, name: &str, limit: Duration) -> Output {
        let mut command = self.network.command(name, &program());
        command.arg("rebuild").arg(&self.node(name).config);
        Background::spawn_as(command, format!("baton rebuild {name}"), Stdout::Collect).wait_or_kill(limit)
    }

    /// Writes another port into a member's configuration, and into a list of members of its own: the lists of the others
    /// keep the old one. Says its address from the next start on.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn change_port(&self, name: &str, port: u64) -> Result<String, String> {
        let (path, host) = (&self.node(name).config, self.network.address(name));
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        let text = read(path)?;
        let start = text.find(&format!("{host}:")).ok_or_else(|| format!("{} has no address", path.display()))?;
        let old: String = text[start..].chars().take_while(|it| it.is_ascii_digit() || ".:".contains(*it)).collect();
        let new = format!("{host}:{port}");
        let own = format!("cluster-{name}.toml");
        let of_all = path.with_file_name("cluster.toml");
        let members = path.with_file_name(&own);
        let members_before = read(if members.exists() { &members } else { &of_all })?;
        write(&members, members_before.replace(&format!("\"{old}\""), &format!("\"{new}\"")))?;
        let named = text.replace("cluster = \"cluster.toml\"", &format!("cluster = \"{own}\""));
        write(path, named.replace(&format!("\"{old}\""), &format!("\"{new}\"")))?;
        Ok(new)
    }

    /// Removes the unsynced bytes from the store of a member that does not run.
    ///
    /// # Errors
    /// The system's error, or that it is not possible here.
    pub(crate) fn lose_unsynced(&self, name: &str, dice: &mut Dice) -> Result<Loss, String> {
        if !self.marks_syncs {
            return Err("what is synced is known with a C compiler (cc) and file attributes only".to_owned());
        }
        lose_unsynced(self.store(name), dice)
    }

    /// A member's wall clock.
    ///
    /// # Errors
    /// If nothing can move it here.
    pub(crate) fn wall_clock(&self, name: &str) -> Result<&WallClock, String> {
        if self.shim.is_none() {
            return Err("a clock that jumps needs a C compiler (cc)".to_owned());
        }
        Ok(&self.node(name).clock)
    }

    /// Makes each sync of a member take so much longer; `None` ends it.
    ///
    /// # Errors
    /// If that is not possible here.
    pub(crate) fn slow_sync(&self, name: &str, ms: Option<u64>) -> Result<(), String> {
        let path = &self.node(name).slow;
        if self.shim.is_none() {
            return Err("a slow disk needs a C compiler (cc)".to_owned());
        }
        match ms {
            // Renamed into place: a sync never reads half of it.
            Some(ms) => {
                let aside = path.with_extension("slow-new");
                std::fs::write(&aside, ms.to_string()).and_then(|()| std::fs::rename(&aside, path))
            }
            None => match std::fs::remove_file(path) {
                // Another fault of the same kind, which overlapped, took it away.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
        }
        .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Members that ended by themselves since the last call, each with how.
    pub(crate) fn deaths(&mut self) -> Vec<(String, ExitStatus)> {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        names.into_iter().filter_map(|name| self.death_of(&name).map(|how| (name, how))).collect()
    }

    /// The exit status of a member that ended by itself, reported once.
    pub(crate) fn death_of(&mut self, name: &str) -> Option<ExitStatus> {
        let child = self.child(name);
        let status = child.as_mut()?.try_wait().ok()??;
        *child = None;
        Some(status)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            // Killed where it stands, frozen or not; its id is ours until it was waited for.
            if let Some(mut child) = node.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        // Before the network, in whose namespaces it is visible.
        self.small = None;
    }
}
