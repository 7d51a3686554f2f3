//! A `pgbouncer` in front of a server.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::{Postgres, files, free_port, wait};

/// A `pgbouncer` in transaction mode; it ends when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    process: Child,
    _directory: TempDir,
    port: u16,
}

impl Pooler {
    /// Starts one in front of a server; `None` where it is not installed. It lets parameters of sessions through that it
    /// does not know, and drops them.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(server: &Postgres) -> Option<Self> {
        let program = [Path::new("/usr/sbin/pgbouncer"), Path::new("/usr/bin/pgbouncer")];
        let program = program.into_iter().find(|program| program.is_file())?;
        let (directory, port) = (files::directory(), free_port());
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             ignore_startup_parameters = options, extra_float_digits\n",
            server.port()
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("its settings");
        if let Some((user, group)) = files::other_user() {
            chown(&file, Some(user), Some(group)).expect("root gives it away");
        }
        let mut command = server.ends_with_this(program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.current_dir(directory.path()).spawn().expect("pgbouncer starts");
        let this = Self { process, _directory: directory, port };
        wait("pgbouncer starts", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(this)
    }

    /// The URL of its port, for the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
