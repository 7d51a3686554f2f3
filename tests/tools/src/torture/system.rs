//! Commands of the system: `ip`, `nft`, `tc`, `mount`. An error carries the command's output.

use std::io::Write;
use std::process::{Command, Stdio};

/// Prefix of the names of namespaces, before the process id and a dash.
pub(super) const NAMESPACE: &str = "baton-torture-";

/// Runs a command that must succeed.
///
/// # Errors
/// The command and its error.
pub(crate) fn system(program: &str, arguments: &[&str]) -> Result<(), String> {
    system_with(program, arguments, "")
}

/// The same, with standard input.
///
/// # Errors
/// As [`system`].
pub(crate) fn system_with(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let what = || format!("`{program} {}`", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", what()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that exits without reading says why in its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| format!("{}: {error}", what()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}: {}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// The reason why the torture test cannot run here: not root, or a command or the kernel lacks something. `None` if it
/// can.
#[must_use]
pub fn why_not_here() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let probe = format!("{NAMESPACE}{}-probe", std::process::id());
    let made = system("ip", &["netns", "add", &probe]).and_then(|()| {
        let inside = |arguments: &[&str]| system("ip", &[&["netns", "exec", &probe], arguments].concat());
        let tried = inside(&["ip", "link", "add", "bridge", "type", "bridge"])
            .and_then(|()| inside(&["ip", "link", "add", "name", "veth-a", "type", "veth", "peer", "name", "veth-b"]))
            .and_then(|()| inside(&["nft", "add", "table", "inet", "torture"]))
            .and_then(|()| inside(&["tc", "qdisc", "show"]));
        let removed = system("ip", &["netns", "delete", &probe]);
        tried.and(removed)
    });
    made.err()
}
