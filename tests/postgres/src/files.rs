//! The programs of PostgreSQL, the user that runs them, and their processes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The directory of the programs, if they are installed.
pub(crate) fn programs() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os("BATON_POSTGRES_BIN") {
        return Some(PathBuf::from(chosen)).filter(|programs| is_whole(programs));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |name: &str| name.parse::<u32>().ok();
    let debian = versions.filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path().join("bin"))));
    let newest = debian.filter(|(_, programs)| is_whole(programs)).max().map(|(_, programs)| programs);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&path).find(|programs| is_whole(programs)))
}

fn is_whole(programs: &Path) -> bool {
    ["initdb", "postgres", "psql", "pg_basebackup"].iter().all(|name| programs.join(name).is_file())
}

/// User and group that the servers run as, if not this process's: PostgreSQL refuses to run as root.
pub(crate) fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("the list of users");
    let fields = users.lines().find_map(|line| line.strip_prefix("postgres:")).expect("a user postgres");
    let mut numbers = fields.split(':').skip(1).map_while(|field| field.parse().ok());
    numbers.next().zip(numbers.next())
}

/// A new directory for a server's data, socket and log.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("baton-pg-").tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    if let Some((user, group)) = other_user() {
        chown(directory.path(), Some(user), Some(group)).expect("root gives it away");
    }
    directory
}

/// The processes that this one started.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |id: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the program's name, which may have spaces: state and parent.
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|&id| parent(id) == Some(process)).collect()
}
