//! The demo's own PostgreSQL: in the demo's directory, reached by a socket that only its user and root can open. It ends
//! with the demo.

use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use baton_domain::clock::BootTime;
use tokio::process::{Child, Command};

use super::logs::last_line;
use crate::Failure;

/// Time limit of its start and of its end.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Its port, which is only part of the socket's name.
const PORT: u16 = 5432;
/// Ends the server when its own input ends, which is when the demo ends, for whatever reason.
const UNTIL_INPUT_ENDS: &str = "\"$@\" & child=$!; cat >/dev/null; kill -INT $child; wait $child";

/// The server.
#[derive(Debug)]
pub(super) struct Postgres {
    process: Child,
    socket: PathBuf,
}

impl Postgres {
    /// Creates a server in a new directory and starts it.
    pub(super) async fn start(directory: &Path) -> Result<Self, Failure> {
        let programs = programs().ok_or_else(|| {
            Failure::new(
                "PostgreSQL is not installed: install it (Debian: postgresql), or name a database with --database URL",
            )
        })?;
        let user = user()?;
        let io = |error: std::io::Error| Failure::new(format!("{}: {error}", directory.display()));
        if let Some(above) = directory.parent() {
            std::fs::create_dir_all(above).map_err(io)?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(directory).map_err(io)?;
        if let Some((user, group)) = user {
            chown(directory, Some(user), Some(group)).map_err(io)?;
        }
        let command = |program: &str| {
            let mut command = Command::new(program);
            command.current_dir(directory).env_remove("PGOPTIONS");
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let program = |name: &str| programs.join(name).display().to_string();
        let data = directory.join("data");
        let mut initdb = command(&program("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        let made = initdb.arg(&data).stdin(Stdio::null()).output().await.map_err(io)?;
        if !made.status.success() {
            return Err(Failure::new(format!("initdb: {}", String::from_utf8_lossy(&made.stderr).trim())));
        }
        let mut server = command("sh");
        server.args(["-c", UNTIL_INPUT_ENDS, "sh"]).arg(program("postgres"));
        server.args(["-c", "listen_addresses=", "-p", &PORT.to_string(), "-D"]).arg(&data).arg("-k").arg(directory);
        let log = std::fs::File::create(directory.with_extension("log")).map_err(io)?;
        server.stdin(Stdio::piped()).stdout(log.try_clone().map_err(io)?).stderr(log);
        // Ctrl-C in the terminal is for the demo.
        let process = server.process_group(0).spawn().map_err(io)?;
        let mut server = Self { process, socket: directory.to_owned() };
        server.wait(&data.join("postmaster.pid")).await?;
        Ok(server)
    }

    async fn wait(&mut self, status: &Path) -> Result<(), Failure> {
        let deadline = BootTime::now() + PATIENCE;
        // Its status is in the eighth line.
        let ready = || {
            let lines = std::fs::read_to_string(status).unwrap_or_default();
            lines.lines().nth(7).is_some_and(|state| state.trim() == "ready")
        };
        while !ready() {
            let ended = self.process.try_wait().ok().flatten();
            if ended.is_some() || BootTime::now() > deadline {
                let log = self.socket.with_extension("log");
                return Err(Failure::new(format!("PostgreSQL did not start: {}", last_line(&log))));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{socket}:{PORT}/postgres")
    }

    /// Ends it, and waits for its end.
    pub(super) async fn end(mut self) {
        drop(self.process.stdin.take());
        // A process that does not end is left to its own input, which has ended.
        let _ = tokio::time::timeout(PATIENCE, self.process.wait()).await;
    }
}

/// The directory of the programs of the newest PostgreSQL that is installed.
fn programs() -> Option<PathBuf> {
    let is_whole = |programs: &Path| ["initdb", "postgres"].iter().all(|name| programs.join(name).is_file());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |name: &str| name.parse::<u32>().ok();
    let debian = versions.filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path().join("bin"))));
    let newest = debian.filter(|(_, programs)| is_whole(programs)).max().map(|(_, programs)| programs);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&path).find(|programs| is_whole(programs)))
}

/// User and group of the server, if not this process's: PostgreSQL refuses to run as root.
fn user() -> Result<Option<(u32, u32)>, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().find_map(|line| line.strip_prefix("postgres:")).unwrap_or_default().split(':');
    let mut number = || fields.find_map(|field| field.parse().ok());
    let (Some(user), Some(group)) = (number(), number()) else {
        return Err(Failure::new(
            "PostgreSQL does not run as root, and there is no user postgres: run the demo as another user",
        ));
    };
    Ok(Some((user, group)))
}
